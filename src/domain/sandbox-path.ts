/**
 * Paths below the workspace, as callers and configurations write them. Pure text: nothing here touches a file system.
 *
 * A workspace path is relative, in normal form, with `/` between segments: `temp/out.csv`. The workspace itself is `.`.
 */

export type PathCheck = { readonly ok: true; readonly path: string } | { readonly ok: false; readonly problem: string };

const MAX_PATH_BYTES = 1024;
const MAX_SEGMENT_BYTES = 255;
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const CONTROL_CHARACTERS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;

/**
 * Checks a workspace path and brings it to normal form (`./a//b/` is `a/b`).
 *
 * Refused: absolute paths, `..`, backslashes (a file name on Linux, a separator in many a caller's mind), control characters,
 * unpaired surrogates, and what is too long for a file system.
 */
export function checkWorkspacePath(text: string): PathCheck {
  const refuse = (problem: string): PathCheck => ({ ok: false, problem });
  if (text === "") return refuse("is empty");
  if (CONTROL_CHARACTERS.test(text)) return refuse("holds a control character");
  if (!text.isWellFormed()) return refuse("is no valid Unicode text");
  if (text.includes("\\")) return refuse('holds a backslash; use "/" between folders');
  if (text.startsWith("/")) return refuse("is absolute; give a path relative to the workspace");
  if (Buffer.byteLength(text) > MAX_PATH_BYTES) return refuse(`is longer than ${MAX_PATH_BYTES} bytes`);
  const segments = text.split("/").filter((segment) => segment !== "" && segment !== ".");
  if (segments.includes("..")) return refuse('contains ".."; a path stays inside the workspace');
  if (segments.some((segment) => Buffer.byteLength(segment) > MAX_SEGMENT_BYTES)) {
    return refuse(`has a name longer than ${MAX_SEGMENT_BYTES} bytes`);
  }
  return { ok: true, path: segments.length === 0 ? "." : segments.join("/") };
}

/** A path that may be none, as JSON shows text, and with no control character of any kind left. */
export const quotePath = (text: string): string =>
  JSON.stringify(text).replaceAll(
    new RegExp(CONTROL_CHARACTERS, "g"),
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

/** As {@link checkWorkspacePath}, for entries of a policy: `data/**` means the folder `data`. */
export function checkPolicyPath(text: string): PathCheck {
  return checkWorkspacePath(text === "**" ? "." : text.replace(/\/\*\*$/, ""));
}

/** True when `path` is `folder` or lies below it. Both in normal form. */
export function isWithin(path: string, folder: string): boolean {
  return folder === "." || path === folder || path.startsWith(`${folder}/`);
}

/** True when one of two paths contains the other. */
export const overlap = (a: string, b: string): boolean => isWithin(a, b) || isWithin(b, a);
