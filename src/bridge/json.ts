/** Reading JSON from an untrusted peer. */

import { exceededCap } from "../lib/json-shape.ts";

/** Parses JSON that is nested no deeper than `maxDepth`. Throws a `SyntaxError`. */
export function parseUntrustedJson(bytes: Buffer, maxDepth: number): unknown {
  if (exceededCap(bytes, { depth: maxDepth, parts: Number.POSITIVE_INFINITY }) !== undefined)
    throw new SyntaxError(`the JSON is nested more than ${maxDepth} levels deep`);
  return JSON.parse(bytes.toString("utf8")) as unknown;
}
