/**
 * Known holes of what a sandbox rests on. The one place for them: `code-mode doctor` and the warning at the start are made from it.
 *
 * Listed is what the CVE records or the projects' own advisories say, and nothing else. How the versions count: see `lacksFix`.
 */

export type Component = "runc" | "containerd" | "Engine" | "kernel";

export interface Advisory {
  readonly id: string;
  readonly component: Component;
  readonly summary: string;
  /** What it means for Code Mode, as it uses that part. */
  readonly here: string;
  /** First version that has the hole; left out, all old ones have it. */
  readonly since?: string;
  /** First good version of each line. */
  readonly fixed: readonly string[];
}

const RUNC_2025 = { component: "runc", fixed: ["1.2.8", "1.3.3", "1.4.0-rc.3"] } as const;
const NO_PLUGINS = "Concerns engines that rest on an authorization plugin; Code Mode does not.";
const FILTERED = "The system call filter keeps programs from what it needs; the host's other users have it.";

export const ADVISORIES: readonly Advisory[] = [
  {
    id: "CVE-2024-21626",
    component: "runc",
    summary: "a leaked file descriptor as working directory opens the host's files to a container",
    here: "Programs choose neither image nor working directory. It is the boundary all the same.",
    since: "1.0.0-rc93",
    fixed: ["1.1.12"],
  },
  {
    ...RUNC_2025,
    id: "CVE-2025-31133",
    summary: "masked paths can be redirected while a container is set up: container escape",
    here: "Programs start after the set-up, and share no mount that they can write. It is the boundary all the same.",
  },
  {
    ...RUNC_2025,
    id: "CVE-2025-52565",
    summary: "the mount of /dev/console can be redirected: container escape",
    here: "Sandboxes have no console. It is the boundary all the same.",
    since: "1.0.0-rc3",
  },
  {
    ...RUNC_2025,
    id: "CVE-2025-52881",
    summary: "writes of the set-up to /proc can be redirected: container escape, security labels bypassed",
    here: "Programs start after the set-up, and share no mount that they can write. It is the boundary all the same.",
  },
  {
    id: "CVE-2024-25621",
    component: "containerd",
    summary: "folders of containerd are open to every user of the host",
    here: "Concerns other users of the host, not programs.",
    fixed: ["1.7.29", "2.0.7", "2.1.5", "2.2.0"],
  },
  {
    id: "CVE-2024-40635",
    component: "containerd",
    summary: "a user id above 2^31 becomes root",
    here: "Sandboxes have user ids below 60000.",
    fixed: ["1.6.38", "1.7.27", "2.0.4"],
  },
  {
    id: "CVE-2024-24557",
    component: "Engine",
    summary: "the cache of the classic builder can be poisoned by an image that was pulled",
    here: "Pull no image that you do not trust on the engine that builds the sandbox image.",
    fixed: ["24.0.9", "25.0.2"],
  },
  {
    id: "CVE-2024-41110",
    component: "Engine",
    summary: "an empty body bypasses authorization plugins",
    here: NO_PLUGINS,
    since: "19.03.0",
    fixed: ["23.0.15", "25.0.6", "26.1.5", "27.1.1"],
  },
  {
    id: "CVE-2025-54410",
    component: "Engine",
    summary: "a reload of firewalld removes the isolation between bridge networks",
    here: "Sandboxes have no network.",
    fixed: ["25.0.13", "28.0.0"],
  },
  {
    id: "CVE-2026-34040",
    component: "Engine",
    summary: "an oversized body bypasses authorization plugins",
    here: NO_PLUGINS,
    fixed: ["29.3.1"],
  },
  {
    id: "CVE-2026-41567",
    component: "Engine",
    summary: "uploading a compressed archive into a container runs a program of its image as root on the host",
    here: "Code Mode uploads no archive into containers. Upload none by hand.",
    fixed: ["29.5.1"],
  },
  {
    id: "CVE-2026-31431",
    component: "kernel",
    summary: "AF_ALG sockets write to the page cache of files that can only be read: root for any user",
    here: FILTERED,
    since: "4.14",
    fixed: ["5.10.254", "5.15.204", "6.1.170", "6.6.137", "6.12.85", "6.18.22", "6.19.12", "7.0"],
  },
  {
    id: "CVE-2026-43284",
    component: "kernel",
    summary: "ESP decrypts in place what was spliced from a file: writes to its page cache",
    here: FILTERED,
    since: "4.11",
    fixed: ["5.10.255", "5.15.206", "6.1.172", "6.6.138", "6.12.87", "6.18.28", "7.0.5"],
  },
  {
    id: "CVE-2026-43500",
    component: "kernel",
    summary: "RxRPC decrypts in place what was spliced from a file: writes to its page cache",
    here: `${FILTERED} Lines from 5.3 on have it too; what mends those is not on record here.`,
    // The record names no fixed version of an older line: warning of all of them would be wrong for those that have it.
    since: "6.18",
    fixed: ["6.18.29", "7.0.6"],
  },
];
