/**
 * Sends a large answer in small pieces, no faster than its reader takes it.
 *
 * An answer can be many times larger as JSON than what it is made from, and its reader may be slow, or never read at all. So the text
 * is made piece by piece, and a reader that takes nothing for a while is cut off.
 */

import { once } from "node:events";
import { setImmediate } from "node:timers/promises";

import type { Response } from "express";

/** A reader that takes nothing for this long is gone. */
const STALL_MS = 10_000;
/** Characters of a text that are turned into JSON at once; up to six times as many bytes. */
const PIECE_CHARS = 32_768;

/** Sends `value` as the rest of the response and ends it. Resolves when the response is over, in whichever way. */
export async function sendJson(response: Response, value: unknown): Promise<void> {
  const gone = new AbortController();
  response.once("close", () => {
    gone.abort();
  });
  for (const piece of gathered(jsonPieces(value))) {
    if (response.destroyed) return;
    if (!response.write(piece)) await inTime(response, once(response, "drain", { signal: gone.signal }));
    // A reader that takes all at once is no reason to let the others wait.
    await setImmediate();
  }
  response.end();
  if (!response.destroyed) await inTime(response, once(response, "finish", { signal: gone.signal }));
}

/** The same text in fewer pieces: each write costs the service far more than a short piece is worth. */
function* gathered(pieces: Iterable<string>): Generator<string> {
  let gathered = "";
  for (const piece of pieces) {
    gathered += piece;
    if (gathered.length < PIECE_CHARS) continue;
    yield gathered;
    gathered = "";
  }
  if (gathered !== "") yield gathered;
}

/** Waits for the reader to take what was written, and cuts it off when it does not. */
async function inTime(response: Response, taken: Promise<unknown>): Promise<void> {
  const stalled = setTimeout(() => response.destroy(), STALL_MS);
  // Rejected means that the connection is closed, which the caller sees as well.
  await taken.catch(() => undefined);
  clearTimeout(stalled);
}

/** The JSON text of a value in pieces. Long texts are cut: an escaped character on each side of a cut is whole by itself. */
export function* jsonPieces(value: unknown): Generator<string> {
  if (typeof value === "string" && value.length > PIECE_CHARS) {
    yield '"';
    for (let from = 0; from < value.length; from += PIECE_CHARS) yield JSON.stringify(value.slice(from, from + PIECE_CHARS)).slice(1, -1);
    yield '"';
  } else if (Array.isArray(value)) {
    yield "[";
    for (const [index, item] of value.entries()) {
      if (index > 0) yield ",";
      yield* jsonPieces(item ?? null);
    }
    yield "]";
  } else if (typeof value === "object" && value !== null) {
    yield "{";
    let first = true;
    for (const [key, item] of Object.entries(value)) {
      if (item === undefined) continue;
      yield `${first ? "" : ","}${JSON.stringify(key)}:`;
      yield* jsonPieces(item);
      first = false;
    }
    yield "}";
  } else yield JSON.stringify(value);
}
