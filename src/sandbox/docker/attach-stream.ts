/**
 * The program's stdout and stderr, out of the engine's attach stream.
 *
 * The stream is always read, never paused: an engine whose attach stream is not read cannot kill or remove the container. It ends
 * where the runner wrote the marker, which a result on the other socket cannot do: it overtakes the output.
 */

import type { OutputSink } from "../ports.ts";

const HEADER_BYTES = 8;
const STDOUT = 1;
const STDERR = 2;

/** Cuts one stream at a marker. What may be the marker's beginning is held back until it is known. */
export class MarkerCutter {
  #marker: Buffer | undefined;
  #held: Buffer = Buffer.alloc(0);
  #cut = false;

  /** True when the marker was seen. */
  get cut(): boolean {
    return this.#cut;
  }

  /** Starts looking for the marker, in what comes from now on. */
  expect(marker: Buffer): void {
    this.#marker = marker;
  }

  /** The part of the stream that is the program's, as far as it is known to be. */
  push(chunk: Buffer): Buffer {
    if (this.#cut) return Buffer.alloc(0);
    const marker = this.#marker;
    if (marker === undefined) return chunk;
    const bytes = this.#held.byteLength === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const index = bytes.indexOf(marker);
    if (index >= 0) {
      this.#cut = true;
      this.#held = Buffer.alloc(0);
      return bytes.subarray(0, index);
    }
    const keep = overlapLength(bytes, marker);
    this.#held = Buffer.from(bytes.subarray(bytes.byteLength - keep));
    return bytes.subarray(0, bytes.byteLength - keep);
  }

  /** What was held back, when the stream ends without a marker. */
  flush(): Buffer {
    const held = this.#held;
    this.#held = Buffer.alloc(0);
    return held;
  }
}

/** How many bytes at the end of `bytes` are a beginning of `marker`. */
function overlapLength(bytes: Buffer, marker: Buffer): number {
  for (let length = Math.min(bytes.byteLength, marker.byteLength - 1); length > 0; length -= 1) {
    if (bytes.subarray(bytes.byteLength - length).equals(marker.subarray(0, length))) return length;
  }
  return 0;
}

/** The connection that the engine hands over when it is asked to attach. */
export interface HijackedStream extends NodeJS.ReadWriteStream {
  destroy(): unknown;
}

/** Splits the engine's multiplexed stream into the two of the program and hands them on at once, in pieces of any size. */
export class AttachStream {
  readonly #stream: HijackedStream;
  readonly #cutters = { stdout: new MarkerCutter(), stderr: new MarkerCutter() };
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerBytes = 0;
  #payloadLeft = 0;
  #sink: OutputSink | undefined;
  readonly #ended: Promise<void>;
  #settleEnded: () => void = () => undefined;
  #hasEnded = false;
  #markerExpected = false;
  #onCut: (() => void) | undefined;

  constructor(stream: HijackedStream) {
    this.#stream = stream;
    this.#ended = new Promise((resolve) => {
      this.#settleEnded = () => {
        this.#hasEnded = true;
        resolve();
      };
    });
    stream.on("data", (chunk: Buffer) => {
      this.#receive(chunk);
    });
    stream.on("error", () => undefined);
    stream.on("end", this.#settleEnded);
    stream.on("close", this.#settleEnded);
  }

  /** Where the output goes from now on. What came before, from the runtime itself, is dropped. */
  deliverTo(sink: OutputSink): void {
    this.#sink = sink;
  }

  /** Sends the program's whole stdin and closes it. A program that does not read leaves it in memory until its end. */
  sendStdin(text: string): void {
    this.#stream.end(text);
  }

  /** Resolves when both streams were cut at the marker, or have ended. */
  drained(marker: string): Promise<void> {
    const bytes = Buffer.from(marker);
    this.#markerExpected = true;
    this.#cutters.stdout.expect(bytes);
    this.#cutters.stderr.expect(bytes);
    const cut = new Promise<void>((resolve) => {
      this.#onCut = resolve;
    });
    return Promise.race([cut, this.#ended]);
  }

  /** Resolves when the engine has ended the stream: the container is gone, and all of its output was handed on. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /**
   * The streams of which the end was not seen: not cut at the marker where one was asked for, else not ended by the engine. Its
   * output may lack something then, for example because the program closed the stream, or still writes to it.
   */
  get incomplete(): { stdout: boolean; stderr: boolean } {
    const { stderr, stdout } = this.#cutters;
    return this.#markerExpected ? { stdout: !stdout.cut, stderr: !stderr.cut } : { stdout: !this.#hasEnded, stderr: !this.#hasEnded };
  }

  /** Hands on what was held back; nothing is delivered after this. */
  finish(): void {
    this.#sink?.stdout(this.#cutters.stdout.flush());
    this.#sink?.stderr(this.#cutters.stderr.flush());
    this.#sink = undefined;
  }

  /** Closes the connection. Idempotent. */
  destroy(): void {
    this.#stream.destroy();
    this.#settleEnded();
  }

  #receive(chunk: Buffer): void {
    let offset = 0;
    while (offset < chunk.byteLength) {
      if (this.#payloadLeft === 0) {
        const copied = chunk.copy(this.#header, this.#headerBytes, offset, offset + HEADER_BYTES - this.#headerBytes);
        this.#headerBytes += copied;
        offset += copied;
        if (this.#headerBytes < HEADER_BYTES) return;
        this.#headerBytes = 0;
        this.#payloadLeft = this.#header.readUInt32BE(4);
        continue;
      }
      const piece = chunk.subarray(offset, offset + this.#payloadLeft);
      offset += piece.byteLength;
      this.#payloadLeft -= piece.byteLength;
      this.#handOn(this.#header.readUInt8(0), piece);
    }
  }

  #handOn(streamType: number, piece: Buffer): void {
    if (streamType === STDOUT) this.#sink?.stdout(this.#cutters.stdout.push(piece));
    else if (streamType === STDERR) this.#sink?.stderr(this.#cutters.stderr.push(piece));
    if (this.#cutters.stdout.cut && this.#cutters.stderr.cut) this.#onCut?.();
  }
}
