/**
 * How many bytes of request bodies the service takes at once, all callers together.
 *
 * A body is in memory from its first byte until its request is answered, and longer where its program runs on without its caller. Many
 * large ones at once would be more than the process has. What a request says it brings is set aside before anything is read; one that
 * does not say counts as the largest.
 */

import type { RequestHandler, Response } from "express";

import { AppError } from "../domain/errors.ts";
import type { Principal } from "./authentication.ts";

/** Bodies of the largest size that fit. */
const LARGEST_BODIES = 8;
/**
 * Bodies up to this size are not counted while their connection is there, so that a few large ones that never end shut nobody with a
 * small one out. The number of connections bounds them.
 */
const SMALL_BODY_BYTES = 64 * 2 ** 10;

class BodyBudget {
  readonly #maxBytes: number;
  readonly #isShared: () => boolean;
  /** By the caller's name. */
  readonly #used = new Map<string, number>();
  #usedBytes = 0;

  constructor(maxBytes: number, isShared: () => boolean) {
    this.#maxBytes = maxBytes;
    this.#isShared = isShared;
  }

  /** Throws `QUEUE_FULL` when there is not so much left. Of several callers none gets more than it leaves to the others. */
  take(bytes: number, caller: string): void {
    const left = this.#maxBytes - this.#usedBytes;
    const own = this.#used.get(caller) ?? 0;
    if (bytes > left || (this.#isShared() && own > 0 && own + bytes > left)) {
      throw new AppError({
        code: "QUEUE_FULL",
        message: "The service holds as many request bodies as it can. Try again later, or send smaller ones with Content-Length.",
        retryAfterSeconds: 1,
      });
    }
    this.#usedBytes += bytes;
    this.#used.set(caller, own + bytes);
  }

  giveBack(bytes: number, caller: string): void {
    this.#usedBytes -= bytes;
    const own = (this.#used.get(caller) ?? 0) - bytes;
    if (own > 0) this.#used.set(caller, own);
    else this.#used.delete(caller);
  }
}

/** What one body takes of the budget, until nobody holds it. */
class BodyLease {
  readonly #budget: BodyBudget;
  readonly #bytes: number;
  readonly #caller: string;
  #holders = 0;

  constructor(budget: BodyBudget, bytes: number, caller: string) {
    this.#budget = budget;
    this.#bytes = bytes;
    this.#caller = caller;
  }

  /** Gives a function that lets go; to be called once. Throws `QUEUE_FULL` when there is no room. */
  hold(): () => void {
    if (this.#holders === 0) this.#budget.take(this.#bytes, this.#caller);
    this.#holders += 1;
    return () => {
      this.#holders -= 1;
      if (this.#holders === 0) this.#budget.giveBack(this.#bytes, this.#caller);
    };
  }
}

/** `authenticate` must come before. */
export function limitBodies(maxBodyBytes: number, isShared: () => boolean): RequestHandler {
  const budget = new BodyBudget(LARGEST_BODIES * maxBodyBytes, isShared);
  return (request, response, next) => {
    const declared = Number(request.headers["content-length"] ?? Number.NaN);
    // Larger ones are refused by the parser; they are not read.
    const bytes = Number.isSafeInteger(declared) ? Math.min(declared, maxBodyBytes) : maxBodyBytes;
    const lease = new BodyLease(budget, bytes, (response.locals["principal"] as Principal).name);
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
