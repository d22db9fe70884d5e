/** Reading JSON from an untrusted peer. */

/**
 * The nesting of a JSON text, by one pass over it; right for every valid text.
 *
 * `JSON.parse` takes any depth, but whatever walks or prints the value afterwards would run out of stack.
 */
export function jsonDepth(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let index = 0; index < text.length; index += 1) {
    const character = text.charCodeAt(index);
    if (inString) {
      if (character === 0x5c) index += 1;
      else if (character === 0x22) inString = false;
    } else if (character === 0x22) inString = true;
    else if (character === 0x5b || character === 0x7b) {
      depth += 1;
      if (depth > deepest) deepest = depth;
    } else if (character === 0x5d || character === 0x7d) depth -= 1;
  }
  return deepest;
}

/** Parses JSON that is nested no deeper than `maxDepth`. Throws a `SyntaxError`. */
export function parseUntrustedJson(bytes: Buffer, maxDepth: number): unknown {
  const text = bytes.toString("utf8");
  const depth = jsonDepth(text);
  if (depth > maxDepth) throw new SyntaxError(`the JSON is nested ${depth} levels deep, over the cap of ${maxDepth}`);
  return JSON.parse(text) as unknown;
}
