/**
 * Keeps what a program prints: up to a cap per stream, as text, whatever the chunking.
 *
 * What is over the cap is counted and dropped, and the program goes on. Above the hard ceiling the collector says so, once, and the
 * program is ended. Bytes that are no UTF-8 become U+FFFD.
 */

import { StringDecoder } from "node:string_decoder";

import type { OutputSink } from "../sandbox/ports.ts";

export interface OutputCaps {
  /** Kept of each stream, bytes. */
  readonly keptBytes: number;
  /** Printed to one stream before the program is ended, bytes. */
  readonly ceilingBytes: number;
}

/** How much of the end of stderr is kept beyond the caps, for the runtime's last words. */
const TAIL_BYTES = 16 * 1024;

export interface CollectedOutput {
  readonly stdout: string;
  readonly stderr: string;
  readonly truncated: { readonly stdout: boolean; readonly stderr: boolean };
}

class StreamCollector {
  readonly #caps: OutputCaps;
  readonly #decoder = new StringDecoder("utf8");
  readonly #pieces: string[] = [];
  #printedBytes = 0;
  #keptBytes = 0;

  constructor(caps: OutputCaps) {
    this.#caps = caps;
  }

  /** Adds a chunk; true when the stream is over the ceiling now. */
  push(chunk: Buffer): boolean {
    this.#printedBytes += chunk.byteLength;
    const room = this.#caps.keptBytes - this.#keptBytes;
    if (room > 0) {
      const kept = chunk.subarray(0, room);
      this.#keptBytes += kept.byteLength;
      this.#pieces.push(this.#decoder.write(kept));
    }
    return this.#printedBytes > this.#caps.ceilingBytes;
  }

  get truncated(): boolean {
    return this.#printedBytes > this.#caps.keptBytes;
  }

  /** The text so far. Of a truncated stream a character that the cap cut in two is left out. */
  text(): string {
    const text = this.#pieces.join("");
    return this.truncated ? text : text + this.#decoder.end();
  }
}

export class OutputCollector implements OutputSink {
  readonly #stdout: StreamCollector;
  readonly #stderr: StreamCollector;
  #stderrTail: Buffer = Buffer.alloc(0);
  readonly #onCeiling: (stream: "stdout" | "stderr") => void;
  #ceilingReached = false;

  constructor(caps: OutputCaps, onCeiling: (stream: "stdout" | "stderr") => void) {
    this.#stdout = new StreamCollector(caps);
    this.#stderr = new StreamCollector(caps);
    this.#onCeiling = onCeiling;
  }

  stdout(chunk: Buffer): void {
    if (this.#stdout.push(chunk)) this.#reachCeiling("stdout");
  }

  stderr(chunk: Buffer): void {
    this.#stderrTail = Buffer.concat([this.#stderrTail, chunk.subarray(-TAIL_BYTES)]).subarray(-TAIL_BYTES);
    if (this.#stderr.push(chunk)) this.#reachCeiling("stderr");
  }

  /** What was kept. To be called once, at the end. */
  collect(): CollectedOutput {
    return {
      stdout: this.#stdout.text(),
      stderr: this.#stderr.text(),
      truncated: { stdout: this.#stdout.truncated, stderr: this.#stderr.truncated },
    };
  }

  /** The end of stderr, whatever the caps kept of it. */
  stderrTail(): string {
    return this.#stderrTail.toString("utf8");
  }

  #reachCeiling(stream: "stdout" | "stderr"): void {
    if (this.#ceilingReached) return;
    this.#ceilingReached = true;
    this.#onCeiling(stream);
  }
}
