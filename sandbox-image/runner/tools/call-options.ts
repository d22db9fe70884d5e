/** The options of `callTool`. */

import type { ToolProgressParams } from "../../../src/bridge/protocol.ts";
import { ArgumentsError, CAPS } from "./arguments.ts";

type Progress = Omit<ToolProgressParams, "id">;

export interface CallOptions {
  /** Cancels the call. */
  readonly signal?: AbortSignal | undefined;
  /** Told of what the tool says of its progress, if it does. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** The server's own limit counts where it is shorter. */
  readonly timeoutMs?: number | undefined;
}

/** Throws an {@link ArgumentsError}. */
export function readOptions(given: unknown): CallOptions {
  if (given === undefined || given === null) return {};
  if (typeof given !== "object") throw invalid("The options of a call must be an object");
  const { onProgress, signal, timeoutMs } = given as Record<string, unknown>;
  if (signal !== undefined && !isSignal(signal)) throw invalid("options.signal must be an AbortSignal");
  if (onProgress !== undefined && typeof onProgress !== "function") throw invalid("options.onProgress must be a function");
  if (timeoutMs !== undefined && !(typeof timeoutMs === "number" && timeoutMs > 0))
    throw invalid("options.timeoutMs must be a number of milliseconds above 0");
  return {
    signal,
    onProgress: onProgress as CallOptions["onProgress"],
    timeoutMs: timeoutMs === undefined ? undefined : Math.min(Math.ceil(timeoutMs), CAPS.timeoutMs),
  };
}

const invalid = (message: string): ArgumentsError => new ArgumentsError("INVALID_ARGUMENTS", `${message}.`);

function isSignal(value: unknown): value is AbortSignal {
  if (typeof value !== "object" || value === null) return false;
  const { aborted, addEventListener, removeEventListener } = value as Record<keyof AbortSignal, unknown>;
  return typeof aborted === "boolean" && typeof addEventListener === "function" && typeof removeEventListener === "function";
}
