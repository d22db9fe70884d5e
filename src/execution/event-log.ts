/**
 * What happens in one execution, as one list of numbered events: the only place where its output is kept.
 *
 * Readers hold a number, the last event that they have seen, and nothing is kept for them: a slow one costs no more than a quick one.
 * The list is bounded by what its writer puts in (see output-collector.ts).
 */

import type { Execution } from "../domain/execution.ts";
import type { ToolCallRecord } from "../domain/tool-call.ts";

export type OutputStream = "stdout" | "stderr";

export type ExecutionEvent =
  /** The program is about to run. */
  | { readonly type: "started"; readonly data: { readonly id: string; readonly runtime: string } }
  | { readonly type: OutputStream; readonly data: { readonly text: string } }
  /** A tool call is over. */
  | { readonly type: "tool"; readonly data: ToolCallRecord }
  /** The last one. */
  | { readonly type: "finished"; readonly data: Execution };

/** What an event takes in memory beside its text. */
const EVENT_BYTES = 128;

/** Somebody who reads the log, or what came of it, and so keeps it in memory. */
export interface Reading {
  /** Aborted when the log is kept for its readers only, and there is no room for that. */
  readonly cutOff: AbortSignal;
  /** To be called when nothing of the log is held any more. Idempotent. */
  close(): void;
}

export class EventLog {
  readonly #events: ExecutionEvent[] = [];
  #execution: Execution | undefined;
  readonly #waitingForMore = new Set<() => void>();
  readonly #waitingForEnd = new Set<() => void>();
  readonly #readings = new Set<AbortController>();
  #onUnread: (() => void) | undefined;

  /** The number of the newest event; the first has 1. */
  get lastId(): number {
    return this.#events.length;
  }

  /** The execution once it has ended. */
  get execution(): Execution | undefined {
    return this.#execution;
  }

  /** Roughly, what the log takes in memory beside the execution that came of it. */
  get overheadBytes(): number {
    return this.#events.length * EVENT_BYTES;
  }

  get(id: number): ExecutionEvent | undefined {
    return this.#events[id - 1];
  }

  started(id: string, runtime: string): void {
    this.#append({ type: "started", data: { id, runtime } });
  }

  printed(stream: OutputStream, text: string): void {
    if (text !== "") this.#append({ type: stream, data: { text } });
  }

  called(call: ToolCallRecord): void {
    this.#append({ type: "tool", data: call });
  }

  /** All that was printed to a stream so far. */
  text(stream: OutputStream): string {
    return this.#events.map((event) => (event.type === stream ? event.data.text : "")).join("");
  }

  /** The last event. The output in `execution` is what {@link text} gave. */
  finished(execution: Execution): void {
    this.#share(execution);
    this.#execution = execution;
    this.#append({ type: "finished", data: execution });
    wake(this.#waitingForEnd);
  }

  /** The same events, with another form of the execution as the last one. For a log that has ended. */
  endingWith(execution: Execution): EventLog {
    const log = new EventLog();
    for (const event of this.#events) if (event.type !== "finished") log.#events.push(event);
    log.#execution = execution;
    log.#append({ type: "finished", data: execution });
    return log;
  }

  /** Resolves when there is an event after this one, or the signal is aborted. */
  more(after: number, signal: AbortSignal): Promise<void> {
    return this.lastId > after ? Promise.resolve() : waitIn(this.#waitingForMore, signal);
  }

  /** Resolves when the execution has ended, or the signal is aborted. */
  end(signal: AbortSignal): Promise<void> {
    return this.#execution === undefined ? waitIn(this.#waitingForEnd, signal) : Promise.resolve();
  }

  /** To be called by who holds the log, or its execution, for as long as a client takes to read it. */
  read(): Reading {
    const controller = new AbortController();
    this.#readings.add(controller);
    return {
      cutOff: controller.signal,
      close: () => {
        if (this.#readings.delete(controller) && this.#readings.size === 0) this.#onUnread?.();
      },
    };
  }

  get isRead(): boolean {
    return this.#readings.size > 0;
  }

  /** Calls back once nobody reads it. For one that is read. */
  onUnread(listener: () => void): void {
    this.#onUnread = listener;
  }

  /** Makes the readers leave. */
  cutOff(): void {
    const readings = [...this.#readings];
    this.#readings.clear();
    for (const reading of readings) reading.abort();
  }

  #append(event: ExecutionEvent): void {
    this.#events.push(event);
    wake(this.#waitingForMore);
  }

  /** Makes the events' texts parts of the whole ones, which the engine keeps as references: the output is in memory once. */
  #share(execution: Execution): void {
    const at = { stdout: 0, stderr: 0 };
    for (const [index, event] of this.#events.entries()) {
      if (event.type !== "stdout" && event.type !== "stderr") continue;
      const from = at[event.type];
      at[event.type] += event.data.text.length;
      this.#events[index] = { type: event.type, data: { text: execution[event.type].slice(from, at[event.type]) } };
    }
  }
}

function wake(waiting: Set<() => void>): void {
  const woken = [...waiting];
  waiting.clear();
  for (const resume of woken) resume();
}

function waitIn(waiting: Set<() => void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const resume = (): void => {
      waiting.delete(resume);
      signal.removeEventListener("abort", resume);
      resolve();
    };
    signal.addEventListener("abort", resume, { once: true });
    waiting.add(resume);
  });
}
