/** `/v1/tools`: what the caller's programs may call, and how. */

import { Router } from "express";
import { z } from "zod";

import { toolDescriptionSchema } from "../domain/server-status.ts";
import type { ToolServers } from "../execution/tool-access.ts";
import { principalOf } from "./authentication.ts";
import { parseRequest } from "./errors.ts";
import { methodNotAllowed } from "./request-checks.ts";
import { sendJson } from "./send-json.ts";
import { noQuerySchema } from "./servers-routes.ts";
import { findServer, findTool, visibleTools } from "./tool-visibility.ts";

export const toolsQuerySchema = z.strictObject({
  server: z.string().min(1).max(256).optional().describe("Those of this server only; its name or namespace"),
});

/** In a list there are only those that can be called. */
export const listedToolSchema = toolDescriptionSchema.omit({ allowed: true, setting: true });

export function toolsRoutes(servers: ToolServers): Router {
  const router = Router();
  router
    .route("/")
    .get(async (request, response) => {
      const query = parseRequest(toolsQuerySchema, request.query, "query");
      const principal = principalOf(response);
      const server = query.server === undefined ? undefined : findServer(servers, principal, query.server).name;
      const tools = visibleTools(servers, principal)
        .filter((tool) => tool.allowed && (server === undefined || tool.server === server))
        .map(({ allowed: _, setting: __, ...tool }): z.infer<typeof listedToolSchema> => tool);
      // Schemas are servers' own, and may be large: so they are sent piece by piece.
      await sendJson(response.status(200).type("json").set("Cache-Control", "no-store"), { tools });
    })
    .all(methodNotAllowed("GET"));

  router
    .route("/:server/:tool")
    .get(async (request, response) => {
      parseRequest(noQuerySchema, request.query, "query");
      const tool = findTool(servers, principalOf(response), request.params);
      await sendJson(response.status(200).type("json").set("Cache-Control", "no-store"), tool);
    })
    .all(methodNotAllowed("GET"));
  return router;
}
