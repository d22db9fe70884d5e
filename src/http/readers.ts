/**
 * How many may read or wait at once: each is a connection that stays, and work whenever a program prints.
 *
 * The caller of an execution, whose own answer is a stream, is not counted: the number of slots bounds those.
 */

import { AppError } from "../domain/errors.ts";

const MAX_READERS = { execution: 100, caller: 400, all: 1000 };
const RETRY_AFTER_SECONDS = 5;
/** Pieces that are written for all of them together, about. Where there are many readers, each gets larger ones less often. */
const WRITES_PER_MS = 4;
/** Readers that are served as quickly as can be. */
const UNPACED_READERS = 20;

export class Readers {
  readonly #counts = new Map<string, number>();

  /** How long each should wait between two pieces. */
  get paceMs(): number {
    const readers = this.#counts.get("all") ?? 0;
    return readers <= UNPACED_READERS ? 0 : Math.ceil(readers / WRITES_PER_MS);
  }

  /** Takes a place, until the function that it gives is called. Throws `QUEUE_FULL` when there is none. */
  enter(executionId: string, caller: string): () => void {
    const places = [
      { key: `execution ${executionId}`, max: MAX_READERS.execution, whose: "of this execution" },
      { key: `caller ${caller}`, max: MAX_READERS.caller, whose: "of this key" },
      { key: "all", max: MAX_READERS.all, whose: "of this service" },
    ];
    for (const { key, max, whose } of places) {
      if ((this.#counts.get(key) ?? 0) < max) continue;
      throw new AppError({
        code: "QUEUE_FULL",
        message: `${max} readers ${whose} stream events or wait for an end already, as many as there can be. Close one, or try again later.`,
        retryAfterSeconds: RETRY_AFTER_SECONDS,
      });
    }
    for (const { key } of places) this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    let inside = true;
    return () => {
      if (!inside) return;
      inside = false;
      for (const { key } of places) {
        const left = (this.#counts.get(key) ?? 0) - 1;
        if (left > 0) this.#counts.set(key, left);
        else this.#counts.delete(key);
      }
    };
  }
}
