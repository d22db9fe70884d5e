/**
 * The events of an execution as server-sent events: each with its number as `id`, its type as `event`, and one line of JSON as `data`.
 *
 * What a program prints is inside that line, with every character escaped that ends a line for any client, so that no output looks like
 * an event. A stream holds a number and the last piece that it wrote, whatever its reader does.
 */

import { setTimeout } from "node:timers/promises";

import type { Response } from "express";

import { escapeControls } from "../domain/escaped-json.ts";
import { StopSource } from "../lib/stop-source.ts";
import type { EventLog, ExecutionEvent } from "../execution/event-log.ts";
import { PacedWriter } from "./paced-writer.ts";
import { jsonPieces } from "./send-json.ts";

/** How often a comment tells proxies and readers that the stream is alive. */
const COMMENT_MS = 15_000;
const COMMENT = ": keep-alive\n\n";
/** Small events are written together, up to about this many characters. */
const BATCH_CHARS = 32_768;

/** The text of one event, in pieces. */
export function* eventPieces(id: number, event: ExecutionEvent): Generator<string> {
  yield `id: ${id}\nevent: ${event.type}\ndata: `;
  for (const piece of jsonPieces(event.data)) yield escapeControls(piece);
  yield "\n\n";
}

/** The head of a stream; sent at once, so that a reader knows that it is connected. */
export function sendStreamHead(response: Response, headers: Readonly<Record<string, string>> = {}): void {
  response
    .status(200)
    .type("text/event-stream")
    // The second keeps nginx and its kin from holding events back.
    .set({ "Cache-Control": "no-store", "X-Accel-Buffering": "no", ...headers });
  response.flushHeaders();
}

export interface StreamOptions {
  /** The last event that the reader has. */
  readonly after: number;
  /** How long a reader that has everything waits before it is given more. */
  readonly paceMs?: () => number;
  readonly commentMs?: number;
  readonly stallMs?: number;
}

/** Sends the events after `after` until the last one, and ends the response. Resolves when it is over, in whichever way. */
export async function sendEvents(response: Response, log: EventLog, options: StreamOptions): Promise<void> {
  const { after, commentMs = COMMENT_MS, paceMs = () => 0, stallMs } = options;
  const writer = new PacedWriter(response, stallMs);
  const cursor = new Cursor(log, after);
  let commentAt = performance.now() + commentMs;
  while (!writer.gone.aborted) {
    for (const batch of cursor.batches()) {
      if (!(await writer.write(batch))) return;
    }
    if (cursor.isOver) break;
    if (performance.now() >= commentAt) {
      if (!(await writer.write(COMMENT))) return;
      commentAt = performance.now() + commentMs;
    }
    await moreWithin(commentAt - performance.now(), log, cursor.lastId, writer.gone);
    // A reader that leaves meanwhile rejects it.
    if (paceMs() > 0) await setTimeout(paceMs(), undefined, { signal: writer.gone }).catch(() => undefined);
  }
  await writer.end();
}

/** A reader's place in a log. */
class Cursor {
  readonly #log: EventLog;
  lastId: number;

  constructor(log: EventLog, after: number) {
    this.#log = log;
    this.lastId = after;
  }

  /** The last event was given. */
  get isOver(): boolean {
    return this.#log.execution !== undefined && this.lastId === this.#log.lastId;
  }

  /** The text of the events up to the newest, those too that come while it is taken. */
  *batches(): Generator<string> {
    let batch = "";
    for (let event = this.#log.get(this.lastId + 1); event !== undefined; event = this.#log.get(this.lastId + 1)) {
      this.lastId += 1;
      for (const piece of eventPieces(this.lastId, event)) {
        batch += piece;
        if (batch.length < BATCH_CHARS) continue;
        yield batch;
        batch = "";
      }
    }
    if (batch !== "") yield batch;
  }
}

/** Waits for an event after this one; no longer than this, and than the reader is there. */
async function moreWithin(timeoutMs: number, log: EventLog, after: number, gone: AbortSignal): Promise<void> {
  const stop = new StopSource().follow(gone).abortAfter(Math.max(0, timeoutMs), () => new Error("time for a comment"));
  try {
    await log.more(after, stop.signal);
  } finally {
    stop.close();
  }
}
