/** Identifiers. All are random, short enough for a unix socket's path, and safe in file names, container names and labels. */

import { randomBytes } from "node:crypto";

const ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz";

/** `length` characters of `[0-9a-z]`, unpredictable (5.17 bits each). */
export function randomId(length: number): string {
  let id = "";
  while (id.length < length) {
    for (const byte of randomBytes(length * 2)) {
      // 252 = 7 × 36: bytes above it would favour the first letters.
      if (byte < 252 && id.length < length) id += ALPHABET.charAt(byte % 36);
    }
  }
  return id;
}

/** An execution: it is also the name of its directory and part of its container's name. */
export const newExecutionId = (): string => `exe_${randomId(20)}`;

/** A running service; names its share of the engine's containers. */
export const newInstanceId = (): string => `ins_${randomId(12)}`;

/** True for text of the shape that {@link newExecutionId} gives. */
export const isExecutionId = (text: string): boolean => /^exe_[0-9a-z]{20}$/.test(text);
