/** Following an execution that somebody else's request started, or one's own earlier one: waiting for its end, reading its events. */

import type { Request, Response } from "express";

import { AppError } from "../domain/errors.ts";
import type { EventLog } from "../execution/event-log.ts";
import { describeUnderWay } from "../execution/execution-store.ts";
import type { ExecutionRecord } from "../execution/execution-store.ts";
import type { RuntimeManager } from "../execution/runtime-manager.ts";
import { StopSource } from "../lib/stop-source.ts";
import { sendEvents, sendStreamHead } from "./event-stream.ts";
import type { Readers } from "./readers.ts";
import { sendJson } from "./send-json.ts";

export interface Follower {
  readonly manager: RuntimeManager;
  readonly readers: Readers;
  readonly caller: string;
  readonly record: ExecutionRecord;
}

/** Answers with the execution as soon as it has ended, or as it is when the wait is over. */
export async function answerAfterWait({ caller, manager, readers, record }: Follower, waitMs: number, response: Response): Promise<void> {
  const { events, id } = record;
  const leave = waitMs > 0 && events.execution === undefined ? readers.enter(id, caller) : undefined;
  await whileReading(events, response, async () => {
    try {
      if (leave !== undefined) await endWithin(waitMs, events, response);
    } finally {
      leave?.();
    }
    response.type("json").set("Cache-Control", "no-store");
    await sendJson(response, events.execution ?? describeUnderWay(manager.get(id) ?? record));
  });
}

/** Answers with the events that come after the one that the reader has, until the last one. */
export async function answerWithEvents({ caller, readers, record }: Follower, request: Request, response: Response): Promise<void> {
  const { events, id } = record;
  const after = lastEventId(request, events);
  if (events.execution !== undefined && after === events.lastId) {
    // Tells a browser's EventSource, which comes back after the end of a stream, that there is no more.
    response.status(204).end();
    return;
  }
  const leave = readers.enter(id, caller);
  try {
    await whileReading(events, response, async () => {
      sendStreamHead(response, { "X-Execution-Id": id });
      if (request.method === "HEAD") response.end();
      else await sendEvents(response, events, { after, paceMs: () => readers.paceMs });
    });
  } finally {
    leave();
  }
}

/** Waits for the end, no longer than this, and than the caller is there. */
async function endWithin(waitMs: number, events: EventLog, response: Response): Promise<void> {
  const stop = new StopSource().abortAfter(waitMs, () => new Error("the wait is over"));
  const onGone = (): void => {
    stop.abort(new Error("the caller is gone"));
  };
  response.once("close", onGone);
  try {
    await events.end(stop.signal);
  } finally {
    stop.close();
    response.off("close", onGone);
  }
}

/** Counts the memory of an execution as in use while it is read, and ends the answer when there is no room for that. */
async function whileReading(events: EventLog, response: Response, read: () => Promise<void>): Promise<void> {
  const reading = events.read();
  reading.cutOff.addEventListener("abort", () => response.destroy(), { once: true });
  try {
    await read();
  } finally {
    reading.close();
  }
}

/** The event after which a reader wants to go on; 0 for all of them. */
function lastEventId(request: Request, { lastId }: EventLog): number {
  const text = request.get("Last-Event-ID") ?? "";
  if (text === "") return 0;
  const id = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (id <= lastId) return id;
  throw new AppError({
    code: "INVALID_REQUEST",
    message: `Last-Event-ID must be the id of the last event that you have got, a whole number from 0 to ${lastId}; leave it out for all events.`,
  });
}
