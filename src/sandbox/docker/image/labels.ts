/**
 * The labels that tell an image of ours from others, and a current one from a stale one.
 */

export const LABELS = {
  /** On everything that is made here, containers and layers of interrupted builds included. */
  prefix: "code-mode.image.prefix",
  /** Hash of what the base is made from; on the base and on what is built on it. */
  base: "code-mode.image.base",
  /** Hash of what packages and modules are added, the base included; on the image with them and on what is built on it. */
  additions: "code-mode.image.additions",
  /** Hash of all sources; on finished sandbox images only. */
  sources: "code-mode.image.sources",
  /** The Node version, exact. */
  version: "code-mode.image.version",
  /** The major version that was asked for. */
  major: "code-mode.image.major",
  /** Where Debian's files are from, with their versions. */
  debian: "code-mode.image.debian",
  /** The specification that it was built for, as its key; on finished sandbox images only. */
  spec: "code-mode.image.spec",
  /** The Debian packages that were added, those that others need included, with their versions. */
  packages: "code-mode.image.packages",
  /** The modules that were named, with their versions. */
  modules: "code-mode.image.modules",
  /** Which groups can execute what; on images that have something to execute. */
  groups: "code-mode.image.groups",
} as const;
