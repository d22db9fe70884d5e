/**
 * How lines are tied together: each ends with a keyed hash of itself and of the hash before it. Pure.
 *
 *     {"seq":7,"time":"…","type":"tool.call",…,"hmac":"<64 hexadecimal digits>"}
 *
 * The hash covers the bytes of the line as they are, so that there is one way to write it down and nothing to agree on.
 */

import { createHmac, timingSafeEqual } from "node:crypto";

/** What the first line of all is tied to. */
export const GENESIS = "0".repeat(64);

const TAIL = /^,"hmac":"([0-9a-f]{64})"\}$/;
const TAIL_CHARS = ',"hmac":""}'.length + 64;

/** A place in the chain: the last line up to there. */
export interface Link {
  readonly seq: number;
  readonly hmac: string;
}

export function hmacOf(key: Buffer, text: string): string {
  return createHmac("sha256", key).update(text).digest("hex");
}

export function sameHmac(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}

/** The line of a JSON object that has `seq` and `time` first, without its end. */
export function seal(key: Buffer, previous: string, json: string): { readonly line: string; readonly hmac: string } {
  const body = json.slice(0, -1);
  const hmac = hmacOf(key, `${previous}\n${body}`);
  return { line: `${body},"hmac":"${hmac}"}`, hmac };
}

/** A line taken apart; `undefined` for what is none. */
export interface ParsedLine extends Link {
  readonly body: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export function parseLine(line: string): ParsedLine | undefined {
  const hmac = TAIL.exec(line.slice(-TAIL_CHARS))?.[1];
  if (hmac === undefined) return undefined;
  try {
    const { hmac: _, ...fields } = JSON.parse(line) as Record<string, unknown>;
    const { seq } = fields;
    return typeof seq === "number" && Number.isSafeInteger(seq) ? { seq, hmac, body: line.slice(0, -TAIL_CHARS), fields } : undefined;
  } catch {
    return undefined;
  }
}

/** Whether the line is as it was written, after the one with the hash `previous`. */
export const isSealed = (key: Buffer, previous: string, line: ParsedLine): boolean =>
  sameHmac(hmacOf(key, `${previous}\n${line.body}`), line.hmac);
