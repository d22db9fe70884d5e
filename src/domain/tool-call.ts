/** A tool call as the API shows it, and as the two ends of the bridge speak of it. */

import { z } from "zod";

import { TOOL_ERROR_CODES } from "./tool-error.ts";
import type { ToolErrorCode } from "./tool-error.ts";

export const TOOL_OUTCOMES = ["ok", "error", "denied", "fallback"] as const;
export type ToolOutcome = (typeof TOOL_OUTCOMES)[number];

export const toolCallSchema = z.object({
  server: z.string(),
  tool: z.string().describe("The name that the server gives it; as the program wrote it where there is no such tool"),
  outcome: z.enum(TOOL_OUTCOMES).describe('"fallback": the server was down, and the program got the configured answer, marked as a mock'),
  durationMs: z.number(),
  errorCode: z.enum(TOOL_ERROR_CODES).optional(),
  afterEnd: z.literal(true).optional().describe("The program ended without waiting for the answer"),
  count: z.int().optional().describe("Where there are more calls than are listed: how many of this kind the rest are, durationMs together"),
});
export type ToolCallRecord = z.infer<typeof toolCallSchema>;

/** A call as a program makes it: positional arguments, each a list of one value or, where it was undefined, of none; or named ones. */
export interface ToolCallRequest {
  /** A server's name, namespace or whatever the program wrote. */
  readonly server: string;
  /** A tool's name, alias, identifier or whatever the program wrote. */
  readonly tool: string;
  readonly arguments: { readonly positional: readonly (readonly unknown[])[] } | { readonly named: Readonly<Record<string, unknown>> };
  /** Bytes of the arguments as they came. */
  readonly sizeBytes: number;
  /** The program's own limit; the server's counts where it is shorter. */
  readonly timeoutMs?: number | undefined;
}

export interface ToolProgress {
  readonly progress: number;
  readonly total?: number | undefined;
  readonly message?: string | undefined;
}

export type ToolAnswer =
  | { readonly ok: true; readonly value: unknown }
  | {
      readonly ok: false;
      readonly error: {
        readonly code: ToolErrorCode;
        readonly server: string;
        readonly tool: string;
        readonly message: string;
        readonly data?: unknown;
      };
    };

/** What a program sees of one server. */
export interface ToolNamespace {
  readonly server: string;
  /** Its name as a global of the program, and below `tools`. */
  readonly namespace: string;
  /** The names of its functions: identifiers of tools and aliases. */
  readonly functions: readonly string[];
}
