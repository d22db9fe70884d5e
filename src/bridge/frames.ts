/**
 * The framing of the wire between the service and the runner inside a sandbox.
 *
 * A frame is a 4-byte big-endian payload length, one byte that names the kind, then the payload. Both ends use this module, so it
 * imports nothing beyond Node's `Buffer` and trusts nothing it reads: a length over the cap is refused before a byte of the
 * payload is kept. It knows no message; `protocol.ts` does.
 */

/** What a frame carries. */
export const FrameKind = {
  /** One JSON-RPC 2.0 message, UTF-8. */
  message: 1,
  /** A piece of the tar archive of output files; an empty one ends the archive. */
  archive: 2,
} as const;

export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

export interface Frame {
  readonly kind: FrameKind;
  readonly payload: Buffer;
}

const HEADER_BYTES = 5;
/** Chunks below this are gathered in slabs of {@link SLAB_BYTES}. */
const SMALL_CHUNK_BYTES = 1024;
const SLAB_BYTES = 16_384;

/** A peer broke the framing: an unknown kind, or a payload over the cap. There is no way to go on with such a connection. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

/** Encodes one frame into a single buffer. */
export function encodeFrame(kind: FrameKind, payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.byteLength);
  frame.writeUInt32BE(payload.byteLength, 0);
  frame.writeUInt8(kind, 4);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** Encodes a JSON-RPC message. */
export function encodeMessage(message: object): Buffer {
  return encodeFrame(FrameKind.message, Buffer.from(JSON.stringify(message)));
}

/**
 * Cuts a byte stream into frames, whatever the chunking.
 *
 * Memory held is about one payload (`maxPayloadBytes`) plus the chunk given last: large chunks are kept as they came and joined once a
 * frame is whole; small ones are gathered in slabs, so that a peer that sends byte by byte costs neither quadratic copying nor an
 * object for each byte.
 */
export class FrameDecoder {
  readonly #maxPayloadBytes: number;
  #chunks: Buffer[] = [];
  #bufferedBytes = 0;
  #header: { kind: FrameKind; length: number } | undefined;
  /** Where small chunks are gathered. What was written is never overwritten: frames handed out may lie in it. */
  #slab: Buffer = Buffer.alloc(0);
  #slabUsed = 0;

  constructor(options: { maxPayloadBytes: number }) {
    this.#maxPayloadBytes = options.maxPayloadBytes;
  }

  /** Adds bytes that arrived; read them back with {@link next}. */
  push(chunk: Buffer): void {
    if (chunk.byteLength === 0) return;
    this.#bufferedBytes += chunk.byteLength;
    if (chunk.byteLength < SMALL_CHUNK_BYTES) this.#gather(chunk);
    else this.#chunks.push(chunk);
  }

  #gather(chunk: Buffer): void {
    if (this.#slab.byteLength - this.#slabUsed < chunk.byteLength) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#slabUsed = 0;
    }
    const start = this.#slabUsed;
    this.#slab.set(chunk, start);
    this.#slabUsed += chunk.byteLength;
    const last = this.#chunks.at(-1);
    if (last?.buffer === this.#slab.buffer && last.byteOffset + last.byteLength === start) {
      this.#chunks[this.#chunks.length - 1] = this.#slab.subarray(last.byteOffset, this.#slabUsed);
    } else this.#chunks.push(this.#slab.subarray(start, this.#slabUsed));
  }

  /** The next whole frame, or `undefined` when more bytes are needed. Throws {@link FrameError}. */
  next(): Frame | undefined {
    this.#header ??= this.#readHeader();
    if (this.#header === undefined || this.#bufferedBytes < this.#header.length) return undefined;
    const { kind, length } = this.#header;
    this.#header = undefined;
    return { kind, payload: this.#take(length) };
  }

  /** Bytes that wait for the rest of their frame. */
  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  #readHeader(): { kind: FrameKind; length: number } | undefined {
    if (this.#bufferedBytes < HEADER_BYTES) return undefined;
    const header = this.#take(HEADER_BYTES);
    const length = header.readUInt32BE(0);
    const kind = header.readUInt8(4);
    if (kind !== FrameKind.message && kind !== FrameKind.archive) throw new FrameError(`unknown frame kind ${kind}`);
    if (length > this.#maxPayloadBytes) {
      throw new FrameError(`a frame of ${length} bytes is over the cap of ${this.#maxPayloadBytes}`);
    }
    return { kind, length };
  }

  #take(length: number): Buffer {
    const first = this.#chunks[0];
    this.#bufferedBytes -= length;
    if (first !== undefined && first.byteLength > length) {
      this.#chunks[0] = first.subarray(length);
      return first.subarray(0, length);
    }
    if (first?.byteLength === length) {
      this.#chunks.shift();
      return first;
    }
    const taken = Buffer.allocUnsafe(length);
    let filled = 0;
    let used = 0;
    while (filled < length) {
      const chunk = this.#chunks[used];
      if (chunk === undefined) throw new FrameError("read past the end of the buffered bytes");
      const piece = chunk.subarray(0, length - filled);
      taken.set(piece, filled);
      filled += piece.byteLength;
      if (piece.byteLength < chunk.byteLength) this.#chunks[used] = chunk.subarray(piece.byteLength);
      else used += 1;
    }
    this.#chunks.splice(0, used);
    return taken;
  }
}
