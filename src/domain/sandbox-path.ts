/**
 * Paths inside a sandbox, as callers and configurations write them. Pure text: nothing here touches a file system.
 *
 * A workspace path is relative, in normal form, with `/` between segments: `temp/out.csv`. The workspace itself is `.`. An image path is
 * absolute: `/usr/lib/git-core`.
 */

import { escapeControls } from "./escaped-json.ts";

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
  const fault = findTextFault(text);
  if (fault !== undefined) return refuse(fault);
  if (text.startsWith("/")) return refuse("is absolute; give a path relative to the workspace");
  const segments = segmentsOf(text);
  if (segments.includes("..")) return refuse('contains ".."; a path stays inside the workspace');
  return checkNames(segments, segments.length === 0 ? "." : segments.join("/"));
}

/** Where no file of a package can be: what is mounted there, or the runner's own. */
const NEVER_OF_A_PACKAGE = ["/dev", "/opt/code-mode", "/proc", "/run", "/sys", "/tmp", "/workspace"];

/** Checks the absolute path of a file or folder that packages bring, and brings it to normal form. `/usr/lib/x/**` means the folder. */
export function checkImagePath(text: string): PathCheck {
  const fault = findTextFault(text);
  if (fault !== undefined) return refuse(fault);
  if (!text.startsWith("/")) {
    return refuse(
      'is relative; give the absolute path of what a package brings, such as "/usr/lib/git-core". Nothing in the workspace can be executed',
    );
  }
  const segments = segmentsOf(text.replace(/\/\*\*$/, ""));
  const path = `/${segments.join("/")}`;
  if (segments.length === 0) return refuse("is the whole image; name what the program needs of it");
  if (segments.includes("..")) return refuse('contains ".."; write the path without it');
  const place = NEVER_OF_A_PACKAGE.find((folder) => isWithin(path, folder));
  if (place !== undefined) return refuse(`lies in ${place}, where nothing can be executed`);
  return checkNames(segments, path);
}

const refuse = (problem: string): PathCheck => ({ ok: false, problem });

const segmentsOf = (text: string): string[] => text.split("/").filter((segment) => segment !== "" && segment !== ".");

/** What is wrong with the text of any path. */
function findTextFault(text: string): string | undefined {
  if (text === "") return "is empty";
  if (CONTROL_CHARACTERS.test(text)) return "holds a control character";
  if (!text.isWellFormed()) return "is no valid Unicode text";
  if (text.includes("\\")) return 'holds a backslash; use "/" between folders';
  return Buffer.byteLength(text) > MAX_PATH_BYTES ? `is longer than ${MAX_PATH_BYTES} bytes` : undefined;
}

function checkNames(segments: readonly string[], path: string): PathCheck {
  if (segments.some((segment) => Buffer.byteLength(segment) > MAX_SEGMENT_BYTES)) {
    return refuse(`has a name longer than ${MAX_SEGMENT_BYTES} bytes`);
  }
  return { ok: true, path };
}

/** A path that may be none, as JSON shows text, and with no control character of any kind left. */
export const quotePath = (text: string): string => escapeControls(JSON.stringify(text));

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
