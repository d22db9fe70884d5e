/**
 * Writes an answer no faster than its reader takes it.
 *
 * Nothing is kept for a reader but the last piece: the next one is made when this one is taken. A reader that takes nothing of it for a
 * while is cut off. One that has taken everything may wait for the next piece for as long as it takes.
 */

import { once } from "node:events";
import { setImmediate } from "node:timers/promises";

import type { Response } from "express";

import { abandon } from "./closed-connections.ts";

/** A reader that takes nothing for this long is gone. */
const STALL_MS = 10_000;

export class PacedWriter {
  readonly #response: Response;
  readonly #stallMs: number;
  readonly #gone = new AbortController();

  constructor(response: Response, stallMs = STALL_MS) {
    this.#response = response;
    this.#stallMs = stallMs;
    if (response.destroyed) this.#gone.abort();
    response.once("close", () => {
      this.#gone.abort();
    });
  }

  /** Aborted when the answer is over, in whichever way. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Resolves when the reader can take more. False when it is gone. */
  async write(piece: string): Promise<boolean> {
    const response = this.#response;
    if (response.destroyed) return false;
    if (!response.write(piece)) await this.#inTime(once(response, "drain", { signal: this.#gone.signal }));
    // A reader that takes all at once is no reason to let the others wait.
    await setImmediate();
    return !response.destroyed;
  }

  /** Resolves when the reader has everything, or is gone. */
  async end(): Promise<void> {
    const response = this.#response;
    if (response.destroyed) return;
    response.end();
    await this.#inTime(once(response, "finish", { signal: this.#gone.signal }));
  }

  /** Waits for the reader to take what was written, and cuts it off when it does not. */
  async #inTime(taken: Promise<unknown>): Promise<void> {
    const stalled = setTimeout(() => {
      abandon(this.#response);
    }, this.#stallMs);
    // Rejected means that the connection is closed, which the caller sees as well.
    await taken.catch(() => undefined);
    clearTimeout(stalled);
  }
}
