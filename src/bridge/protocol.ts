/**
 * The messages between the service and the runner, JSON-RPC 2.0 inside the frames of `frames.ts`.
 *
 *     runner → ready                        the runtime is up; nothing of the caller has been read yet
 *     service → inspect  → answer           identities of the mounted paths, compared with what the host checked
 *     service → execute                     the caller's code, files, arguments, environment
 *     runner → tool.call → answer           a call of a tool, any number at a time; `tool.progress` comes before the answer
 *     runner → tool.cancel                  the program does not want the answer any more
 *     runner → finished                     what the program came to; the first one counts, a second one is a violation
 *     service → close                       the marker that ends the output streams, and which files to send
 *     runner → archive frames, `archived`   files as a tar stream; once for each archive that the `close` asks for
 *     then the runner writes the marker to fds 1 and 2 and exits
 *
 * From the `execute` on, everything that comes from the runner is hostile input: the program has full control of that end.
 * The runner imports the types only; the service parses with the schemas.
 */

import { z } from "zod";

import { DENIAL_REASONS } from "../domain/denials.ts";
import type { ToolAnswer, ToolNamespace, ToolProgress } from "../domain/tool-call.ts";

/** Raised when the two ends could no longer understand each other. */
export const PROTOCOL_VERSION = 2;

/** Where things are inside a sandbox. The image, the container's configuration and the runner agree on these. */
export const SANDBOX_PATHS = {
  /** The working directory of the program; read-only but for the write entries mounted in it. */
  workspace: "/workspace",
  /** The directory of the execution's own sockets. */
  sockets: "/run/code-mode",
  toolsSocket: "/run/code-mode/tools.sock",
  node: "/usr/local/bin/node",
  runner: "/opt/code-mode/runner.cjs",
} as const;

/** Caps on what one message from a sandbox may hold. */
export const MESSAGE_CAPS = { depth: 128, errorNameChars: 256, errorMessageChars: 65_536, errorStackChars: 65_536 } as const;
export const DENIAL_CAPS = { entries: 128, whatChars: 256 } as const;

/** `ready`, from the runner. */
export const readySchema = z.strictObject({
  protocol: z.literal(PROTOCOL_VERSION),
  node: z.string().max(64),
});

/** What `inspect` asks for, from the service: paths inside the sandbox. */
export interface InspectParams {
  readonly paths: readonly string[];
}

/** The answer to `inspect`, in the order asked. A path that cannot be stat'ed has an `error`. Numbers are decimal strings (64 bits). */
export const inspectResultSchema = z.strictObject({
  identities: z
    .array(
      z.union([z.strictObject({ device: z.string().max(24), inode: z.string().max(24) }), z.strictObject({ error: z.string().max(256) })]),
    )
    .max(256),
});
export type InspectResult = z.infer<typeof inspectResultSchema>;

/** `execute`, from the service. */
export interface ExecuteParams {
  readonly code: string;
  readonly language: "typescript" | "javascript";
  /** Files for the writable directories, which only the sandbox itself can reach. Paths are relative to the workspace, already checked. */
  readonly files: readonly { readonly path: string; readonly content: string; readonly encoding: "utf8" | "base64" }[];
  readonly args: readonly string[];
  /** The whole environment that the program sees. */
  readonly env: Readonly<Record<string, string>>;
  /** Module names that an import may name; `["*"]` allows every module of the image. */
  readonly allowedModules: readonly string[];
  /** Turns off code from strings (`eval`, `new Function`). */
  readonly denyCodeGeneration: boolean;
  /** Cap on the JSON text of the result, bytes. */
  readonly maxResultBytes: number;
  /** The writable directories, relative to the workspace: for telling what a failed call was refused. */
  readonly writable: readonly string[];
  /** The tools that the program finds as functions. */
  readonly tools: readonly ToolNamespace[];
}

/** What one call may hold. The runner refuses what is over these; whoever sends it all the same gets an error, or is ended. */
export const TOOL_CAPS = {
  nameChars: 256,
  /** Positional ones of one call. */
  arguments: 64,
  /** Of the arguments as JSON. The largest `maxPayloadBytes` of a server. */
  argumentBytes: 4 * 2 ** 20,
  /** Values and keys of the arguments: what parsing them costs goes by their number, not by their bytes. */
  argumentParts: 250_000,
  /** The longest time that a timer can wait. */
  timeoutMs: 2 ** 31 - 1,
  progressMessageChars: 1024,
} as const;

/** The params of `tool.call`, a request of the runner's: its id is the runner's own, and rises. */
export const toolCallParamsSchema = z.strictObject({
  server: z.string().max(TOOL_CAPS.nameChars),
  tool: z.string().max(TOOL_CAPS.nameChars),
  /** JSON of {@link toolArgumentsSchema}, as text: so it is measured before it is parsed, and costs nothing where it is too large. */
  arguments: z.string(),
  timeoutMs: z.int().min(1).max(TOOL_CAPS.timeoutMs).optional(),
  /** Whether the program wants to know of progress. */
  progress: z.boolean().optional(),
});

/** The arguments of a call. What they must be is the port's to say. */
export const toolArgumentsSchema = z.union([
  /** By position: a list of the value, or an empty one where it is undefined. */
  z.strictObject({ positional: z.array(z.array(z.unknown()).max(1)).max(TOOL_CAPS.arguments) }),
  // No record: that would copy it, without the keys that it finds suspicious.
  z.strictObject({ named: z.custom<Record<string, unknown>>(isJsonObject) }),
]);

function isJsonObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The answer's `result`. A failure of the tool is an answer too. */
export type ToolCallResult = ToolAnswer;

/** `tool.progress`, from the service. */
export interface ToolProgressParams extends ToolProgress {
  readonly id: number;
}

/** `tool.cancel`, from the runner. The call is still answered. */
export const toolCancelParamsSchema = z.strictObject({ id: z.int().nonnegative() });

/** `finished`, from the runner. `result` is any JSON value; its size is capped by the frame, its depth by {@link MESSAGE_CAPS}. */
export const finishedSchema = z.strictObject({
  result: z.unknown(),
  error: z
    .strictObject({
      name: z.string().max(MESSAGE_CAPS.errorNameChars),
      message: z.string().max(MESSAGE_CAPS.errorMessageChars),
      stack: z.string().max(MESSAGE_CAPS.errorStackChars),
    })
    .nullable(),
  exitCode: z.int().min(0).max(255),
  /** What the program's process noticed that it was refused; `what` is null for the number of those that it did not keep. */
  denials: z
    .array(
      z.strictObject({
        reason: z.enum(DENIAL_REASONS),
        what: z.string().max(DENIAL_CAPS.whatChars).nullable(),
        count: z.int().min(1),
      }),
    )
    .max(DENIAL_CAPS.entries)
    .default([]),
});
export type NotedDenial = z.infer<typeof finishedSchema>["denials"][number];
export type Finished = z.infer<typeof finishedSchema>;

/** `close`, from the service. */
export interface CloseParams {
  /** Written to fds 1 and 2 after the program's last byte; random, and unknown in the sandbox before. */
  readonly marker: string;
  /** The archives to send before that, in this order. */
  readonly archives: readonly CollectParams[];
}

/** Which files an archive is to hold. All paths are relative to the workspace and checked by the service. */
export interface CollectParams {
  /** The writable directories; nothing else is walked. */
  readonly roots: readonly string[];
  /** Path patterns: `*` within a segment, `**` across segments. A file is sent when one of them matches. */
  readonly patterns: readonly string[];
  /** The folders below the roots are entries of their own, empty ones too. */
  readonly folders: boolean;
  /** Cap on the files, and on the folders if they are entries, together. */
  readonly maxFiles: number;
  /** Cap on the contents together, bytes. */
  readonly maxBytes: number;
}

export const SKIP_REASONS = ["not_a_file", "over_limit", "unreadable"] as const;
const count = z.int().nonnegative();

/** `archived`, from the runner, after the last archive frame: what matched and was left out. */
export const archivedSchema = z.strictObject({
  /** The first of them. */
  skipped: z.array(z.strictObject({ path: z.string().max(4096), sizeBytes: count, reason: z.enum(SKIP_REASONS) })).max(1000),
  /** All of them, by reason. */
  counts: z.strictObject({ not_a_file: count, over_limit: count, unreadable: count }),
});
export type Archived = z.infer<typeof archivedSchema>;
