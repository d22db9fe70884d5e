/** Places in a JSON value, as messages name them. */

import { clipped, quoted } from "../domain/shown-text.ts";

const MAX_SHOWN = 8;

/** `metadata.tags[0]`; the whole value is "the arguments". */
export function showPath(path: readonly (string | number)[]): string {
  if (path.length === 0) return "the arguments";
  const shown = path.length > MAX_SHOWN ? path.slice(0, MAX_SHOWN) : path;
  const text = shown
    .map((key, index) => {
      if (typeof key === "number") return `[${key}]`;
      if (!/^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(key)) return `[${quoted(key, 64)}]`;
      return `${index === 0 ? "" : "."}${clipped(key, 64)}`;
    })
    .join("");
  return shown === path ? text : `${text}…`;
}
