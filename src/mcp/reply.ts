/** What a tool answered, as programs get it. */

import { isJsonObject } from "../lib/json-object.ts";
import { exceededCap } from "../lib/json-shape.ts";

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

/** As of a message: what is nested deeper stays a text. */
const TEXT_CAPS = { depth: 100, parts: 1_000_000 };

/** `undefined` when this is no result of a tool call. */
export function readReply(result: unknown): ToolReply | undefined {
  if (!isJsonObject(result)) return undefined;
  const { content, isError, structuredContent } = result;
  if (structuredContent === undefined && !Array.isArray(content)) return undefined;
  const value = structuredContent ?? valueOf(content as unknown[]);
  return { isError: isError === true, value, bytes: Buffer.byteLength(JSON.stringify(value)) };
}

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
    if (exceededCap(Buffer.from(text), TEXT_CAPS) !== undefined) return text;
    const value: unknown = JSON.parse(text);
    return typeof value === "number" && String(value) !== text.trim() ? text : value;
  } catch {
    return text;
  }
}
