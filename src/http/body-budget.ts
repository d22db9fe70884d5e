/**
 * How many bytes of request bodies the service takes at once, all callers together.
 *
 * A body is in memory from its first byte until its request is answered, and longer where its program runs on without its caller. Many
 * large ones at once would be more than the process has. What a request says it brings is set aside before anything is read; one that
 * does not say counts as the largest.
 */

import type { RequestHandler, Response } from "express";

import { AppError } from "../domain/errors.ts";

/** Bodies of the largest size that fit. */
const LARGEST_BODIES = 8;
/**
 * Bodies up to this size are not counted while their connection is there, so that a few large ones that never end shut nobody with a
 * small one out. The number of connections bounds them.
 */
const SMALL_BODY_BYTES = 64 * 2 ** 10;

class BodyBudget {
  readonly #maxBytes: number;
  #usedBytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Throws `QUEUE_FULL` when there is not so much left. */
  take(bytes: number): void {
    if (this.#usedBytes + bytes > this.#maxBytes) {
      throw new AppError({
        code: "QUEUE_FULL",
        message: "The service holds as many request bodies as it can. Try again later, or send smaller ones with Content-Length.",
        retryAfterSeconds: 1,
      });
    }
    this.#usedBytes += bytes;
  }

  giveBack(bytes: number): void {
    this.#usedBytes -= bytes;
  }
}

/** What one body takes of the budget, until nobody holds it. */
class BodyLease {
  readonly #budget: BodyBudget;
  readonly #bytes: number;
  #takenBytes = 0;
  #holders = 0;

  constructor(budget: BodyBudget, bytes: number) {
    this.#budget = budget;
    this.#bytes = bytes;
  }

  /** Gives a function that lets go; to be called once. Throws `QUEUE_FULL` when there is no room. */
  hold(): () => void {
    if (this.#takenBytes === 0) this.#budget.take(this.#bytes);
    this.#takenBytes = this.#bytes;
    this.#holders += 1;
    return () => {
      this.#holders -= 1;
      if (this.#holders > 0) return;
      this.#budget.giveBack(this.#takenBytes);
      this.#takenBytes = 0;
    };
  }
}

export function limitBodies(maxBodyBytes: number): RequestHandler {
  const budget = new BodyBudget(LARGEST_BODIES * maxBodyBytes);
  return (request, response, next) => {
    const declared = Number(request.headers["content-length"] ?? Number.NaN);
    // Larger ones are refused by the parser; they are not read.
    const bytes = Number.isSafeInteger(declared) ? Math.min(declared, maxBodyBytes) : maxBodyBytes;
    const lease = new BodyLease(budget, bytes);
    if (bytes > SMALL_BODY_BYTES) response.once("close", lease.hold());
    response.locals["body"] = lease;
    next();
  };
}

/**
 * Counts the body of this request, a small one too, until the function is called that this gives. For who holds it longer than the
 * connection is there. Throws `QUEUE_FULL` when there is no room.
 */
export const holdBody = (response: Response): (() => void) => (response.locals["body"] as BodyLease).hold();
