/** Where in a value something is, and the errors that say so. */

import { stringifyJson } from "./intrinsics.ts";

/** A value cannot be sent. The message is for the program's author. */
export class ResultError extends Error {
  override readonly name = "ResultError";
}

/** Its text would be longer than it may be. */
export class TooLargeError extends ResultError {}

/** The place of a value and the objects around it, from the inside out. */
export interface Place {
  readonly value: object;
  /** The key below `parent`; at the top, what the whole is called. Unset for what stands in the place of its parent. */
  readonly key: string | number | undefined;
  readonly parent: Place | undefined;
  readonly depth: number;
}

/** A step from a value to one of its children. */
export type Key = string | number;

/** Runs what may run the program's code (getters, proxies, toJSON). */
export function attempt<T>(place: Place, body: () => T): T {
  try {
    return body();
  } catch (cause) {
    throw unreadable(place, cause);
  }
}

export function unreadable(place: Place, cause: unknown): ResultError {
  return new ResultError(`The value at ${describePlace(place)} cannot be read: ${describeThrown(cause)}`, { cause });
}

function describeThrown(thrown: unknown): string {
  try {
    return typeof thrown === "object" && thrown !== null && "message" in thrown ? String(thrown.message) : String(thrown);
  } catch {
    return "something was thrown that cannot be shown";
  }
}

/** `result.rows[3].name` */
export function describePlace(place: Place): string {
  let text = "";
  for (let at: Place | undefined = place; at !== undefined; at = at.parent) {
    if (at.key === undefined) continue;
    if (at.parent === undefined) {
      text = `${at.key}${text}`;
      continue;
    }
    const isName = typeof at.key === "string" && /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(at.key);
    text = (isName ? `.${at.key}` : `[${stringifyJson(at.key)}]`) + text;
  }
  return shorten(text);
}

function shorten(text: string): string {
  return text.length <= 200 ? text : `${text.slice(0, 120)}…${text.slice(-79)}`;
}
