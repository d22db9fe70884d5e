/** Whose answer a message is that is not read: too long, or of a shape that would cost too much. */

/** The two places in which servers write the id of an answer: right at the beginning, and right at the end. */
const AT_START = /^\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d{1,15})\s*[,}]/;
const AT_END = /,\s*"id"\s*:\s*(\d{1,15})\s*\}\s*$/;
const LOOKED_AT_BYTES = 256;

/**
 * The id, from the first and last bytes alone; `undefined` where it stands elsewhere.
 *
 * No text inside of the message can pass for it: what precedes the first value of an object, and what precedes the brace that ends the
 * message, is the message's own.
 */
export function answerIdOf(start: Buffer, end: Buffer): number | undefined {
  const found =
    AT_START.exec(start.toString("latin1", 0, LOOKED_AT_BYTES)) ??
    AT_END.exec(end.toString("latin1", Math.max(0, end.byteLength - LOOKED_AT_BYTES)));
  return found === null ? undefined : Number(found[1]);
}
