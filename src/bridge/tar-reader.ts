/**
 * Cuts the tar stream of a sandbox into entries.
 *
 * It reads what the runner writes (`archive-writer.ts`): ustar headers, and in front of one a pax header with the name or the size.
 * Any other kind of entry is told as such and skipped, whatever a tar says it means for others; what is no such archive is an error.
 * Everything happens inside of `push`, in time and memory in proportion to the bytes pushed.
 */

export interface TarEntry {
  readonly name: string;
  /** In words, `"file"` for a regular file. */
  readonly type: string;
  /** As declared, bytes. */
  readonly size: number;
}

export interface TarEvents {
  entry(entry: TarEntry): void;
  /** Content of the last entry, as it comes. */
  content(piece: Buffer): void;
}

/** The stream is no tar archive, or not such a one. */
export class TarError extends Error {
  override readonly name = "TarError";
}

const BLOCK_BYTES = 512;
/** A path has at most 4096 bytes on Linux. */
const MAX_PAX_BYTES = 8192;

const Field = { name: [0, 100], size: [124, 136], checksum: [148, 156], type: [156, 157], magic: [257, 263], prefix: [345, 500] } as const;

const PAX_HEADER = "x";
const TYPES: Readonly<Record<string, string>> = {
  "0": "file",
  "": "file",
  "1": "link",
  "2": "symlink",
  "3": "character-device",
  "4": "block-device",
  "5": "directory",
  "6": "fifo",
};

export class TarReader {
  readonly #events: TarEvents;
  readonly #block = Buffer.alloc(BLOCK_BYTES);
  #blockBytes = 0;
  /** Of the content that comes now. */
  #left = 0;
  #padding = 0;
  /** A pax header whose content comes now. */
  #pax: { readonly bytes: Buffer; filled: number } | undefined;
  /** What the last pax header says of the next entry. */
  #override: PaxRecords | undefined;
  #over = false;

  constructor(events: TarEvents) {
    this.#events = events;
  }

  /** Throws a {@link TarError}; nothing can be pushed after that. */
  push(chunk: Buffer): void {
    for (let offset = 0; offset < chunk.byteLength;) {
      if (this.#left > 0) offset += this.#takeContent(chunk.subarray(offset, offset + this.#left));
      else if (this.#padding > 0) {
        const skipped = Math.min(this.#padding, chunk.byteLength - offset);
        this.#padding -= skipped;
        offset += skipped;
      } else {
        const copied = chunk.copy(this.#block, this.#blockBytes, offset);
        this.#blockBytes += copied;
        offset += copied;
        if (this.#blockBytes === BLOCK_BYTES) this.#takeHeader();
      }
    }
  }

  /** True when the stream can end here. The final blocks of zeros may be missing. */
  get isWhole(): boolean {
    return this.#left === 0 && this.#padding === 0 && this.#blockBytes === 0 && this.#override === undefined;
  }

  #takeContent(piece: Buffer): number {
    this.#left -= piece.byteLength;
    if (this.#pax === undefined) this.#events.content(piece);
    else {
      this.#pax.bytes.set(piece, this.#pax.filled);
      this.#pax.filled += piece.byteLength;
      if (this.#left === 0) {
        this.#override = readPax(this.#pax.bytes);
        this.#pax = undefined;
      }
    }
    return piece.byteLength;
  }

  #takeHeader(): void {
    const block = this.#block;
    this.#blockBytes = 0;
    if (block[0] === 0 && block.every((byte) => byte === 0)) {
      this.#over = true;
      return;
    }
    if (this.#over) throw new TarError("something follows the archive's end");
    if (text(block, Field.magic) !== "ustar" || octal(block, Field.checksum) !== checksumOf(block)) throw new TarError("no ustar header");
    const type = text(block, Field.type);
    const headerSize = octal(block, Field.size);
    if (type === PAX_HEADER) {
      if (headerSize === 0 || headerSize > MAX_PAX_BYTES) throw new TarError("a pax header of a senseless size");
      this.#pax = { bytes: Buffer.alloc(headerSize), filled: 0 };
      this.#expect(headerSize);
      return;
    }
    const prefix = text(block, Field.prefix);
    const ustarName = prefix === "" ? text(block, Field.name) : `${prefix}/${text(block, Field.name)}`;
    const { path: name = ustarName, size = headerSize } = this.#override ?? {};
    this.#override = undefined;
    this.#expect(size);
    this.#events.entry({ name, type: TYPES[type] ?? `thing of type ${JSON.stringify(type)}`, size });
  }

  #expect(size: number): void {
    this.#left = size;
    this.#padding = (BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES;
  }
}

/** A field's text, up to a NUL. */
function text(block: Buffer, [start, end]: readonly [number, number]): string {
  const nul = block.indexOf(0, start);
  return block.toString("utf8", start, nul < 0 || nul > end ? end : nul);
}

function octal(block: Buffer, [start, end]: readonly [number, number]): number {
  const digits = /^[0-7]+(?=[\0 ])/.exec(block.toString("latin1", start, end))?.[0];
  if (digits === undefined) throw new TarError("a number that is none");
  return Number.parseInt(digits, 8);
}

/** The sum of a header's bytes, where those of the sum itself count as spaces. */
function checksumOf(block: Buffer): number {
  const [start, end] = Field.checksum;
  let sum = (end - start) * 0x20;
  for (let index = 0; index < BLOCK_BYTES; index += 1) if (index < start || index >= end) sum += block[index] ?? 0;
  return sum;
}

interface PaxRecords {
  path?: string;
  size?: number;
}

/** Records of `"<length> <key>=<value>\n"`; others than path and size say nothing here. */
function readPax(bytes: Buffer): PaxRecords {
  const records: PaxRecords = {};
  for (let offset = 0; offset < bytes.byteLength;) {
    const digits = /^[1-9]\d{0,4}(?= )/.exec(bytes.toString("latin1", offset, offset + 6))?.[0];
    if (digits === undefined) throw new TarError("a pax record without a length");
    const keyAt = offset + digits.length + 1;
    const end = offset + Number(digits);
    const equals = bytes.indexOf("=", keyAt);
    if (equals < 0 || equals > end - 2 || end > bytes.byteLength || bytes[end - 1] !== 0x0a)
      throw new TarError("a pax record that is none");
    const key = bytes.toString("latin1", keyAt, equals);
    const value = bytes.toString("utf8", equals + 1, end - 1);
    if (key === "path") records.path = value;
    else if (key === "size") {
      if (!/^\d{1,15}$/.test(value)) throw new TarError("a pax size that is none");
      records.size = Number(value);
    }
    offset = end;
  }
  return records;
}
