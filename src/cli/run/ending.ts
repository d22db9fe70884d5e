/** How an execution ends as a command: its exit code, and what is told of it on stderr. Pure. */

import { constants } from "node:os";

import type { Execution } from "../../domain/execution.ts";
import type { ToolCallRecord } from "../../domain/tool-call.ts";

/** Exit codes that are not the program's own; `code-mode run --help` and docs/cli.md list them. */
export const EXIT_CODES = {
  failed: 1,
  wrongUsage: 2,
  notWritten: 73,
  configuration: 78,
  timedOut: 124,
  notRun: 125,
  outOfMemory: 137,
  brokenPipe: 141,
} as const;

const SIGNAL_EXIT_CODE = 128;
const MAX_LISTED = 10;

/** The exit code of a command that ran the program. */
export function exitCodeOf({ exitCode, signal, status }: Pick<Execution, "exitCode" | "signal" | "status">): number {
  if (status === "completed") return 0;
  if (status === "timed_out") return EXIT_CODES.timedOut;
  if (status === "out_of_memory") return EXIT_CODES.outOfMemory;
  // A code has eight bits; one that is a multiple of 256 must not become success.
  if (exitCode !== null && exitCode !== 0) return exitCode & 0xff || EXIT_CODES.failed;
  const number = signal === null ? undefined : constants.signals[signal as NodeJS.Signals];
  return number === undefined ? EXIT_CODES.failed : SIGNAL_EXIT_CODE + number;
}

export interface Told {
  /** What came of each stream. */
  readonly printedBytes: { readonly stdout: number; readonly stderr: number };
  /** What the API would have kept of each. */
  readonly keptBytes: number;
  /** How long the program could run. */
  readonly timeoutMs: number;
}

export interface Ending {
  /** The program's own error, with its lines; none if the service ended it. */
  readonly error: string | undefined;
  /** What a reader should know beyond that: why it was ended, what was refused, what is missing. */
  readonly notes: readonly string[];
}

export function describeEnding(execution: Execution, { keptBytes, printedBytes, timeoutMs }: Told): Ending {
  const { denials, error, status, toolCalls, truncated } = execution;
  const notes: string[] = [];
  const isOwn = error !== null && status === "failed";
  if (status === "timed_out") notes.push(`the program ran longer than ${timeoutMs} ms and was ended; --timeout gives it more`);
  // Whoever cancelled it knows.
  else if (error !== null && !isOwn && status !== "cancelled") notes.push(error.message);
  for (const { count = 1, setting, what } of denials.slice(0, MAX_LISTED))
    notes.push(`refused: ${what}${count > 1 ? `, ${count} times` : ""}; what would allow it: ${setting}`);
  if (denials.length > MAX_LISTED) notes.push(`refused: ${denials.length - MAX_LISTED} more; --json lists them`);
  notes.push(...describeCalls(toolCalls));
  for (const stream of ["stdout", "stderr"] as const) {
    // All that came was handed on, also what is over the part that an answer of the API holds.
    if (truncated[stream] && printedBytes[stream] <= keptBytes) notes.push(`the end of ${stream} is missing`);
  }
  const stack = error === null || error.stack === "" ? `${error?.name ?? ""}: ${error?.message ?? ""}` : error.stack;
  return { error: isOwn ? plainText(stack) : undefined, notes: notes.map(plainText) };
}

/** The calls that did not do what the program wanted: those of a kind in one line. What a list refused is among the denials. */
function describeCalls(calls: readonly ToolCallRecord[]): string[] {
  const kinds = new Map<string, number>();
  for (const { count = 1, errorCode, outcome, server, tool } of calls) {
    if (outcome === "ok" || errorCode === "TOOL_DENIED") continue;
    const what = outcome === "fallback" ? "the server was down; the program got the configured answer, a mock" : (errorCode ?? outcome);
    const kind = `tool ${server}.${tool}: ${what}`;
    kinds.set(kind, (kinds.get(kind) ?? 0) + count);
  }
  const lines = [...kinds].map(([kind, count]) => `${kind}${count > 1 ? `, ${count} times` : ""}`);
  if (lines.length <= MAX_LISTED) return lines;
  return [...lines.slice(0, MAX_LISTED), `tools: ${lines.length - MAX_LISTED} more kinds of calls that failed; --json lists them`];
}

/** Text of a stranger for a terminal: no control character but line breaks and tabs. */
export const plainText = (text: string): string => text.replace(/(?![\n\t])\p{Cc}|[\u2028\u2029]/gu, "\uFFFD");
