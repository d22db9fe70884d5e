/** Cuts a byte stream into lines, whatever the chunking, and holds no more of a line than it may have. */

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const FIRST_BUFFER_BYTES = 4096;

export interface LineSplitterOptions {
  readonly maxLineBytes: number;
  /** A line without its end; the bytes are valid during the call only. */
  readonly onLine: (line: Buffer) => void;
  /** A line that is longer: once, with its first bytes, as soon as it is known. The rest of it is dropped. */
  readonly onLongLine: (start: Buffer) => void;
}

export class LineSplitter {
  readonly #options: LineSplitterOptions;
  /** The beginning of a line whose end has not come. Grows by doubling: a peer that writes byte by byte costs no object for each. */
  #pending: Buffer = Buffer.alloc(0);
  #pendingBytes = 0;
  /** In the rest of a line that was too long. */
  #dropping = false;

  constructor(options: LineSplitterOptions) {
    this.#options = options;
  }

  push(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      this.#endLine(chunk.subarray(start, end));
      start = end + 1;
    }
    this.#keep(chunk.subarray(start));
  }

  /** The stream is over: what has no end is a line too. */
  end(): void {
    if (this.#pendingBytes > 0) this.#endLine(Buffer.alloc(0));
  }

  #endLine(rest: Buffer): void {
    const whole = this.#pendingBytes === 0 && rest.byteLength <= this.#options.maxLineBytes;
    if (!whole) this.#keep(rest);
    const line = whole ? rest : this.#pending.subarray(0, this.#pendingBytes);
    const dropped = this.#isDropping();
    this.#dropping = false;
    this.#forget();
    if (!dropped) this.#options.onLine(line.at(-1) === CARRIAGE_RETURN ? line.subarray(0, -1) : line);
  }

  #keep(bytes: Buffer): void {
    if (this.#dropping || bytes.byteLength === 0) return;
    const room = this.#options.maxLineBytes - this.#pendingBytes;
    const kept = bytes.subarray(0, room);
    const needed = this.#pendingBytes + kept.byteLength;
    if (needed > this.#pending.byteLength) {
      const grown = Buffer.allocUnsafe(Math.min(this.#options.maxLineBytes, Math.max(FIRST_BUFFER_BYTES, needed * 2)));
      grown.set(this.#pending.subarray(0, this.#pendingBytes));
      this.#pending = grown;
    }
    this.#pending.set(kept, this.#pendingBytes);
    this.#pendingBytes = needed;
    if (bytes.byteLength <= room) return;
    this.#dropping = true;
    const start = this.#pending.subarray(0, this.#pendingBytes);
    this.#forget();
    this.#options.onLongLine(start);
  }

  // A method, since keeping a part of the line can begin it, where the compiler cannot see it.
  #isDropping(): boolean {
    return this.#dropping;
  }

  #forget(): void {
    this.#pending = Buffer.alloc(0);
    this.#pendingBytes = 0;
  }
}
