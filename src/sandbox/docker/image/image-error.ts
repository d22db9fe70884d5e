/**
 * The errors of building and finding the sandbox image. Each message says what went wrong and what to do about it.
 */

export type ImageBuildReason =
  /** The signal was aborted. */
  | "aborted"
  /** More files of packages and modules than fit into memory. */
  | "additions_too_large"
  /** The engine runs on a processor that no pinned Node package is for. */
  | "architecture_unsupported"
  /** No Debian package could be had, neither with apt nor from a registry. */
  | "debian_unavailable"
  /** The Debian packages lack a library that Node needs. */
  | "debian_incomplete"
  /** This machine's or the engine's disk is full. */
  | "disk_full"
  /** The engine answered with an error. */
  | "engine_failed"
  /** The engine did not answer, or went away in the middle. */
  | "engine_unavailable"
  /** What the configuration allows to execute is in no package, or a script's interpreter may not be executed. */
  | "executable_missing"
  /** The Node package is not the one that was pinned. */
  | "integrity_mismatch"
  /** The registry has no such module, or no such version of it. */
  | "module_unknown"
  /** npm is missing or failed. */
  | "modules_unavailable"
  /** npm is missing or could not fetch the Node package. */
  | "node_unavailable"
  /** apt knows no such package. */
  | "package_unknown"
  /** A file of this package, or of its build, is missing or wrong. */
  | "sources_invalid"
  /** What was about to be put into the image has an owner, mode or link that must not be there. */
  | "unsafe_content";

export class ImageBuildError extends Error {
  override readonly name = "ImageBuildError";
  readonly reason: ImageBuildReason;

  constructor(reason: ImageBuildReason, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.reason = reason;
  }
}

/** The text of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message.trim() : String(error);
}

/**
 * Whether a full disk is behind the error.
 *
 * The one place that looks at text: the engine, apt and npm have no code for it that reaches us.
 */
export function isDiskFull(error: unknown): boolean {
  for (let link = error; link instanceof Error; link = link.cause) {
    if ("code" in link && link.code === "ENOSPC") return true;
    if (/\bENOSPC\b|no space left on device|enough free space/i.test(link.message)) return true;
  }
  return false;
}
