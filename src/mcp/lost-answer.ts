/** Why a request gets no answer from its server. */

import type { ToolErrorCode } from "../domain/tool-error.ts";

/**
 * TOOL_UNAVAILABLE: the server certainly did not take the request. RESULT_TOO_LARGE: it answered, with more than is read.
 * CONNECTION_LOST: nobody knows.
 */
export type LossCode = Extract<ToolErrorCode, "TOOL_UNAVAILABLE" | "RESULT_TOO_LARGE" | "CONNECTION_LOST">;

/**
 * Put by a transport into the `data` of an error answer that it makes itself, so that the SDK lets the request go like any other. An
 * instance cannot come over a wire: no server can forge one.
 */
export class LostAnswer {
  readonly code: LossCode;
  /** For operators: may hold what the server said, not redacted yet. */
  readonly reason: string;
  /** The HTTP status with which the server refused the request. */
  readonly status: number | undefined;

  constructor(code: LossCode, reason: string, status?: number) {
    this.code = code;
    this.reason = reason;
    this.status = status;
  }
}

/** What a status of 4xx or 5xx means for the request that it answers. `said`: what else is known, to be put after the status. */
export function lostToStatus(status: number, said = ""): LostAnswer {
  // A gateway's timeout says nothing of what is behind it.
  const refused = status >= 400 && status < 500 && status !== 408;
  return new LostAnswer(refused ? "TOOL_UNAVAILABLE" : "CONNECTION_LOST", `the server answered with HTTP ${status}${said}`, status);
}
