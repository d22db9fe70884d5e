/** The arguments of a call as JSON text, in the form that the service reads. */

import type { TOOL_CAPS } from "../../../src/bridge/protocol.ts";
import { isArray } from "../intrinsics.ts";
import { ResultError, TooLargeError } from "../result-place.ts";
import { serializeValue } from "../serialize.ts";
import type { SerializeOptions } from "../serialize.ts";
import type { ToolErrorCode } from "./tool-error.ts";

/** The protocol's caps, checked by the compiler: the runner imports no values from it, since they would bring the schemas along. */
export const CAPS: typeof TOOL_CAPS = {
  nameChars: 256,
  arguments: 64,
  argumentBytes: 4_194_304,
  argumentParts: 250_000,
  timeoutMs: 2_147_483_647,
  progressMessageChars: 1024,
};
/** Of the text around positional arguments. */
const ENVELOPE_BYTES = 1024;

type DescribeError = SerializeOptions["describeError"];

/** The arguments cannot be sent. */
export class ArgumentsError extends Error {
  readonly code: ToolErrorCode;

  constructor(code: ToolErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** All arguments as they are; which of them mean what is the service's to say. */
export function positionalArguments(values: readonly unknown[], describeError: DescribeError): string {
  let { length } = values;
  while (length > 0 && values[length - 1] === undefined) length -= 1;
  if (length > CAPS.arguments)
    throw new ArgumentsError("INVALID_ARGUMENTS", `A tool takes at most ${CAPS.arguments} arguments, and got ${length}.`);
  let text = "";
  let leftBytes = CAPS.argumentBytes - ENVELOPE_BYTES;
  for (let index = 0; index < length; index += 1) {
    const value = values[index];
    const json = value === undefined ? "" : toJson(value, `arguments[${index}]`, leftBytes, describeError);
    leftBytes -= json.length;
    text += `${index === 0 ? "" : ","}[${json}]`;
  }
  return `{"positional":[${text}]}`;
}

/** What `callTool` was given: an object has the arguments by name, a list has them by position. */
export function givenArguments(given: unknown, describeError: DescribeError): string {
  if (given === undefined) return positionalArguments([], describeError);
  if (isArray(given)) return positionalArguments(given, describeError);
  const json = toJson(given, "arguments", CAPS.argumentBytes - ENVELOPE_BYTES, describeError);
  if (!json.startsWith("{"))
    throw new ArgumentsError("INVALID_ARGUMENTS", "callTool takes the arguments as an object, by name, or as a list, by position.");
  return `{"named":${json}}`;
}

function toJson(value: unknown, name: string, maxBytes: number, describeError: DescribeError): string {
  try {
    return serializeValue(value, { maxBytes, name, isExact: true, describeError });
  } catch (error) {
    if (error instanceof TooLargeError) {
      const message = `The arguments are larger than ${CAPS.argumentBytes} bytes of JSON. Send less at once.`;
      throw new ArgumentsError("PAYLOAD_TOO_LARGE", message);
    }
    if (error instanceof ResultError) throw new ArgumentsError("INVALID_ARGUMENTS", error.message);
    throw error;
  }
}
