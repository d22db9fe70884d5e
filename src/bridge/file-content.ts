/**
 * The content of one output file, gathered from the pieces in which it comes, and how it stands in a result: as UTF-8 where it is
 * that, else as base64.
 *
 * A small file becomes a text at once. A larger one stays bytes, and its text is made when it is sent: neither a hundred megabytes
 * nor the text of them are ever handled in one turn of the event loop.
 */

import { isUtf8 } from "node:buffer";
import { StringDecoder } from "node:string_decoder";

import type { OutputFile } from "../domain/execution.ts";
import { addLongText } from "../lib/long-text.ts";

/** Files up to this size are kept as text. */
const SMALL_BYTES = 65_536;
const SEGMENT_BYTES = 2 ** 20;
/** Bytes that become text at once; a multiple of three, so that no base64 is left over. */
const PIECE_BYTES = 98_304;
const NOTHING = Buffer.alloc(0);

export class FileContent {
  readonly #size: number;
  /** Full ones, each cut at the end of a character, as far as the content is text. */
  readonly #segments: Buffer[] = [];
  #current = NOTHING;
  #filled = 0;
  /** Bytes of the content that are still to come. */
  #left: number;
  #isText = true;

  constructor(size: number) {
    this.#size = size;
    this.#left = size;
  }

  get isWhole(): boolean {
    return this.#left === 0;
  }

  /** Copies the piece: what it lies in may be much larger, and would be kept with it. */
  append(piece: Buffer): void {
    for (let taken = 0; taken < piece.byteLength;) {
      if (this.#filled === this.#current.byteLength) this.#nextSegment();
      const count = piece.copy(this.#current, this.#filled, taken);
      this.#filled += count;
      this.#left -= count;
      taken += count;
    }
    if (this.#left === 0) this.#endSegment(this.#current.byteLength);
  }

  /** The file, once its content is whole. */
  toFile(path: string): OutputFile {
    const encoding = this.#isText ? "utf8" : "base64";
    const [only = NOTHING] = this.#segments;
    if (this.#size <= SMALL_BYTES) return { path, content: only.toString(encoding), encoding, size: this.#size };
    const segments = this.#segments;
    return Object.assign(
      addLongText({ path }, "content", () => textPieces(segments, encoding)),
      { encoding, size: this.#size } as const,
    );
  }

  #nextSegment(): void {
    const rest = this.#current.subarray(this.#endSegment(this.#isText ? endOfCharacters(this.#current) : this.#current.byteLength));
    this.#current = Buffer.allocUnsafe(Math.min(SEGMENT_BYTES, rest.byteLength + this.#left));
    this.#filled = rest.copy(this.#current);
  }

  /** Keeps the current segment up to `end`, which it returns. */
  #endSegment(end: number): number {
    if (end === 0) return end;
    const segment = this.#current.subarray(0, end);
    this.#segments.push(segment);
    this.#isText &&= isUtf8(segment);
    return end;
  }
}

/** Where the last character of UTF-8 begins, if its end is not there; else the end of the bytes. */
function endOfCharacters(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.byteLength); back += 1) {
    const byte = bytes[bytes.byteLength - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? bytes.byteLength - back : bytes.byteLength;
  }
  return bytes.byteLength;
}

function* textPieces(segments: readonly Buffer[], encoding: "utf8" | "base64"): Generator<string> {
  const decoder = new StringDecoder(encoding);
  for (const segment of segments) {
    for (let from = 0; from < segment.byteLength; from += PIECE_BYTES) yield decoder.write(segment.subarray(from, from + PIECE_BYTES));
  }
  yield decoder.end();
}
