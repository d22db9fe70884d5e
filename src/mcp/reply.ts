/** What a tool answered, as programs get it. */

import { isJsonObject } from "../lib/json-object.ts";
import { exceededCap } from "../lib/json-shape.ts";
import type { JsonCaps } from "../lib/json-shape.ts";

export interface ToolReply {
  /** The tool itself reports a failure; `value` is what it said. */
  readonly isError: boolean;
  /**
   * `structuredContent`; else, where all blocks are texts, the text, parsed when it is JSON (so "42" is 42, but digits that a number
   * would lose are kept as text); else the blocks as they are. Several texts are one, joined by ends of lines. JSON values only; any key can occur in them, `__proto__` too.
   */
  readonly value: unknown;
  /** Of the value as JSON. */
  readonly bytes: number;
}

/** What programs get. A text that is JSON of another shape stays a text. */
const CAPS: JsonCaps = { depth: 100, parts: 1_000_000 };

/** What came cannot be given to a program; the message says why, after "the answer". */
export class BadReplyError extends Error {
  override readonly name = "BadReplyError";
  readonly code: "SERVER_ERROR" | "RESULT_TOO_LARGE";

  constructor(code: BadReplyError["code"], message: string) {
    super(message);
    this.code = code;
  }
}

/** Throws a {@link BadReplyError}. */
export function readReply(result: unknown): ToolReply {
  if (!isJsonObject(result)) throw noResult();
  const { content, isError, structuredContent } = result;
  if ((structuredContent ?? undefined) === undefined && !Array.isArray(content)) throw noResult();
  const value = structuredContent ?? valueOf(content as unknown[]);
  const json = Buffer.from(JSON.stringify(value));
  if (exceededCap(json, CAPS) !== undefined)
    throw new BadReplyError("RESULT_TOO_LARGE", `is nested more than ${CAPS.depth} levels deep, or made of more than ${CAPS.parts} values`);
  return { isError: isError === true, value, bytes: json.byteLength };
}

const noResult = (): BadReplyError => new BadReplyError("SERVER_ERROR", "is no result of a tool");

function valueOf(blocks: readonly unknown[]): unknown {
  const texts = blocks.map(textOf);
  if (texts.length === 0 || !texts.every((text) => text !== undefined)) return blocks;
  const text = texts.join("\n");
  return parsed(text);
}

const textOf = (block: unknown): string | undefined =>
  isJsonObject(block) && block["type"] === "text" && typeof block["text"] === "string" ? block["text"] : undefined;

/** The value, when the text is JSON; else the text. */
function parsed(text: string): unknown {
  // Most texts are none, which their first character says.
  if (!/^\s*[[{"\-\dtfn]/.test(text)) return text;
  try {
    if (exceededCap(Buffer.from(text), CAPS) !== undefined) return text;
    const value: unknown = JSON.parse(text);
    return typeof value === "number" && String(value) !== text.trim() ? text : value;
  } catch {
    return text;
  }
}
