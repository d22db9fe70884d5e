/** One call of a tool over a connection: sent once, timed here, and its failures in the words of the bridge. */

import { printable } from "../domain/escaped-json.ts";
import type { ToolProgress } from "../domain/tool-call.ts";
import { ToolFailure } from "../domain/tool-error.ts";
import type { ToolErrorCode } from "../domain/tool-error.ts";
import { StopSource } from "../lib/stop-source.ts";
import type { Link } from "./link.ts";
import { LostAnswer } from "./lost-answer.ts";
import type { Redactor } from "./redaction.ts";
import { BadReplyError, readReply } from "./reply.ts";
import type { ToolReply } from "./reply.ts";

export interface ToolCall {
  readonly server: string;
  readonly tool: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  readonly maxResultBytes: number;
  readonly onProgress: ((progress: ToolProgress) => void) | undefined;
}

const MAX_MESSAGE_CHARS = 2000;

/** What sets the signal of a call off; its text is what the server is told. */
class CallEnded extends Error {
  readonly code: "TIMEOUT" | "CANCELLED";

  constructor(code: CallEnded["code"]) {
    super(code === "TIMEOUT" ? "no answer came in time" : "the caller cancelled");
    this.code = code;
  }
}

/** Throws a {@link ToolFailure}. `onLoss` is told, for operators, why an answer was lost. */
export async function callTool(link: Link, call: ToolCall, redactor: Redactor, onLoss: (reason: string) => void): Promise<ToolReply> {
  const failed = (code: ToolErrorCode, message: string, more: { data?: unknown; cause?: unknown } = {}): ToolFailure =>
    new ToolFailure({ code, server: call.server, tool: call.tool, message, ...more });
  const who = `${JSON.stringify(call.tool)} of the server ${JSON.stringify(call.server)}`;
  // A signal of its own, and a listener that is taken off: the caller's signal may see any number of calls.
  const stop = new StopSource().abortAfter(call.timeoutMs, () => new CallEnded("TIMEOUT"));
  const cancel = (): void => {
    stop.abort(new CallEnded("CANCELLED"));
  };
  call.signal.addEventListener("abort", cancel);
  try {
    const result = await link.request(
      "tools/call",
      { name: call.tool, arguments: call.args },
      { signal: stop.signal, onProgress: call.onProgress && progressFor(call.onProgress) },
    );
    return checked(result, call, redactor, failed, who);
  } catch (error) {
    if (error instanceof ToolFailure) throw error;
    if (error instanceof BadReplyError) throw failed(error.code, `The answer of ${who} ${error.message}; the tool has run.`);
    const ended: unknown = stop.signal.reason;
    if (ended instanceof CallEnded)
      throw ended.code === "TIMEOUT"
        ? failed("TIMEOUT", `No answer from ${who} within ${call.timeoutMs} ms; the tool may have run.`)
        : failed("CANCELLED", `The call of ${who} was cancelled; the tool may have run.`);
    const { code, data } = error as { code?: unknown; data?: unknown };
    if (data instanceof LostAnswer) {
      onLoss(data.reason);
      throw failed(data.code, LOSS_MESSAGES[data.code](who));
    }
    if (typeof code !== "number")
      throw failed("INTERNAL", `The call of ${who} failed in the service; its log says more.`, { cause: error });
    const message = printable(redactor.redact(withoutPrefix((error as Error).message, code))).slice(0, MAX_MESSAGE_CHARS);
    throw failed("SERVER_ERROR", `The server ${JSON.stringify(call.server)} answered with an error: ${message}`, {
      data: { code, message, ...(data === undefined ? {} : { data: redactor.redactValue(data) }) },
    });
  } finally {
    call.signal.removeEventListener("abort", cancel);
    stop.close();
  }
}

const LOSS_MESSAGES: Readonly<Record<LostAnswer["code"], (who: string) => string>> = {
  TOOL_UNAVAILABLE: (who) => `${who} cannot be called: the server did not take the call; the tool has not run.`,
  CONNECTION_LOST: (who) => `The connection broke before ${who} answered; the tool may have run. The call is not repeated by itself.`,
  RESULT_TOO_LARGE: (who) => `The answer of ${who} is larger than any that is read; the tool has run. Ask for less.`,
};

function checked(
  result: unknown,
  { maxResultBytes }: ToolCall,
  redactor: Redactor,
  failed: (code: ToolErrorCode, message: string, more?: { data?: unknown }) => ToolFailure,
  who: string,
): ToolReply {
  const reply = readReply(result);
  if (reply.bytes > maxResultBytes)
    throw failed(
      "RESULT_TOO_LARGE",
      `The result of ${who} has ${reply.bytes} bytes as JSON, more than the server's maxResultBytes of ${maxResultBytes}; the tool has run. Ask for less, or raise the limit.`,
      { data: { bytes: reply.bytes, maxResultBytes } },
    );
  return reply.isError ? { ...reply, value: redactor.redactValue(reply.value) } : reply;
}

/** Passes on what is progress, in a readable form. */
const progressFor =
  (onProgress: (progress: ToolProgress) => void) =>
  ({ message, progress, total }: ToolProgress): void => {
    onProgress({ progress, total, message: message === undefined ? undefined : printable(message).slice(0, MAX_MESSAGE_CHARS) });
  };

/** The SDK puts the number before the server's words. */
function withoutPrefix(message: string, code: number): string {
  const prefix = `MCP error ${code}: `;
  return message.startsWith(prefix) ? message.slice(prefix.length) : message;
}
