/** The OpenAPI 3.1 description, made from the schemas that validate. */

import { z } from "zod";

import { ERROR_STATUS } from "../domain/errors.ts";
import { executionRequestSchema, executionSchema, executionSummarySchema } from "../domain/execution.ts";
import { errorBodySchema } from "./errors.ts";
import { listQuerySchema } from "./executions-routes.ts";
import { runtimeViewSchema } from "./runtimes-routes.ts";

type Json = Readonly<Record<string, unknown>>;

/** Requests are described as they are written, answers as they are read. */
const schemaOf = (schema: z.ZodType, io: "input" | "output"): Json => {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: "any" });
  return rest;
};

const json = (schema: Json): Json => ({ "application/json": { schema } });
const answer = (description: string, schema: Json, headers?: Json): Json => ({
  description,
  content: json(schema),
  ...(headers === undefined ? {} : { headers }),
});
const ref = (name: string): Json => ({ $ref: `#/components/schemas/${name}` });
const text = (description: string): Json => ({ description, schema: { type: "string" } });

/** Responses for the error statuses that an operation can give. */
function errors(...statuses: readonly number[]): Json {
  return Object.fromEntries(
    statuses.map((status) => {
      const codes = Object.entries(ERROR_STATUS).filter(([, value]) => value === status);
      return [String(status), answer(codes.map(([code]) => code).join(", "), ref("Error"))];
    }),
  );
}

const STATUS_ONLY = { type: "object", required: ["status"], properties: { status: { type: "string" } } };

/** A path for machines: no key, and nothing in the answer but the status. */
const probe = (operationId: string, summary: string, ...statuses: readonly string[]): Json => ({
  get: {
    operationId,
    summary,
    security: [{}],
    responses: Object.fromEntries(statuses.map((status) => [status, answer(status === "200" ? "Yes" : "No", STATUS_ONLY)])),
  },
});

/** The operations. */
function paths(): Json {
  const id = { name: "id", in: "path", required: true, schema: { type: "string" } };
  const query = schemaOf(listQuerySchema, "input")["properties"] as Readonly<Record<string, unknown>>;
  return {
    "/v1/executions": {
      post: {
        operationId: "execute",
        summary: "Run a program and wait for its end",
        description: "Answers 200 whatever the program did; its end is told by `status`. A client that disconnects cancels the execution.",
        requestBody: { required: true, content: json(ref("ExecutionRequest")) },
        responses: {
          "200": answer("The execution", ref("Execution"), {
            Location: text("Path of the execution"),
            "X-Execution-Id": text("Its id, sent as soon as the program runs"),
          }),
          ...errors(400, 401, 403, 404, 413, 415, 429, 500, 503),
        },
      },
      get: {
        operationId: "listExecutions",
        summary: "Recent and running executions, newest first",
        parameters: Object.entries(query).map(([name, schema]) => ({ name, in: "query", schema })),
        responses: {
          "200": answer("Summaries", {
            type: "object",
            required: ["executions"],
            properties: { executions: { type: "array", items: ref("ExecutionSummary") } },
          }),
          ...errors(400, 401, 403),
        },
      },
    },
    "/v1/executions/{id}": {
      get: {
        operationId: "getExecution",
        summary: "One execution",
        parameters: [id],
        responses: { "200": answer("The execution", ref("Execution")), ...errors(401, 403, 404) },
      },
      delete: {
        operationId: "cancelExecution",
        summary: "Cancel an execution",
        parameters: [id],
        responses: {
          "200": answer("It had ended already", ref("ExecutionSummary")),
          "202": answer("It is being cancelled", ref("ExecutionSummary")),
          ...errors(401, 403, 404),
        },
      },
    },
    "/v1/runtimes": {
      get: {
        operationId: "listRuntimes",
        summary: "Runtimes with their limits and permissions",
        responses: {
          "200": answer("The runtimes", {
            type: "object",
            required: ["runtimes"],
            properties: { runtimes: { type: "array", items: ref("Runtime") } },
          }),
          ...errors(401, 403),
        },
      },
    },
    "/health": {
      get: {
        operationId: "health",
        summary: "Whether code can be run; with a key, what the service is made of",
        security: [{}, { key: [] }],
        responses: { "200": answer("It can", { type: "object" }), "503": answer("It cannot", { type: "object" }) },
      },
    },
    "/livez": probe("livez", "Whether the service answers at all", "200"),
    "/readyz": probe("readyz", "Whether code can be run, for a load balancer", "200", "503"),
  };
}

/** The whole document. */
export function openApiDocument(version: string): Json {
  return {
    openapi: "3.1.0",
    info: {
      title: "Code Mode",
      version,
      description: "Runs untrusted code, each execution in its own locked-down container.",
      license: { name: "MIT", identifier: "MIT" },
    },
    security: [{ key: [] }, {}],
    paths: paths(),
    components: {
      securitySchemes: { key: { type: "http", scheme: "bearer" } },
      schemas: {
        ExecutionRequest: schemaOf(executionRequestSchema, "input"),
        Execution: schemaOf(executionSchema, "output"),
        ExecutionSummary: schemaOf(executionSummarySchema, "output"),
        Runtime: schemaOf(runtimeViewSchema, "output"),
        Error: schemaOf(errorBodySchema, "output"),
      },
    },
  };
}
