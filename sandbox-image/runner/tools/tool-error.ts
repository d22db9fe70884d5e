/** What a program gets for a tool call that came to nothing. */

import type { ToolCallResult } from "../../../src/bridge/protocol.ts";
import { captureStackTrace, defineProperty } from "../intrinsics.ts";

export type ToolErrorCode = Extract<ToolCallResult, { ok: false }>["error"]["code"];

interface ToolErrorFields {
  readonly code: ToolErrorCode;
  readonly server: string;
  readonly tool: string;
  /** What else the server or the service said. */
  readonly data?: unknown;
  readonly cause?: unknown;
}

export class ToolError extends Error {
  readonly code: ToolErrorCode;
  readonly server: string;
  readonly tool: string;
  declare readonly data?: unknown;

  static {
    // As with Node's own errors: on the prototype, where printing an error does not show it again.
    defineProperty(this.prototype, "name", { value: "ToolError", writable: true, configurable: true, enumerable: false });
  }

  constructor(message: string, { cause, code, data, server, tool }: ToolErrorFields) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.server = server;
    this.tool = tool;
    if (data !== undefined) this.data = data;
  }

  toJSON(): object {
    const { code, data, message, name, server, tool } = this;
    return { name, code, message, server, tool, ...(data === undefined ? {} : { data }) };
  }
}

/** Where the program made a call: errors that come later have this as their stack. */
export class CallSite {
  declare readonly stack: unknown;

  /** Frames down to the caller of `entry` are taken now; they are made text when somebody asks. */
  constructor(entry: object) {
    captureStackTrace(this, entry as () => void);
  }

  fail(message: string, fields: ToolErrorFields): ToolError {
    const error = new ToolError(message, fields);
    const { stack } = this;
    const from = typeof stack === "string" ? stack.indexOf("\n    at ") : -1;
    const frames = typeof stack === "string" && from >= 0 ? stack.slice(from) : "";
    defineProperty(error, "stack", { value: `ToolError: ${message}${frames}`, writable: true, configurable: true, enumerable: false });
    return error;
  }
}
