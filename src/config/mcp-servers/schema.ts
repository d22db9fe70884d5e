/** The schema of config/mcp-servers.json: what each setting is like. What settings mean together is for `compile.ts`. */

import { z } from "zod";

import { formatByteSize, MIB } from "../../domain/byte-size.ts";
import { byteSizeSchema } from "../../domain/limits.ts";

const MAX_TEXT = 32_768;
const MAX_NAME = 256;
const MAX_ENTRIES = 1024;

/** Every way in which MCP clients write the transports, and what each is here. */
export const TRANSPORTS = { stdio: "stdio", http: "http", "streamable-http": "http", streamableHttp: "http", sse: "sse" } as const;

/** The operating system ends a text at a NUL. */
const text = (expected: string): z.ZodString =>
  z
    .string({ error: `expected ${expected}` })
    .max(MAX_TEXT, { error: `expected at most ${MAX_TEXT} characters` })
    .regex(/^[^\0]*$/, { error: "expected text without NUL" });

const filled = (expected: string): z.ZodString => text(expected).min(1, { error: `expected ${expected}` });

/** Names that mean something else on every object. */
const RESERVED = /^(?:__proto__|constructor|prototype)$/;

const toolName = z
  .string({ error: "expected the name of a tool" })
  .min(1, { error: "expected the name of a tool" })
  .max(MAX_NAME, { error: `expected at most ${MAX_NAME} characters` });

const toolPatterns = z
  .array(
    z
      .string({ error: 'expected the name of a tool, or a pattern such as "get_*"' })
      .min(1, { error: 'expected the name of a tool, or a pattern such as "get_*"' })
      .max(MAX_NAME),
    { error: 'expected a list of tools, such as ["find_*", "read_file"]' },
  )
  .max(MAX_ENTRIES);

const bytes = (ceiling: number, description: string): z.ZodType<number> =>
  byteSizeSchema
    .refine((value) => value >= 1024 && value <= ceiling, { error: `must be from ${formatByteSize(1024)} to ${formatByteSize(ceiling)}` })
    .default(MIB)
    .describe(description);

const whole = (max: number): z.ZodInt =>
  z
    .int({ error: `expected a whole number from 1 to ${max}` })
    .min(1)
    .max(max);

const boolean = (description: string): z.ZodOptional<z.ZodBoolean> =>
  z.boolean({ error: "expected true or false, without quotes" }).optional().describe(description);

const toolsSchema = z.strictObject(
  {
    allow: z
      .union([z.literal("readOnly"), toolPatterns], { error: 'expected a list of tools, such as ["find_*", "read_file"], or "readOnly"' })
      .default(["*"])
      .describe('Tools that programs may call: names, patterns with *, or "readOnly" for those that the server says change nothing'),
    deny: toolPatterns.default([]).describe("Tools that they may not call, whatever allow says"),
  },
  { error: 'expected an object: {"allow": […], "deny": […]}' },
);

const rateLimitSchema = z.strictObject(
  {
    requestsPerMinute: whole(1_000_000).default(6000).describe("Calls of all programs together, in any sixty seconds"),
    maxConcurrent: whole(1000).default(10).describe("Calls under way at once; more wait for their turn"),
  },
  { error: "expected an object" },
);

const fallbackSchema = z.strictObject(
  {
    mode: z
      .enum(["mock", "error"], { error: 'expected "mock" or "error"' })
      .default("mock")
      .describe('"mock": while the server is down, tools with an answer in responses give it; "error": none does'),
    responses: z
      .record(
        toolName,
        z.record(z.string(), z.unknown(), { error: 'expected an object with "mock": true, such as {"mock": true, "results": []}' }),
        { error: "expected an object: for each tool its answer" },
      )
      .default({})
      .describe("The answer by tool: an object with `mock: true` that claims nothing that did not happen"),
  },
  { error: "expected an object" },
);

const HEALTH_CHECK = 'expected {"url": "http://…"} or {"tool": "…"}';
const healthCheckSchema = z
  .union([z.strictObject({ url: filled("an http address") }), z.strictObject({ tool: toolName })], { error: HEALTH_CHECK })
  .optional()
  .describe("What tells that the server is well while it is connected: an address that answers, or a tool without arguments");

export const serverSchema = z.object(
  {
    type: z
      .enum(Object.keys(TRANSPORTS) as [keyof typeof TRANSPORTS], {
        error: 'expected "stdio", "http", "streamable-http" or "sse"; without it, command means stdio, and url http',
      })
      .optional()
      .describe('"http" is the same as "streamable-http"; a server that knows only SSE is found out. Default: by command or url'),
    command: filled('a program, such as "npx"').optional().describe("Program of a stdio server"),
    args: z
      .array(text("text, in quotes"), { error: 'expected a list of texts, such as ["-y", "some-package"]' })
      .max(MAX_ENTRIES)
      .optional()
      .describe("Its arguments"),
    env: z
      .record(z.string().regex(/^[^=\0]{1,256}$/, { error: "expected the name of a variable" }), text('text, in quotes: "8001", "true"'), {
        error: 'expected an object: {"NAME": "value"}',
      })
      .optional()
      .describe("Its environment, beside PATH, HOME and the few others that every program needs. Nothing else is passed on"),
    cwd: filled("a folder").optional().describe("Its working directory, relative to the folder of this file"),
    url: filled("an address").optional().describe("Address of a server that is reached over HTTP"),
    headers: z
      .record(
        z.string().regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}$/, { error: "expected the name of a header" }),
        text("text, in quotes"),
        { error: 'expected an object: {"Authorization": "Bearer ${TOKEN}"}' },
      )
      .optional()
      .describe("Headers of every request to it"),
    enabled: boolean("false: there is no connection until somebody enables the server. Default: true"),
    disabled: boolean("The same the other way round, as other MCP clients write it. Default: false"),
    timeoutMs: whole(3_600_000).optional().describe("Milliseconds that a call may take. Default: MCP_CLIENT_TIMEOUT"),
    tools: toolsSchema.prefault({}).describe("Which tools programs may call"),
    aliases: z
      .record(toolName, toolName, { error: 'expected an object: {"other_name": "name_of_the_tool"}' })
      .default({})
      .describe("Other names, each with the tool that it stands for"),
    arguments: z
      .record(
        toolName,
        z
          .array(
            z.string({ error: "expected the name of an argument" }).min(1, { error: "expected the name of an argument" }).max(MAX_NAME),
            {
              error: 'expected a list of names, such as ["query", "limit"]',
            },
          )
          .max(MAX_ENTRIES),
        { error: 'expected an object: for each tool the names of its positional arguments. The arguments of the command are "args"' },
      )
      .default({})
      .describe("Names of the positional arguments, by tool. Default: the required ones of its schema, else all of it in its order"),
    rateLimit: rateLimitSchema.prefault({}).describe("How much is asked of the server"),
    maxPayloadBytes: bytes(4 * MIB, "Cap on the arguments of a call, as JSON"),
    maxResultBytes: bytes(16 * MIB, "Cap on what a call gives, as JSON"),
    fallback: fallbackSchema.prefault({}).describe("What programs get while the server is down"),
    healthCheck: healthCheckSchema,
  },
  { error: "expected an object with the settings of a server" },
);
export type ServerInput = z.infer<typeof serverSchema>;

const SERVER_NAME = /^(?! )[A-Za-z0-9_. -]{1,64}(?<! )$/;

export const serverNameSchema = z
  .string()
  .regex(SERVER_NAME, { error: "the name of a server is 1 to 64 letters, digits, _ - . and spaces" })
  .refine((name) => !RESERVED.test(name), { error: "is a name that JavaScript keeps for itself; choose another one" });

const servers = <Name extends z.ZodString, Entry extends z.ZodType>(name: Name, entry: Entry) =>
  z.object(
    {
      $schema: z.string().optional(),
      mcpServers: z.record(name, entry, { error: 'expected an object: {"name": {"command": …}}' }),
    },
    { error: 'expected an object: {"mcpServers": {…}}' },
  );

/** The whole file. */
export const mcpServersFileSchema = servers(serverNameSchema, serverSchema);

/** The file around its entries: each is checked by itself, so that the mistakes of one hide none of another. */
export const mcpServersRootSchema = servers(z.string(), z.unknown());

/** The parts of an entry that have settings of their own. */
export const SECTIONS = { tools: toolsSchema, rateLimit: rateLimitSchema, fallback: fallbackSchema } as const;
