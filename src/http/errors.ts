/** From what was thrown to the error body of the API. The only place that decides what a caller gets to see of a failure. */

import type { ErrorRequestHandler } from "express";
import { z } from "zod";

import type { AuditSink } from "../domain/audit-event.ts";
import { AppError } from "../domain/errors.ts";
import type { ErrorCode, ErrorDetail } from "../domain/errors.ts";
import { problemsOf } from "../domain/schema-issues.ts";

export const errorBodySchema = z.object({
  error: z.object({
    code: z.string(),
    message: z.string().describe("Says what to change"),
    details: z.array(z.object({ path: z.string(), message: z.string() })),
    requestId: z.string(),
  }),
});

/** The `type` of a body that would take too long to parse. */
export const CROWDED = "entity.too.crowded";

/** Failures of express and its body parser, by their `type`. */
const BODY_ERRORS: Readonly<Record<string, { code: ErrorCode; message: string }>> = {
  "entity.too.large": { code: "PAYLOAD_TOO_LARGE", message: "The body is larger than this service accepts (CODE_MODE_MAX_BODY_BYTES)." },
  "entity.parse.failed": { code: "INVALID_REQUEST", message: "The body is no JSON." },
  [CROWDED]: {
    code: "INVALID_REQUEST",
    message: "The body is nested deeper, or has more objects, lists, fields and values, than any valid request.",
  },
  "encoding.unsupported": { code: "UNSUPPORTED_MEDIA_TYPE", message: "The body must not be compressed; send it without Content-Encoding." },
  "charset.unsupported": { code: "UNSUPPORTED_MEDIA_TYPE", message: "The body must be UTF-8." },
  "request.aborted": { code: "INVALID_REQUEST", message: "The body ended early." },
  "request.size.invalid": { code: "INVALID_REQUEST", message: "The body is not as long as Content-Length says." },
};

/** Turns anything that was thrown into an error of the table; what is not known is a bug. */
function toAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const { type } = (error ?? {}) as { type?: unknown };
  const known = typeof type === "string" ? BODY_ERRORS[type] : undefined;
  if (known !== undefined) {
    const detail = type === "entity.parse.failed" ? ` ${(error as Error).message}` : "";
    return new AppError({ code: known.code, message: `${known.message}${detail}`, cause: error });
  }
  // Raised by the router for a path such as /%ff.
  if (error instanceof URIError) return new AppError({ code: "INVALID_REQUEST", message: "The path is no valid URL path.", cause: error });
  return new AppError({
    code: "INTERNAL",
    message: "An internal error. The service's log has the details under this request id.",
    cause: error,
  });
}

/** Parses with a schema; every problem becomes a detail of one `INVALID_REQUEST`. */
export function parseRequest<T extends z.ZodType>(schema: T, value: unknown, what: string): z.output<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const details = parsed.error.issues
    .flatMap((issue) => problemsOf(issue, "is no known field"))
    .map(({ message, path }): ErrorDetail => ({ path: path.join("."), message }));
  const shown = details.slice(0, 3).map(({ message, path }) => (path === "" ? message : `${path}: ${message}`));
  const more = details.length > shown.length ? ` (and ${details.length - shown.length} more, see details)` : "";
  throw new AppError({ code: "INVALID_REQUEST", message: `The ${what} is not valid: ${shown.join("; ")}${more}.`, details });
}

/** What a caller asked for and was not granted. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set(["FORBIDDEN", "PERMISSION_WIDENING", "LIMIT_EXCEEDED", "QUEUE_FULL"]);

/** The last handler: answers, logs what is the service's own fault, and tells the audit log of refusals. */
export const handleErrors =
  (audit: AuditSink): ErrorRequestHandler =>
  (thrown: unknown, request, response, next) => {
    const error = toAppError(thrown);
    if (REFUSALS.has(error.code)) {
      const { name = null } = (response.locals["principal"] ?? {}) as { readonly name?: string };
      audit.record({ type: "request.refused", who: name, code: error.code, what: error.message, count: 1 });
    }
    if (error.code === "INTERNAL") request.log.error({ err: thrown }, "internal error");
    // Where nothing failed, a request was refused: its message says all, and a stack for each would fill the log.
    else if (error.status >= 500) request.log.warn(error.cause === undefined ? {} : { err: error }, error.message);
    if (response.headersSent) {
      next(thrown);
      return;
    }
    if (error.retryAfterSeconds !== undefined) response.set("Retry-After", String(error.retryAfterSeconds));
    const { code, details, message, status } = error;
    response.status(status).json({ error: { code, message, details, requestId: response.get("X-Request-Id") ?? "" } });
  };
