/** What is known of the MCP servers and their tools, as the API and the command line show it. Plain JSON. */

import { z } from "zod";

import { TOOL_ERROR_CODES } from "./tool-error.ts";

export const SERVER_STATES = ["connecting", "connected", "degraded", "down", "disabled"] as const;
export type ServerState = (typeof SERVER_STATES)[number];

const share = (what: string): z.ZodType<number | null> => z.number().min(0).max(1).nullable().describe(`${what}; null before the first`);

export const callCountersSchema = z.object({
  requests: z.int().describe("Calls, whatever came of them"),
  ok: z.int(),
  error: z.int(),
  denied: z.int(),
  fallback: z.int(),
  successRate: share("Of the calls that were sent or should have been, those that the server answered well: ok / (ok + error + fallback)"),
  denialRate: share("denied / requests"),
  fallbackPercent: z.number().min(0).max(100).nullable().describe("fallback / requests, as a percentage; null before the first"),
  errors: z.partialRecord(z.enum(TOOL_ERROR_CODES), z.int()).describe("How often each code was the outcome"),
  latency: z
    .object({
      count: z.int(),
      sumMs: z.number(),
      buckets: z
        .array(z.object({ upToMs: z.number().nullable(), count: z.int() }))
        .describe("How many took so long at most, and longer than the one before says; upToMs is null in the last one"),
    })
    .describe("Of the calls that the server answered"),
});
export type CallCounters = z.infer<typeof callCountersSchema>;

export const serverStatusSchema = z.object({
  name: z.string().describe("The key in mcp-servers.json"),
  namespace: z
    .string()
    .nullable()
    .describe("Its name as a global of programs, and below `tools`; null where another server has it: only callTool reaches its tools"),
  state: z.enum(SERVER_STATES),
  reason: z.string().optional().describe("Why it is not connected, or only in part; what to change, where that is known"),
  transport: z.enum(["stdio", "http", "sse"]).nullable().describe("null where the configuration leaves it open"),
  serverInfo: z.object({ name: z.string(), version: z.string() }).optional().describe("As the server says of itself"),
  connectedAt: z.iso.datetime().optional(),
  lastError: z.string().optional().describe("The last failure of a connection, kept after the next one came about; secrets redacted"),
  retries: z.int().describe("Attempts that failed since it was last connected"),
  nextRetryAt: z.iso.datetime().optional(),
  latencyMs: z.number().optional().describe("Of the last look at its health"),
  tools: z
    .array(
      z.object({
        name: z.string(),
        allowed: z.boolean().describe("By the lists of mcp-servers.json"),
        setting: z.string().optional().describe("Which one keeps it from programs"),
      }),
    )
    .describe("The last ones that it told of, also while it is down"),
  hidden: z
    .array(z.object({ name: z.string(), reason: z.string() }))
    .describe("Tools that cannot be used, such as for a schema that is none"),
  collisions: z
    .array(z.object({ tool: z.string(), name: z.string(), takenBy: z.string() }))
    .describe("Tools that are no function of their name, since another one is: only callTool reaches them"),
  calls: callCountersSchema.extend({ byTool: z.record(z.string(), callCountersSchema) }),
});
export type ServerStatus = z.infer<typeof serverStatusSchema>;
/** How a server is, without its tools and what was called: for those who ask often. */
export type ServerBrief = Pick<ServerStatus, "name" | "namespace" | "state" | "reason">;

const jsonObject = z.record(z.string(), z.unknown());

export const toolDescriptionSchema = z.object({
  server: z.string(),
  namespace: z.string().nullable(),
  name: z.string().describe("As the server gives it"),
  aliases: z.array(z.string()).describe("Further names, from mcp-servers.json"),
  functions: z.array(z.string()).describe("Its names as functions of the namespace; empty where others have them: callTool reaches it"),
  signature: z.string().describe("How it is called"),
  title: z.string().optional(),
  description: z.string().describe("The server's own words"),
  inputSchema: jsonObject.describe("A JSON Schema, as the server gives it"),
  outputSchema: jsonObject.optional(),
  annotations: z.object({
    readOnlyHint: z.boolean().optional(),
    destructiveHint: z.boolean().optional(),
    idempotentHint: z.boolean().optional(),
    openWorldHint: z.boolean().optional(),
  }),
  allowed: z.boolean(),
  setting: z.string().optional().describe("Which list keeps it from programs, where one does"),
});
export type ToolDescription = z.infer<typeof toolDescriptionSchema>;
