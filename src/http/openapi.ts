/** The OpenAPI 3.1 description, made from the schemas that validate. */

import { z } from "zod";

import { ERROR_STATUS } from "../domain/errors.ts";
import { executionRequestSchema, executionSchema, executionSummarySchema } from "../domain/execution.ts";
import { serverStatusSchema, toolDescriptionSchema } from "../domain/server-status.ts";
import { auditPageSchema, auditQuerySchema } from "./audit-routes.ts";
import { errorBodySchema } from "./errors.ts";
import { getQuerySchema, listQuerySchema } from "./executions-routes.ts";
import { runtimeViewSchema } from "./runtimes-routes.ts";
import { commandQuerySchema, SERVER_COMMANDS, serverSummarySchema } from "./servers-routes.ts";
import { listedToolSchema, toolsQuerySchema } from "./tools-routes.ts";

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

const header = (name: string, description: string, schema: Json = { type: "string" }): Json => ({
  ...{ name, in: "header", required: false },
  description,
  schema,
});

/** The parameters of a query. */
const query = (schema: z.ZodType): Json[] =>
  Object.entries(schemaOf(schema, "input")["properties"] as Readonly<Record<string, Json>>).map(([name, { description, ...rest }]) => ({
    ...{ name, in: "query" },
    ...(description === undefined ? {} : { description }),
    schema: rest,
  }));

const EVENTS =
  "Server-sent events: `started` with `{id, runtime}`, `stdout` and `stderr` with `{text}`, `tool` with each call of a tool once it is over, and last `finished` with the execution. " +
  "`data` is one line of JSON, `id` rises from 1. A comment comes every 15 seconds.";

/** A stream is text to OpenAPI. */
const STREAM = { "text/event-stream": { schema: { type: "string", description: EVENTS } } };

/** Where an execution is found. */
const LOCATION = {
  Location: text("Path of the execution"),
  "X-Execution-Id": text("Its id, sent as soon as the program runs"),
};

const inPath = (name: string, description?: string): Json => ({
  ...{ name, in: "path", required: true },
  ...(description === undefined ? {} : { description }),
  schema: { type: "string" },
});
const id = inPath("id");

/** Of `/v1/executions` and what is below. */
function executionPaths(): Json {
  return {
    "/v1/executions": {
      post: {
        operationId: "execute",
        summary: "Run a program",
        description:
          "Answers 200 whatever the program did; its end is told by `status`. A client that disconnects cancels the execution, unless it " +
          "asked for an answer at once. With `Accept: text/event-stream` the answer is a stream of events, else JSON at the end.",
        parameters: [header("Prefer", "`respond-async` for an answer at once, with 202")],
        requestBody: { required: true, content: json(ref("ExecutionRequest")) },
        responses: {
          "200": { description: "The execution", content: { ...json(ref("Execution")), ...STREAM }, headers: LOCATION },
          "202": answer("The execution under way; it goes on without its caller", ref("Execution"), {
            ...LOCATION,
            "Preference-Applied": text("respond-async"),
          }),
          ...errors(400, 401, 403, 404, 413, 415, 429, 500, 503),
        },
      },
      get: {
        operationId: "listExecutions",
        summary: "Recent and running executions, newest first",
        parameters: query(listQuerySchema),
        responses: {
          "200": answer("Summaries", listOf("executions", "ExecutionSummary")),
          ...errors(400, 401, 403),
        },
      },
    },
    "/v1/executions/{id}": {
      get: {
        operationId: "getExecution",
        summary: "One execution, at once or at its end",
        parameters: [id, ...query(getQuerySchema)],
        responses: {
          "200": answer("The execution; `queued` or `running` where it has not ended", ref("Execution")),
          ...errors(400, 401, 403, 404, 429),
        },
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
    "/v1/executions/{id}/events": {
      get: {
        operationId: "followExecution",
        summary: "The events of an execution, those that were and those that come",
        description: "Whoever joins or leaves, the execution goes on.",
        parameters: [
          id,
          header("Last-Event-ID", "The last event that the reader has; it gets those after it", { type: "integer", minimum: 0 }),
        ],
        responses: {
          "200": { description: "The events", content: STREAM },
          "204": { description: "It has ended, and the reader has all of its events" },
          ...errors(400, 401, 403, 404, 429),
        },
      },
    },
  };
}

const listOf = (name: string, items: string): Json => ({
  type: "object",
  required: [name],
  properties: { [name]: { type: "array", items: ref(items) } },
});

const WHAT_COMMANDS_DO: Readonly<Record<(typeof SERVER_COMMANDS)[number], string>> = {
  reconnect: "Close the connection of a server, and connect anew",
  enable: "Enable a server, until the service starts again or the configuration is reloaded",
  disable: "Disable a server, until the service starts again or the configuration is reloaded",
};

/** Of `/v1/servers` and `/v1/tools`. */
function toolPaths(): Json {
  const name = inPath("name", "The server's name in mcp-servers.json, or its namespace");
  const commands = SERVER_COMMANDS.map((command) => [
    `/v1/servers/{name}/${command}`,
    {
      post: {
        operationId: `${command}Server`,
        summary: WHAT_COMMANDS_DO[command],
        description: "Takes the scope `admin`. Answers with the server's state when it is done, whatever came of it.",
        parameters: [name, ...query(commandQuerySchema)],
        responses: { "200": answer("How it is then", ref("Server")), ...errors(400, 401, 403, 404) },
      },
    },
  ]);
  return {
    "/v1/servers": {
      get: {
        operationId: "listServers",
        summary: "The MCP servers: how each is, and why",
        responses: { "200": answer("Those that the key may call tools of", listOf("servers", "ServerSummary")), ...errors(400, 401, 403) },
      },
    },
    "/v1/servers/{name}": {
      get: {
        operationId: "getServer",
        summary: "One server, with what was called of each of its tools",
        parameters: [name],
        responses: { "200": answer("The server", ref("Server")), ...errors(400, 401, 403, 404) },
      },
    },
    ...(Object.fromEntries(commands) as Json),
    "/v1/tools": {
      get: {
        operationId: "listTools",
        summary: "The tools that the key's programs may call",
        parameters: query(toolsQuerySchema),
        responses: { "200": answer("The tools", listOf("tools", "Tool")), ...errors(400, 401, 403, 404) },
      },
    },
    "/v1/tools/{server}/{tool}": {
      get: {
        operationId: "getTool",
        summary: "One tool, also one that the server's list keeps from programs",
        parameters: [inPath("server", "Its name or namespace"), inPath("tool", "Its name, an alias, or the name of its function")],
        responses: { "200": answer("The tool", ref("ToolDetails")), ...errors(400, 401, 403, 404) },
      },
    },
  };
}

/** The operations. */
function paths(): Json {
  return {
    ...executionPaths(),
    ...toolPaths(),
    "/v1/audit": {
      get: {
        operationId: "readAudit",
        summary: "What the audit log was told, newest first",
        parameters: query(auditQuerySchema),
        responses: { "200": answer("A page of entries", ref("AuditPage")), ...errors(400, 401, 403) },
      },
    },
    "/v1/runtimes": {
      get: {
        operationId: "listRuntimes",
        summary: "Runtimes with their limits and permissions",
        responses: {
          "200": answer("The runtimes", listOf("runtimes", "Runtime")),
          ...errors(401, 403),
        },
      },
    },
    "/health": {
      get: {
        operationId: "health",
        summary: "Whether code can be run; with a key, what the service is made of",
        security: [{}, { key: [] }],
        description: "`status` is `ok`; `degraded` where an MCP server that is enabled is down; `down` where code cannot be run.",
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
        Server: schemaOf(serverStatusSchema, "output"),
        ServerSummary: schemaOf(serverSummarySchema, "output"),
        Tool: schemaOf(listedToolSchema, "output"),
        AuditPage: schemaOf(auditPageSchema, "output"),
        ToolDetails: schemaOf(toolDescriptionSchema, "output"),
        Error: schemaOf(errorBodySchema, "output"),
      },
    },
  };
}
