/** `GET /v1/audit`: what the audit log was told, the newest first. */

import { Router } from "express";
import { z } from "zod";

import type { AuditPage, AuditQuery } from "../audit/read-back.ts";
import { AUDIT_EVENT_TYPES } from "../domain/audit-event.ts";
import { parseRequest } from "./errors.ts";
import { methodNotAllowed } from "./request-checks.ts";
import { sendJson } from "./send-json.ts";

/** Who can be asked for entries. */
export interface AuditReader {
  query(query: AuditQuery): Promise<AuditPage>;
}

export const auditQuerySchema = z.strictObject({
  since: z.iso.datetime({ offset: true }).optional().describe("Only entries of this time or later, such as 2026-01-31T00:00:00Z"),
  type: z.enum(AUDIT_EVENT_TYPES).optional(),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  cursor: z.coerce.number().int().min(1).optional().describe("`nextCursor` of the answer before"),
});

const auditEntrySchema = z
  .looseObject({
    seq: z.int().describe("Rises by one with each entry, over restarts too"),
    time: z.iso.datetime(),
    type: z.enum(AUDIT_EVENT_TYPES),
  })
  .describe("The further fields go with the type, see docs/audit.md");

export const auditPageSchema = z.object({
  entries: z.array(auditEntrySchema),
  nextCursor: z.int().nullable().describe("Where to go on; null when there is nothing more. There may be more although few were found"),
});

export function auditRoutes(audit: AuditReader): Router {
  const router = Router();
  router
    .route("/")
    .get(async (request, response) => {
      const { cursor, limit, since, type } = parseRequest(auditQuerySchema, request.query, "query");
      const sinceMs = since === undefined ? undefined : Date.parse(since);
      const { entries, next } = await audit.query({ before: cursor, sinceMs, type, limit });
      const body = { entries, nextCursor: next ?? null };
      await sendJson(response.status(200).type("json").set("Cache-Control", "no-store"), body);
    })
    .all(methodNotAllowed("GET"));
  return router;
}
