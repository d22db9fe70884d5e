/** Cuts a byte stream into lines, whatever the chunking, and holds no more of a line than it may have. */

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const FIRST_BUFFER_BYTES = 4096;
/** Kept of the end of a line that is too long. */
const LONG_LINE_END_BYTES = 256;

export interface LongLine {
  /** Its first bytes, as many as a line may have. */
  readonly start: Buffer;
  /** Its last bytes. */
  readonly end: Buffer;
}

export interface LineSplitterOptions {
  readonly maxLineBytes: number;
  /** A line without its end; the bytes are valid during the call only. */
  readonly onLine: (line: Buffer) => void;
  /** A line was longer, and is over; what was between is dropped. */
  readonly onLongLine: (line: LongLine) => void;
  /** So much may be dropped of a line. No limit if not given. */
  readonly endless?: { readonly bytes: number; readonly onEndlessLine: () => void };
}

export class LineSplitter {
  readonly #options: LineSplitterOptions;
  /** The beginning of a line whose end has not come. Grows by doubling: a peer that writes byte by byte costs no object for each. */
  #pending: Buffer = Buffer.alloc(0);
  #pendingBytes = 0;
  /** The last bytes of a line that is too long, and how many were dropped of it. */
  #end: Buffer = Buffer.alloc(0);
  #droppedBytes = 0;

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
    const dropped = this.#droppedBytes;
    const end = this.#end;
    this.#forget();
    if (dropped > 0) this.#options.onLongLine({ start: line, end: Buffer.concat([line.subarray(-LONG_LINE_END_BYTES), end]) });
    else this.#options.onLine(line.at(-1) === CARRIAGE_RETURN ? line.subarray(0, -1) : line);
  }

  #keep(bytes: Buffer): void {
    const kept = bytes.subarray(0, this.#options.maxLineBytes - this.#pendingBytes);
    if (kept.byteLength > 0) this.#append(kept);
    if (kept.byteLength < bytes.byteLength) this.#drop(bytes.subarray(kept.byteLength));
  }

  #append(bytes: Buffer): void {
    const needed = this.#pendingBytes + bytes.byteLength;
    if (needed > this.#pending.byteLength) {
      const grown = Buffer.allocUnsafe(Math.min(this.#options.maxLineBytes, Math.max(FIRST_BUFFER_BYTES, needed * 2)));
      grown.set(this.#pending.subarray(0, this.#pendingBytes));
      this.#pending = grown;
    }
    this.#pending.set(bytes, this.#pendingBytes);
    this.#pendingBytes = needed;
  }

  #drop(bytes: Buffer): void {
    this.#droppedBytes += bytes.byteLength;
    this.#end = Buffer.from(Buffer.concat([this.#end, bytes.subarray(-LONG_LINE_END_BYTES)]).subarray(-LONG_LINE_END_BYTES));
    const { endless } = this.#options;
    if (endless !== undefined && this.#droppedBytes > endless.bytes) endless.onEndlessLine();
  }

  #forget(): void {
    this.#pending = Buffer.alloc(0);
    this.#pendingBytes = 0;
    this.#end = Buffer.alloc(0);
    this.#droppedBytes = 0;
  }
}
