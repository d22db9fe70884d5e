/**
 * Which paths of a Debian package go into an image. What no program in a sandbox needs is left out, and so is everything that could
 * stand where the service has something of its own: only /usr, without /usr/local, and a part of /etc are taken.
 */

import { dirname, join } from "node:path/posix";

/** Below /etc: the files of ours, accounts, and what is for an init system, a login or a package manager. */
const ETC_DROPPED = new RegExp(
  `^etc/(${[
    "passwd-?|group-?|shadow-?|gshadow-?|subuid|subgid|hosts|hostname|resolv\\.conf|nsswitch\\.conf|mtab|fstab|environment|securetty|shells",
    "ld\\.so\\..*|alternatives|apt|dpkg|kernel|modprobe\\.d|modules-load\\.d|sysctl\\.d|udev|tmpfiles\\.d|sysusers\\.d|binfmt\\.d",
    "init|init\\.d|rc[0-9S]\\.d|default|systemd|xdg|dbus-1|cron.*|logrotate\\.d|rsyslog\\.d|apparmor\\.d|pam\\.d|security|sudoers.*",
    "skel|profile.*|bash_completion\\.d|update-motd\\.d|network|NetworkManager|ppp|X11|emacs",
  ].join("|")})(/|$)`,
);

const USR_DROPPED = new RegExp(
  `^usr/(${[
    "local|src|games/\\.",
    "lib/(systemd|udev|init|lsb|debug|modprobe\\.d|modules-load\\.d|sysctl\\.d|sysusers\\.d|tmpfiles\\.d|binfmt\\.d|dpkg|apt|\\.build-id)",
    "share/(man|info|locale|lintian|linda|bug|menu|doc-base|gtk-doc|help|omf|metainfo|appdata|applications|icons|pixmaps)",
    "share/(bash-completion|zsh|fish|polkit-1|dbus-1|initramfs-tools|apport|debianutils|dpkg|keyrings)",
  ].join("|")})(/|$)`,
);

/** Of the documents, the copyright notes, and links between packages' folders. */
const KEPT_DOCUMENT = /^usr\/share\/doc\/[^/]+(\/copyright)?$/;

/** Whether a file or link of a package is kept, by its path in canonical form. */
export function isKeptPath(path: string): boolean {
  // Names that mean "deleted here" in a layer of an image.
  if (path.split("/").some((part) => part.startsWith(".wh."))) return false;
  if (path.startsWith("usr/share/doc/")) return KEPT_DOCUMENT.test(path);
  if (path.startsWith("usr/")) return !USR_DROPPED.test(path);
  return path.startsWith("etc/") && !ETC_DROPPED.test(path);
}

/** A path without its leading `./` or `/`, in the merged layout: what Debian calls `/lib` or `/bin` is a link into `/usr`. */
export function canonicalPath(path: string): string {
  const plain = join("/", path).slice(1).replace(/\/$/, "");
  return /^(bin|sbin|lib|lib64)\//.test(plain) ? `usr/${plain}` : plain;
}

/** Where a link leads. Absolute ones start at the root of the file system. */
export function followLink(path: string, target: string): string {
  return canonicalPath(target.startsWith("/") ? target : join(dirname(path), target));
}
