/** `/v1/servers`: how the MCP servers are, and commands to them. */

import { Router } from "express";
import type { RequestHandler, Response } from "express";
import { z } from "zod";

import type { AuditSink } from "../domain/audit-event.ts";
import { callCountersSchema, serverStatusSchema } from "../domain/server-status.ts";
import type { ServerStatus } from "../domain/server-status.ts";
import type { ToolServers } from "../execution/tool-access.ts";
import { TimeoutError, within } from "../lib/deadline.ts";
import { principalOf, requireScope } from "./authentication.ts";
import { parseRequest } from "./errors.ts";
import { methodNotAllowed } from "./request-checks.ts";
import { sendJson } from "./send-json.ts";
import { findServer, maySeeServer, narrowingFor } from "./tool-visibility.ts";

/** In a list: all but the counters of each tool. */
export const serverSummarySchema = serverStatusSchema.extend({ calls: callCountersSchema });

export const SERVER_COMMANDS = ["reconnect", "enable", "disable"] as const;

export const commandQuerySchema = z.strictObject({
  waitMs: z.coerce
    .number()
    .int()
    .min(0)
    .max(60_000)
    .default(10_000)
    .describe("Answer after so long although it is not done; the command goes on"),
});

export const noQuerySchema = z.strictObject({});

export function serversRoutes({ audit, servers }: { readonly servers: ToolServers; readonly audit: AuditSink }): Router {
  const router = Router();
  router
    .route("/")
    .get(async (request, response) => {
      parseRequest(noQuerySchema, request.query, "query");
      const principal = principalOf(response);
      const visible = servers.status().filter((server) => maySeeServer(principal, server));
      await answer(response, { servers: visible.map(narrowingFor(servers, principal)).map(summarize) });
    })
    .all(methodNotAllowed("GET"));

  router
    .route("/:name")
    .get(async (request, response) => {
      parseRequest(noQuerySchema, request.query, "query");
      const principal = principalOf(response);
      const narrow = narrowingFor(servers, principal);
      await answer(response, narrow(findServer(servers, principal, request.params.name)));
    })
    .all(methodNotAllowed("GET"));

  for (const command of SERVER_COMMANDS) {
    const obey: RequestHandler<{ name: string }> = async (request, response) => {
      const { waitMs } = parseRequest(commandQuerySchema, request.query, "query");
      const principal = principalOf(response);
      const { name } = findServer(servers, principal, request.params.name);
      audit.record({ type: "server.command", who: principal.name, server: name, command });
      request.log.info({ server: name, command, who: principal.name }, `${command} of the server "${name}"`);
      const status = await outcomeOf(servers[command](name), waitMs);
      await answer(response, status ?? findServer(servers, principal, name));
    };
    router.route(`/:name/${command}`).post(requireScope("admin"), obey).all(methodNotAllowed("POST"));
  }
  return router;
}

const answer = (response: Response, body: object): Promise<void> =>
  sendJson(response.status(200).type("json").set("Cache-Control", "no-store"), body);

const summarize = ({ calls: { byTool: _, ...calls }, ...rest }: ServerStatus): z.infer<typeof serverSummarySchema> => ({ ...rest, calls });

/** What became of a command; `undefined` while it is under way. */
async function outcomeOf(command: Promise<ServerStatus>, waitMs: number): Promise<ServerStatus | undefined> {
  try {
    return await within(command, waitMs, "the command");
  } catch (error) {
    if (error instanceof TimeoutError) return undefined;
    throw error;
  }
}
