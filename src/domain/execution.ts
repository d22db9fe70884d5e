/**
 * An execution: what a request may say, and what comes of it. The schemas validate, document (OpenAPI) and give the types.
 */

import { z } from "zod";

import { requestLimitsSchema } from "./limits.ts";
import { permissionsSchema } from "./permissions.ts";
import { checkWorkspacePath } from "./sandbox-path.ts";
import { toolCallSchema } from "./tool-call.ts";
import { toolPatternsSchema } from "./tool-pattern.ts";

/** Ends of an execution. What the user's program does is one of these, never an error of the API. */
export const FINAL_STATUSES = ["completed", "failed", "timed_out", "out_of_memory", "output_limit", "cancelled", "killed"] as const;
export const STATUSES = ["queued", "running", ...FINAL_STATUSES] as const;
export type FinalStatus = (typeof FINAL_STATUSES)[number];
export type Status = (typeof STATUSES)[number];

const MAX_OUTPUT_PATTERNS = 64;
const MAX_ENVIRONMENT_NAMES = 256;
const MAX_ARGUMENTS = 1024;
/** The most that a runtime's own limit can be. Checked before any of them is looked at. */
const MAX_FILES = 100_000;

const withoutNul = (what: string): z.ZodString =>
  z.string().refine((text) => !text.includes("\0"), { error: `${what} must not hold a NUL character` });

/** Text that becomes a workspace path in normal form. */
const workspacePathSchema = z.string().transform((text, context) => {
  const check = checkWorkspacePath(text);
  if (check.ok && check.path !== ".") return check.path;
  context.addIssue({ code: "custom", message: `the path ${check.ok ? "names the workspace itself, not a file in it" : check.problem}` });
  return z.NEVER;
});

/** Padding may be left out. Two flat scans: a pattern with a repeated group would need a stack as deep as the text is long. */
function isBase64(text: string): boolean {
  const body = text.replace(/={1,2}$/, "");
  return body.length % 4 !== 1 && !/[^A-Za-z0-9+/]/.test(body);
}

/** A file that comes with a request. `path` is relative to the workspace, which is the program's working directory. */
export const inputFileSchema = z
  .strictObject({
    path: workspacePathSchema.describe("Relative to the workspace, the program's working directory"),
    content: z.string(),
    encoding: z.enum(["utf8", "base64"]).default("utf8"),
  })
  .refine((file) => file.encoding !== "base64" || isBase64(file.content), { path: ["content"], error: "is no base64 text" });
export type InputFile = z.infer<typeof inputFileSchema>;

/**
 * The paths that need a folder where another path is a file, by index.
 *
 * Sorted, what lies in a folder follows it at once. Looking up every parent of every path would take minutes for the longest list of
 * the deepest paths.
 */
function filesInFiles(paths: readonly string[]): { index: number; file: string }[] {
  const sorted = paths
    .map((path, index) => ({ key: `${path}/`, index }))
    .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.index - b.index));
  let holder: string | undefined;
  return sorted.flatMap(({ index, key }) => {
    if (holder !== undefined && key !== holder && key.startsWith(holder)) return [{ index, file: holder.slice(0, -1) }];
    holder = key;
    return [];
  });
}

/** The body of `POST /v1/executions`. Unknown fields are errors. */
export const executionRequestSchema = z.strictObject({
  runtime: z.string().min(1).max(128).optional().describe("A key of config/runtimes.json; default: its first runtime"),
  code: withoutNul("the code").describe("An ES module in TypeScript or JavaScript; a top-level return gives the result"),
  files: z
    .array(inputFileSchema)
    .max(MAX_FILES)
    .default([])
    .superRefine((files, context) => {
      const seen = new Set<string>();
      files.forEach(({ path }, index) => {
        if (seen.has(path)) context.addIssue({ code: "custom", path: [index, "path"], message: `"${path}" is there twice` });
        seen.add(path);
      });
      for (const { file, index } of filesInFiles(files.map(({ path }) => path))) {
        context.addIssue({ code: "custom", path: [index, "path"], message: `"${file}" is a file of this request, not a folder` });
      }
    }),
  stdin: z.string().default(""),
  args: z.array(withoutNul("an argument")).max(MAX_ARGUMENTS).default([]),
  env: z
    .record(
      z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,255}$/, {
        error: "is no name of an environment variable: letters, digits and _, not starting with a digit",
      }),
      withoutNul("a value"),
    )
    .default({})
    .refine((env) => Object.keys(env).length <= MAX_ENVIRONMENT_NAMES, { error: `has more than ${MAX_ENVIRONMENT_NAMES} names` }),
  timeoutMs: z.int().min(1).optional().describe("Default: the runtime's timeout"),
  limits: requestLimitsSchema.optional(),
  permissions: permissionsSchema.optional().describe("Narrows the runtime's permissions; can never widen them"),
  outputFiles: z
    .array(workspacePathSchema)
    .max(MAX_OUTPUT_PATTERNS)
    .default([])
    .describe('Files to return from the writable folders: paths in which "*" stands for part of a name and "**" for any folders'),
  tools: toolPatternsSchema
    .optional()
    .describe('Tools that the program may call: "server.tool", "server.*"; default: all that the servers\' lists and the key allow'),
});
export type ExecutionRequest = z.infer<typeof executionRequestSchema>;

export const programErrorSchema = z.object({ name: z.string(), message: z.string(), stack: z.string() });
export type ProgramError = z.infer<typeof programErrorSchema>;

const outputFileSchema = z.union([
  z.object({ path: z.string(), content: z.string(), encoding: z.enum(["utf8", "base64"]), size: z.int() }),
  z.object({ path: z.string(), size: z.int().nullable(), error: z.string().describe("Why the content is not here") }),
]);
export type OutputFile = z.infer<typeof outputFileSchema>;

const persistedSchema = z.object({
  files: z.int().describe("How many were kept"),
  bytes: z.int(),
  errors: z
    .array(z.object({ path: z.string(), error: z.string() }))
    .describe('What was not kept, and why; "*" stands for all, or for the rest'),
});
export type Persisted = z.infer<typeof persistedSchema>;

export const denialSchema = z.object({
  kind: z.enum(["network", "tool", "file", "process", "module"]),
  what: z.string().describe("The path, command, host or module; others: those beyond the first hundred"),
  setting: z
    .string()
    .describe(
      'The entry of runtimes.json, mcp-servers.json, the key, or the request itself that would allow it; begins with "none" where there is none',
    ),
  count: z.int().optional().describe("How often, if more than once"),
});
export type Denial = z.infer<typeof denialSchema>;

export const usageSchema = z.object({
  queuedMs: z.number().describe("Waiting for a slot"),
  startMs: z.number().describe("Until the sandbox was ready for the code"),
  runMs: z.number().describe("From the code's delivery to its end"),
  totalMs: z.number(),
  cpuMs: z.number().nullable().describe("null where it is not known: the process ended by itself, or the sandbox's cgroup cannot be read"),
  memoryPeakBytes: z.int().nullable(),
});
export type Usage = z.infer<typeof usageSchema>;

/** An execution as the API shows it. */
export const executionSchema = z.object({
  id: z.string(),
  runtime: z.string(),
  status: z.enum(STATUSES),
  result: z.unknown().describe("What the program returned, as JSON; null without a result"),
  error: programErrorSchema.nullable().describe("Line numbers are those of the submitted code"),
  stdout: z.string(),
  stderr: z.string(),
  truncated: z.object({ stdout: z.boolean(), stderr: z.boolean() }),
  exitCode: z.int().nullable(),
  signal: z.string().nullable(),
  toolCalls: z
    .array(toolCallSchema)
    .describe(
      "The calls of tools, in the order in which they ended: the first thousand one by one, the rest added up by server, tool and outcome",
    ),
  network: z
    .array(z.object({ host: z.string(), port: z.int(), outcome: z.enum(["allowed", "denied"]), bytesIn: z.int(), bytesOut: z.int() }))
    .describe("Empty in this version, in which programs cannot reach the network"),
  denials: z.array(denialSchema).describe("What was refused, as far as it was noticed, in the order in which it was first noticed"),
  files: z.array(outputFileSchema),
  persisted: persistedSchema.nullable().describe("What was copied to the folders with persist; null where there is none"),
  usage: usageSchema,
  warm: z.boolean().describe("Always false: each execution waits for a container of its own to start"),
  degraded: z.boolean().describe("A tool's server was down, and a configured answer took its place"),
});
export type Execution = z.infer<typeof executionSchema>;

/** An execution in a list: all but what the program printed, returned and wrote. */
export const executionSummarySchema = executionSchema
  .pick({ id: true, runtime: true, status: true, exitCode: true, signal: true })
  .extend({ createdAt: z.iso.datetime(), usage: usageSchema.nullable().describe("null before the end") });
export type ExecutionSummary = z.infer<typeof executionSummarySchema>;
