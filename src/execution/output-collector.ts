/**
 * Puts what a program prints into the event log: up to a cap per stream, as text, in pieces of a fair size whatever the chunking.
 *
 * A program can print a byte ten million times. So small chunks are gathered for a few milliseconds, or until there is enough of them,
 * and a program that makes very many events has to wait longer for the next: the log of a whole day has a bounded number of them.
 *
 * What is over the cap is counted and dropped, and the program goes on. Above the hard ceiling the collector says so, once, and the
 * program is ended. Bytes that are no UTF-8 become U+FFFD. A character is never cut in two.
 */

import { StringDecoder } from "node:string_decoder";

import type { OutputSink } from "../sandbox/ports.ts";
import type { EventLog, OutputStream } from "./event-log.ts";

export interface OutputCaps {
  /** Kept of each stream, bytes. */
  readonly keptBytes: number;
  /** Printed to one stream before the program is ended, bytes. */
  readonly ceilingBytes: number;
}

export interface OutputCollectorOptions {
  readonly caps: OutputCaps;
  readonly events: EventLog;
  readonly onCeiling: (stream: OutputStream) => void;
}

/** How much of the end of stderr is kept beyond the caps, for the runtime's last words. */
const TAIL_BYTES = 16 * 1024;
/** How long a small chunk waits for others, at first; it doubles with every {@link EVENTS_PER_DELAY} events. */
const DELAY_MS = 5;
const EVENTS_PER_DELAY = 4096;
/** Chunks of this size wait for nothing. */
const GATHERED_BYTES = 16 * 1024;

export interface CollectedOutput {
  readonly stdout: string;
  readonly stderr: string;
  readonly truncated: { readonly stdout: boolean; readonly stderr: boolean };
}

class StreamCollector {
  readonly #caps: OutputCaps;
  readonly #emit: (text: string) => void;
  readonly #decoder = new StringDecoder("utf8");
  #gathered: Buffer | undefined;
  #gatheredBytes = 0;
  #printedBytes = 0;
  #keptBytes = 0;

  constructor(caps: OutputCaps, emit: (text: string) => void) {
    this.#caps = caps;
    this.#emit = emit;
  }

  /** The part of a chunk that is kept. */
  keep(chunk: Buffer): Buffer {
    this.#printedBytes += chunk.byteLength;
    const kept = chunk.subarray(0, this.#caps.keptBytes - this.#keptBytes);
    this.#keptBytes += kept.byteLength;
    return kept;
  }

  get isOverCeiling(): boolean {
    return this.#printedBytes > this.#caps.ceilingBytes;
  }

  get truncated(): boolean {
    return this.#printedBytes > this.#caps.keptBytes;
  }

  /** Copies a chunk to those that wait; false when there is no room. */
  gather(chunk: Buffer): boolean {
    if (this.#gatheredBytes + chunk.byteLength > GATHERED_BYTES) return false;
    this.#gathered ??= Buffer.allocUnsafeSlow(GATHERED_BYTES);
    this.#gatheredBytes += chunk.copy(this.#gathered, this.#gatheredBytes);
    return true;
  }

  /** Puts what was gathered into the log. */
  flush(): void {
    const gathered = this.#gathered?.subarray(0, this.#gatheredBytes) ?? Buffer.alloc(0);
    this.#gatheredBytes = 0;
    this.emit(gathered);
  }

  emit(chunk: Buffer): void {
    this.#emit(this.#decoder.write(chunk));
  }

  /** What is left of a character that never became whole. Of a truncated stream that is one which the cap cut in two: it is left out. */
  finish(): void {
    this.flush();
    const rest = this.#decoder.end();
    if (!this.truncated) this.#emit(rest);
  }
}

/** The end of a stream. */
class Tail {
  readonly #bytes = Buffer.allocUnsafeSlow(2 * TAIL_BYTES);
  #length = 0;

  push(chunk: Buffer): void {
    const last = chunk.subarray(-TAIL_BYTES);
    if (this.#length + last.byteLength > this.#bytes.byteLength) {
      this.#bytes.copyWithin(0, this.#length - TAIL_BYTES, this.#length);
      this.#length = TAIL_BYTES;
    }
    this.#length += last.copy(this.#bytes, this.#length);
  }

  text(): string {
    return this.#bytes.toString("utf8", Math.max(0, this.#length - TAIL_BYTES), this.#length);
  }
}

export class OutputCollector implements OutputSink {
  readonly #events: EventLog;
  readonly #streams: Readonly<Record<OutputStream, StreamCollector>>;
  readonly #onCeiling: (stream: OutputStream) => void;
  /** The streams of which something was gathered, in the order in which that began. */
  readonly #waiting = new Set<StreamCollector>();
  #timer: NodeJS.Timeout | undefined;
  #stderrTail: Tail | undefined;
  #ceilingReached = false;

  constructor({ caps, events, onCeiling }: OutputCollectorOptions) {
    const collectorOf = (stream: OutputStream): StreamCollector =>
      new StreamCollector(caps, (text) => {
        events.printed(stream, text);
      });
    this.#events = events;
    this.#streams = { stdout: collectorOf("stdout"), stderr: collectorOf("stderr") };
    this.#onCeiling = onCeiling;
  }

  stdout(chunk: Buffer): void {
    this.#push("stdout", chunk);
  }

  stderr(chunk: Buffer): void {
    this.#stderrTail ??= new Tail();
    this.#stderrTail.push(chunk);
    this.#push("stderr", chunk);
  }

  /** Puts the rest into the log and gives all that was kept. To be called once, at the end. */
  collect(): CollectedOutput {
    this.#flush();
    const { stderr, stdout } = this.#streams;
    stdout.finish();
    stderr.finish();
    return {
      stdout: this.#events.text("stdout"),
      stderr: this.#events.text("stderr"),
      truncated: { stdout: stdout.truncated, stderr: stderr.truncated },
    };
  }

  /** The end of stderr, whatever the caps kept of it. */
  stderrTail(): string {
    return this.#stderrTail?.text() ?? "";
  }

  /** Lets the timer go. Idempotent. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #push(name: OutputStream, chunk: Buffer): void {
    const stream = this.#streams[name];
    this.#take(stream, stream.keep(chunk));
    if (stream.isOverCeiling) this.#reachCeiling(name);
  }

  #take(stream: StreamCollector, chunk: Buffer): void {
    if (chunk.byteLength === 0) return;
    if (!stream.gather(chunk)) {
      // What came before goes first, of either stream.
      this.#flush();
      if (!stream.gather(chunk)) {
        stream.emit(chunk);
        return;
      }
    }
    this.#waiting.add(stream);
    this.#timer ??= setTimeout(() => this.#flush(), DELAY_MS * 2 ** Math.floor(this.#events.lastId / EVENTS_PER_DELAY));
  }

  #flush(): void {
    this.close();
    for (const stream of this.#waiting) stream.flush();
    this.#waiting.clear();
  }

  #reachCeiling(stream: OutputStream): void {
    if (this.#ceilingReached) return;
    this.#ceilingReached = true;
    this.#onCeiling(stream);
  }
}
