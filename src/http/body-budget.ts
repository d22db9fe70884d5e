/**
 * How many bytes of request bodies the service takes at once, all callers together.
 *
 * A body is in memory from its first byte until its request is answered, so that many large ones at once would be more than the
 * process has. What a request says it brings is set aside before anything is read; one that does not say counts as the largest.
 */

import type { RequestHandler } from "express";

import { AppError } from "../domain/errors.ts";

/** Bodies of the largest size that fit. */
const LARGEST_BODIES = 8;
/** Bodies up to this size are not counted, so that a few large ones that never end shut nobody with a small one out. */
const SMALL_BODY_BYTES = 64 * 2 ** 10;

export function limitBodies(maxBodyBytes: number): RequestHandler {
  const budgetBytes = LARGEST_BODIES * maxBodyBytes;
  let usedBytes = 0;
  return (request, response, next) => {
    const declared = Number(request.headers["content-length"] ?? Number.NaN);
    // Larger ones are refused by the parser; they are not read.
    const bytes = Number.isSafeInteger(declared) ? Math.min(declared, maxBodyBytes) : maxBodyBytes;
    if (bytes <= SMALL_BODY_BYTES) {
      next();
      return;
    }
    if (usedBytes + bytes > budgetBytes) {
      throw new AppError({
        code: "QUEUE_FULL",
        message: "The service holds as many request bodies as it can. Try again later, or send smaller ones with Content-Length.",
        retryAfterSeconds: 1,
      });
    }
    usedBytes += bytes;
    response.once("close", () => {
      usedBytes -= bytes;
    });
    next();
  };
}
