/** The three forms of an answer to `POST /v1/executions`: whole at the end, as a stream, and at once. */

import type { Response } from "express";

import type { Caller } from "../domain/caller.ts";
import type { ExecutionRequest } from "../domain/execution.ts";
import { describeUnderWay } from "../execution/execution-store.ts";
import type { RuntimeManager, StartedExecution } from "../execution/runtime-manager.ts";
import { holdBody } from "./body-budget.ts";
import { sendEvents, sendStreamHead } from "./event-stream.ts";
import { sendJson } from "./send-json.ts";

export interface Order {
  readonly manager: RuntimeManager;
  readonly body: ExecutionRequest;
  readonly caller: Caller;
}

/** What tells a caller how to cancel and find its execution. */
const headersOf = (id: string): Record<string, string> => ({
  Location: `/v1/executions/${id}`,
  "X-Execution-Id": id,
  "Cache-Control": "no-store",
});

/** Answers with the whole execution at its end. */
export async function answerWhole(order: Order, response: Response): Promise<void> {
  const { ended, record, running } = startFor(response, order);
  // Once it runs the answer is 200, so its headers can go.
  await running;
  response.status(200).type("json").set(headersOf(record.id));
  response.flushHeaders();
  await sendJson(response, await ended);
}

/** Answers with the events as they come. Until the program runs a failure is an error like any other. */
export async function answerWithStream(order: Order, response: Response): Promise<void> {
  const { record, running } = startFor(response, order);
  await running;
  sendStreamHead(response, headersOf(record.id));
  await sendEvents(response, record.events, { after: 0 });
}

/** Answers at once. The program runs on without its caller. */
export async function answerAtOnce({ body, caller, manager }: Order, response: Response): Promise<void> {
  // The request stays in memory until its program has ended, which may be long after this answer.
  const letGo = holdBody(response);
  let started: StartedExecution;
  try {
    started = manager.submit(body, { caller });
  } catch (error) {
    letGo();
    throw error;
  }
  void started.ended.finally(letGo);
  const { record } = started;
  response
    .status(202)
    .type("json")
    .set({ ...headersOf(record.id), "Preference-Applied": "respond-async" });
  await sendJson(response, describeUnderWay(record));
}

/** Starts an execution that is cancelled when its caller goes, and keeps its slot until the caller has the answer. */
function startFor(response: Response, { body, caller, manager }: Order): StartedExecution {
  const gone = new AbortController();
  const answered = new Promise<void>((resolve) => {
    response.once("close", () => {
      if (!response.writableFinished) gone.abort();
      resolve();
    });
  });
  return manager.start(body, { caller, signal: gone.signal, answered });
}
