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
 * Memory held is at most one payload (`maxPayloadBytes`) plus the chunk given last: chunks are kept as they came and joined once a
 * frame is whole, so that a peer that sends byte by byte costs no quadratic copying.
 */
export class FrameDecoder {
  readonly #maxPayloadBytes: number;
  #chunks: Buffer[] = [];
  #bufferedBytes = 0;
  #header: { kind: FrameKind; length: number } | undefined;

  constructor(options: { maxPayloadBytes: number }) {
    this.#maxPayloadBytes = options.maxPayloadBytes;
  }

  /** Adds bytes that arrived; read them back with {@link next}. */
  push(chunk: Buffer): void {
    if (chunk.byteLength === 0) return;
    this.#chunks.push(chunk);
    this.#bufferedBytes += chunk.byteLength;
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
