/** Versions of the engine's parts and of kernels, as far as it takes to tell whether a fix is in one. */

export interface Version {
  /** Major, minor, patch; what is missing is 0. */
  readonly core: readonly [number, number, number];
  /** Rank and number of a preview (`rc.3`); `undefined` for a release. */
  readonly preview: readonly [number, number] | undefined;
}

const PREVIEWS = ["alpha", "beta", "tp", "rc"];
const PATTERN = /^v?(\d{1,6})(?:\.(\d{1,6}))?(?:\.(\d{1,6}))?(?:[-~.]?(alpha|beta|tp|rc)[-.]?(\d{1,6})?)?/;

/**
 * Reads a version; `undefined` when it is none. What a distribution adds to it (`+ds1`, `~ds1-1`, `-18-amd64`) does not count: it
 * tells nothing about upstream's fixes.
 */
export function parseVersion(text: string): Version | undefined {
  const match = PATTERN.exec(text.trim());
  if (match === null) return undefined;
  const [, major, minor = "0", patch = "0", preview, number = "0"] = match;
  return {
    core: [Number(major), Number(minor), Number(patch)],
    preview: preview === undefined ? undefined : [PREVIEWS.indexOf(preview), Number(number)],
  };
}

/** Negative when `a` is older. A preview is older than its release. */
export function compareVersions(a: Version, b: Version): number {
  const keyOf = ({ core, preview }: Version): number[] => [...core, ...(preview ?? [PREVIEWS.length, 0])];
  const other = keyOf(b);
  return keyOf(a).reduce((order, part, index) => (order === 0 ? part - (other[index] ?? 0) : order), 0);
}

/**
 * Whether a version lacks a fix. `fixed` has the first good version of each line, major and minor, that got the fix. A line that is not
 * named and older than the newest of them never got it; every newer one has it from the start.
 */
export function lacksFix(version: Version, fixed: readonly Version[], since?: Version): boolean {
  if (since !== undefined && compareVersions(version, since) < 0) return false;
  const isSameLine = (other: Version): boolean => other.core[0] === version.core[0] && other.core[1] === version.core[1];
  if (fixed.some((good) => isSameLine(good) && compareVersions(version, good) >= 0)) return false;
  return fixed.some((good) => compareVersions(version, good) < 0);
}
