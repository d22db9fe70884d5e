/**
 * The ways in which a tool call can fail, as programs see them: a `ToolError` with one of these codes.
 *
 * Pure: the table, and the error that carries a row of it through the service. A message is for the program's author: it says what to
 * do, and holds no secret and no path of the host.
 */

/** Whether the server can have done what was asked: a call is sent once, and never again by itself. */
export type Sent = "no" | "maybe" | "yes";

export interface ToolErrorEntry {
  /** What the call counts as in `toolCalls`. */
  readonly outcome: "denied" | "error";
  readonly sent: Sent;
  /** For readers. */
  readonly meaning: string;
}

/** Every code that a `ToolError` can have. */
export const TOOL_ERRORS = {
  TOOL_NOT_FOUND: { outcome: "error", sent: "no", meaning: "There is no such server or tool; the message names those that are alike" },
  TOOL_DENIED: { outcome: "denied", sent: "no", meaning: "A list keeps the tool from this program; the message names the setting" },
  INVALID_ARGUMENTS: { outcome: "denied", sent: "no", meaning: "The arguments do not fit the tool's schema, or cannot be sent as JSON" },
  PAYLOAD_TOO_LARGE: { outcome: "denied", sent: "no", meaning: "The arguments are larger than the server's maxPayloadBytes" },
  RATE_LIMITED: {
    outcome: "denied",
    sent: "no",
    meaning: "The server's calls for this minute are used up; data.retryAfterMs says when there are more",
  },
  TOO_MANY_CALLS: {
    outcome: "denied",
    sent: "no",
    meaning: "The program has made as many calls as one execution may, or too many at once",
  },
  TOOL_UNAVAILABLE: { outcome: "error", sent: "no", meaning: "The server is down, disabled or not connected yet" },
  TOOL_FAILED: { outcome: "error", sent: "yes", meaning: "The tool itself reports a failure; data has what it said" },
  SERVER_ERROR: { outcome: "error", sent: "yes", meaning: "The server answered with an error of the protocol; data.code is its number" },
  RESULT_TOO_LARGE: { outcome: "error", sent: "yes", meaning: "The tool ran, and its result is larger than the server's maxResultBytes" },
  CONNECTION_LOST: { outcome: "error", sent: "maybe", meaning: "The connection broke before the answer came; the tool may have run" },
  TIMEOUT: { outcome: "error", sent: "maybe", meaning: "No answer came in time; the tool may have run" },
  CANCELLED: { outcome: "error", sent: "maybe", meaning: "The program, or its end, cancelled the call; the tool may have run" },
  INTERNAL: { outcome: "error", sent: "maybe", meaning: "A fault of the service; its log has the details" },
} as const satisfies Record<string, ToolErrorEntry>;

export type ToolErrorCode = keyof typeof TOOL_ERRORS;
export const TOOL_ERROR_CODES = Object.keys(TOOL_ERRORS) as [ToolErrorCode, ...ToolErrorCode[]];

export interface ToolFailureOptions {
  readonly code: ToolErrorCode;
  readonly server: string;
  readonly tool: string;
  readonly message: string;
  /** A JSON value for the program. */
  readonly data?: unknown;
  /** What would allow the call, where something refused it: as `denials` of an execution show it. */
  readonly setting?: string | undefined;
  readonly cause?: unknown;
}

/** A tool call that came to nothing. */
export class ToolFailure extends Error {
  override readonly name = "ToolFailure";
  readonly code: ToolErrorCode;
  readonly server: string;
  readonly tool: string;
  readonly data: unknown;
  readonly setting: string | undefined;

  constructor({ cause, code, data, message, server, setting, tool }: ToolFailureOptions) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.server = server;
    this.tool = tool;
    this.data = data;
    this.setting = setting;
  }
}
