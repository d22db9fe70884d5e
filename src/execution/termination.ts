/** What an end means: from the facts of a sandbox's end to the status that the API reports. Pure. */

import { constants } from "node:os";

import type { FinalStatus, ProgramError } from "../domain/execution.ts";
import type { SandboxEnd } from "../sandbox/ports.ts";

/** Why the service itself ended a program. The first reason stands. */
export class Termination extends Error {
  override readonly name = "Termination";
  readonly status: Extract<FinalStatus, "timed_out" | "output_limit" | "cancelled">;

  constructor(status: Termination["status"], message: string) {
    super(message);
    this.status = status;
  }
}

export interface Verdict {
  readonly status: FinalStatus;
  readonly result: unknown;
  readonly error: ProgramError | null;
  readonly exitCode: number | null;
  readonly signal: string | null;
}

/** V8's last words when the JavaScript heap is full. */
const HEAP_EXHAUSTED = /^FATAL ERROR: .*JavaScript heap out of memory/m;
const FATAL_EXIT_CODES: ReadonlySet<number> = new Set([133, 134, 139]);

const withoutStack = (name: string, message: string): ProgramError => ({ name, message, stack: `${name}: ${message}` });

/** `stderr` is the end of what the program printed there; only the runtime's mention of a full heap is looked for. */
export function judge(end: SandboxEnd, termination: Termination | undefined, stderr: string): Verdict {
  switch (end.kind) {
    case "stopped":
      return {
        status: termination?.status ?? "cancelled",
        result: null,
        error: termination === undefined ? null : withoutStack("ExecutionEnded", termination.message),
        exitCode: null,
        signal: "SIGKILL",
      };
    case "violation":
      return {
        status: "killed",
        result: null,
        error: withoutStack("SandboxViolation", `The sandbox was ended: ${end.reason}.`),
        exitCode: null,
        signal: "SIGKILL",
      };
    case "finished": {
      const { error, exitCode, result } = end.finished;
      const completed = error === null && exitCode === 0;
      return { status: completed ? "completed" : "failed", result: result ?? null, error, exitCode, signal: null };
    }
    case "exited":
      return judgeExit(end.exitCode, end.oomKilled, stderr);
  }
}

function judgeExit(exitCode: number, oomKilled: boolean, stderr: string): Verdict {
  const signal = exitCode > 128 ? (signalName(exitCode - 128) ?? null) : null;
  const ended = { result: null, exitCode: signal === null ? exitCode : null, signal };
  if (oomKilled) {
    return {
      ...ended,
      status: "out_of_memory",
      error: withoutStack("OutOfMemory", "The program used more memory than its limit and was killed."),
    };
  }
  if (FATAL_EXIT_CODES.has(exitCode) && HEAP_EXHAUSTED.test(stderr)) {
    return {
      ...ended,
      status: "out_of_memory",
      error: withoutStack(
        "OutOfMemory",
        "The JavaScript heap is full, as the runtime itself reported on stderr. Ask for more memory, or keep less.",
      ),
    };
  }
  if (signal !== null) {
    return { ...ended, status: "killed", error: withoutStack("ProcessKilled", `The program's process was ended by ${signal}.`) };
  }
  return exitCode === 0
    ? { ...ended, status: "completed", error: null }
    : { ...ended, status: "failed", error: withoutStack("ProcessExited", `The program's process exited with code ${exitCode}.`) };
}

function signalName(number: number): string | undefined {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0];
}
