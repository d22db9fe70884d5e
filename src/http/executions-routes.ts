/** `/v1/executions`: run a program, look at recent ones, follow them, cancel. */

import express, { Router } from "express";
import type { Request, Response } from "express";
import { z } from "zod";

import { AppError } from "../domain/errors.ts";
import { executionRequestSchema, STATUSES } from "../domain/execution.ts";
import { isExecutionId } from "../domain/ids.ts";
import { summarize } from "../execution/execution-store.ts";
import type { ExecutionRecord } from "../execution/execution-store.ts";
import type { RuntimeManager } from "../execution/runtime-manager.ts";
import { principalOf, requireScope } from "./authentication.ts";
import type { Principal } from "./authentication.ts";
import { limitBodies } from "./body-budget.ts";
import { parseRequest } from "./errors.ts";
import { answerAtOnce, answerWhole, answerWithStream } from "./execute.ts";
import { answerAfterWait, answerWithEvents } from "./follow.ts";
import type { Follower } from "./follow.ts";
import { answerForm } from "./negotiation.ts";
import { Readers } from "./readers.ts";
import { methodNotAllowed, refuseCrowded, refuseCrowdedText, requireJson } from "./request-checks.ts";

/** The longest that a request can wait for an end: proxies give up on a connection that is silent for longer. */
const MAX_WAIT_MS = 60_000;

export const listQuerySchema = z.strictObject({
  status: z.enum(STATUSES).optional(),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
});

export const getQuerySchema = z.strictObject({
  waitMs: z.coerce.number().int().min(0).max(MAX_WAIT_MS).default(0).describe("Wait so long for the end, if it has not ended"),
});

const noQuerySchema = z.strictObject({});

/** `authenticate` must come before: the handlers read who asks. */
export function executionsRoutes(options: { manager: RuntimeManager; maxBodyBytes: number }): Router {
  const { manager, maxBodyBytes } = options;
  const maxFiles = (): number => Math.max(0, ...[...manager.runtimes.values()].map(({ limits }) => limits.defaults.inputFiles));
  const readers = new Readers();
  const router = Router();

  router
    .route("/")
    .post(
      requireScope("execute"),
      requireJson,
      limitBodies(maxBodyBytes, () => manager.isShared),
      express.json({ limit: maxBodyBytes, inflate: false, verify: refuseCrowdedText(maxFiles) }),
      refuseCrowded,
      async (request, response) => {
        const order = { manager, body: parseRequest(executionRequestSchema, request.body, "request"), caller: principalOf(response) };
        await ANSWERS[answerForm(request)](order, response);
      },
    )
    .get((request, response) => {
      const { limit, status } = parseRequest(listQuerySchema, request.query, "query");
      const visible = manager
        .list()
        .filter((record) => maySee(principalOf(response), record) && (status === undefined || record.status === status));
      response.json({ executions: visible.slice(0, limit).map(summarize) });
    })
    .all(methodNotAllowed("GET, POST"));

  router
    .route("/:id")
    .get(async (request, response) => {
      const { waitMs } = parseRequest(getQuerySchema, request.query, "query");
      await answerAfterWait(followerOf(request, response), waitMs, response);
    })
    .delete((request, response) => {
      const record = find(request, response);
      const cancelled = manager.cancel(record.id);
      response.status(cancelled ? 202 : 200).json(summarize(record));
    })
    .all(methodNotAllowed("DELETE, GET"));

  router
    .route("/:id/events")
    .get(async (request, response) => {
      parseRequest(noQuerySchema, request.query, "query");
      await answerWithEvents(followerOf(request, response), request, response);
    })
    .all(methodNotAllowed("GET"));

  const followerOf = (request: Request<{ id: string }>, response: Response): Follower => ({
    manager,
    readers,
    caller: principalOf(response).name,
    record: find(request, response),
  });

  /** One that exists and that the caller may see; to everybody else it does not exist. */
  function find(request: Request<{ id: string }>, response: Response): ExecutionRecord {
    const { id } = request.params;
    const record = isExecutionId(id) ? manager.get(id) : undefined;
    if (record === undefined || !maySee(principalOf(response), record)) {
      throw new AppError({ code: "NOT_FOUND", message: "There is no such execution; results are kept for a while only." });
    }
    return record;
  }

  return router;
}

const ANSWERS = { json: answerWhole, stream: answerWithStream, async: answerAtOnce };

const maySee = (principal: Principal, record: ExecutionRecord): boolean => principal.scopes.has("admin") || record.owner === principal.name;
