/** `/v1/executions`: run a program, look at recent ones, cancel. */

import express, { Router } from "express";
import type { Request, Response } from "express";
import { z } from "zod";

import { AppError } from "../domain/errors.ts";
import { executionRequestSchema, STATUSES } from "../domain/execution.ts";
import { isExecutionId } from "../domain/ids.ts";
import { describeUnderWay, summarize } from "../execution/execution-store.ts";
import type { ExecutionRecord } from "../execution/execution-store.ts";
import type { RuntimeManager } from "../execution/runtime-manager.ts";
import type { Principal } from "./authentication.ts";
import { limitBodies } from "./body-budget.ts";
import { parseRequest } from "./errors.ts";
import { methodNotAllowed, refuseCrowded, refuseCrowdedText, requireJson } from "./request-checks.ts";
import { sendJson } from "./send-json.ts";

export const listQuerySchema = z.strictObject({
  status: z.enum(STATUSES).optional(),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
});

/** `authenticate` must come before: the handlers read who asks. */
export function executionsRoutes(options: { manager: RuntimeManager; maxBodyBytes: number }): Router {
  const { manager, maxBodyBytes } = options;
  const maxFiles = (): number => Math.max(0, ...[...manager.runtimes.values()].map(({ limits }) => limits.defaults.inputFiles));
  const router = Router();

  router
    .route("/")
    .post(
      requireJson,
      limitBodies(maxBodyBytes),
      express.json({ limit: maxBodyBytes, inflate: false, verify: refuseCrowdedText(maxFiles) }),
      refuseCrowded,
      async (request, response) => {
        const body = parseRequest(executionRequestSchema, request.body, "request");
        const gone = new AbortController();
        const answered = new Promise<void>((resolve) => {
          response.once("close", () => {
            if (!response.writableFinished) gone.abort();
            resolve();
          });
        });
        const sendHead = (id: string): void => {
          response
            .status(200)
            .type("json")
            .set({ Location: `/v1/executions/${id}`, "X-Execution-Id": id, "Cache-Control": "no-store" });
          response.flushHeaders();
        };
        // Once it runs the answer is 200, so its headers can go: they hold what a caller needs to cancel.
        const execution = await manager.execute(body, {
          caller: principalOf(response),
          signal: gone.signal,
          answered,
          onRunning: sendHead,
        });
        // One that was cancelled while it waited never ran.
        if (!response.headersSent) sendHead(execution.id);
        await sendJson(response, execution);
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
      const record = find(request, response);
      response.type("json");
      await sendJson(response, record.execution ?? describeUnderWay(record));
    })
    .delete((request, response) => {
      const record = find(request, response);
      const cancelled = manager.cancel(record.id);
      response.status(cancelled ? 202 : 200).json(summarize(record));
    })
    .all(methodNotAllowed("DELETE, GET"));

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

const principalOf = (response: Response): Principal => response.locals["principal"] as Principal;

const maySee = (principal: Principal, record: ExecutionRecord): boolean => principal.scopes.has("admin") || record.owner === principal.name;
