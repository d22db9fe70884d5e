/** What the runner says that it left out of an archive, in words for the caller. All of it is a stranger's word. */

import { SKIP_REASONS } from "../../bridge/protocol.ts";
import type { Archived } from "../../bridge/protocol.ts";
import { quotePath } from "../../domain/sandbox-path.ts";

const MAX_PATH_CHARS = 1024;

interface SkippedFile {
  readonly path: string;
  readonly size: number | null;
  readonly error: string;
}

/** An entry for each that is named, and for each reason one with the number of all others. */
export function describeSkipped({ counts, skipped }: Archived, limits: { readonly files: number; readonly bytes: number }): SkippedFile[] {
  const reasons: Readonly<Record<keyof Archived["counts"], string>> = {
    not_a_file: "is no regular file",
    over_limit: `over this runtime's limit of ${limits.files} output files and ${limits.bytes} bytes together`,
    unreadable: "could not be read",
  };
  const named = skipped.map(({ path, reason, sizeBytes }) => ({
    // As long as a path of the workspace can be: quoted, a character may take six.
    path: quotePath(path.slice(0, MAX_PATH_CHARS)).slice(1, -1),
    size: sizeBytes,
    error: reasons[reason],
  }));
  const others = SKIP_REASONS.flatMap((reason) => {
    const more = counts[reason] - skipped.filter((entry) => entry.reason === reason).length;
    return more > 0 ? [{ path: "*", size: null, error: `${more} more: ${reasons[reason]}` }] : [];
  });
  return [...named, ...others];
}
