/**
 * Sends a large answer in small pieces, no faster than its reader takes it.
 *
 * An answer can be many times larger as JSON than what it is made from, and its reader may be slow, or never read at all. So the text
 * is made piece by piece.
 */

import type { Response } from "express";

import { longTextPieces } from "../lib/long-text.ts";
import { PacedWriter } from "./paced-writer.ts";

/** Characters of a text that are turned into JSON at once; up to six times as many bytes. */
const PIECE_CHARS = 32_768;

/** Sends `value` as the rest of the response and ends it. Resolves when the response is over, in whichever way. */
export async function sendJson(response: Response, value: unknown): Promise<void> {
  const writer = new PacedWriter(response);
  for (const piece of jsonPieces(value)) {
    if (!(await writer.write(piece))) return;
  }
  await writer.end();
}

/** An array or object that is written up to its item `at`. */
interface Open {
  readonly value: readonly unknown[] | Readonly<Record<string, unknown>>;
  /** Of an object. */
  readonly keys: readonly string[] | undefined;
  readonly length: number;
  at: number;
}

/**
 * The JSON text of a value in pieces of about {@link PIECE_CHARS}: a program can return millions of small values, deep inside others,
 * and each piece is a write. Long texts are cut: an escaped character on each side of a cut is whole by itself.
 */
export function* jsonPieces(value: unknown): Generator<string> {
  const open: Open[] = [];
  let piece = "";
  let next: unknown = value;
  for (;;) {
    if ((typeof next === "string" && next.length > PIECE_CHARS) || next instanceof LongText) {
      yield `${piece}"`;
      for (const part of next instanceof LongText ? next.pieces : cut(next)) yield JSON.stringify(part).slice(1, -1);
      piece = '"';
    } else if (typeof next === "object" && next !== null) {
      const container = opened(next);
      open.push(container);
      piece += container.keys === undefined ? "[" : "{";
    } else piece += JSON.stringify(next);

    let inner = open.at(-1);
    for (; inner !== undefined && inner.at === inner.length; inner = open.at(-1)) {
      piece += inner.keys === undefined ? "]" : "}";
      open.pop();
    }
    if (inner === undefined) break;
    if (inner.at > 0) piece += ",";
    const key = inner.keys?.[inner.at];
    if (key !== undefined) piece += `${JSON.stringify(key)}:`;
    next = key === undefined ? ((inner.value as readonly unknown[])[inner.at] ?? null) : fieldOf(inner.value, key);
    inner.at += 1;
    if (piece.length >= PIECE_CHARS) {
      yield piece;
      piece = "";
    }
  }
  yield piece;
}

/** A text that is there in pieces only. */
class LongText {
  readonly pieces: Iterable<string>;

  constructor(pieces: Iterable<string>) {
    this.pieces = pieces;
  }
}

function* cut(text: string): Generator<string> {
  for (let from = 0; from < text.length; from += PIECE_CHARS) yield text.slice(from, from + PIECE_CHARS);
}

function fieldOf(value: object, key: string): unknown {
  const pieces = longTextPieces(value, key);
  return pieces === undefined ? ((value as Readonly<Record<string, unknown>>)[key] ?? null) : new LongText(pieces);
}

function opened(value: object): Open {
  if (Array.isArray(value)) return { value: value as unknown[], keys: undefined, length: value.length, at: 0 };
  const object = value as Readonly<Record<string, unknown>>;
  // A long text is there, and is not to be made whole only to see that.
  const keys = Object.keys(object).filter((key) => longTextPieces(object, key) !== undefined || object[key] !== undefined);
  return { value: object, keys, length: keys.length, at: 0 };
}
