/** The shape of a JSON text that is not parsed yet: `JSON.parse` takes any, at a price in time that its peer does not pay. */

export interface JsonCaps {
  /** Levels of nesting. Whatever walks or prints a value that is nested deeper runs out of stack. */
  readonly depth: number;
  /** Objects, lists, their items and fields; roughly, by the characters that begin and part them. */
  readonly parts: number;
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const LIST = 0x5b;
const LIST_END = 0x5d;
const OBJECT = 0x7b;
const OBJECT_END = 0x7d;

export interface JsonShape {
  /** As far as was counted. */
  readonly parts: number;
  /** The cap that the text is over; nothing was counted from there on. */
  readonly exceeded: keyof JsonCaps | undefined;
}

/** Which cap a JSON text in UTF-8 is over. */
export function exceededCap(bytes: Uint8Array, caps: JsonCaps): keyof JsonCaps | undefined {
  return measureJson(bytes, caps).exceeded;
}

/**
 * Counts a JSON text in UTF-8 in one pass that ends where it is over a cap; right for every valid text.
 *
 * It may look at bytes, since no part of a longer character is one of those that count.
 */
export function measureJson(bytes: Uint8Array, caps: JsonCaps): JsonShape {
  let depth = 0;
  let parts = 0;
  let inString = false;
  for (let index = 0; index < bytes.length; index += 1) {
    const byte = bytes[index];
    if (inString) {
      if (byte === BACKSLASH) index += 1;
      else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) inString = true;
    else if (byte === LIST || byte === OBJECT) {
      depth += 1;
      parts += 1;
      if (depth > caps.depth) return { parts, exceeded: "depth" };
      if (parts > caps.parts) return { parts, exceeded: "parts" };
    } else if (byte === LIST_END || byte === OBJECT_END) depth -= 1;
    else if (byte === COMMA || byte === COLON) {
      parts += 1;
      if (parts > caps.parts) return { parts, exceeded: "parts" };
    }
  }
  return { parts, exceeded: undefined };
}
