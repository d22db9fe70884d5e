/**
 * Who may run now: a number of executions at once, a bounded queue behind it, and `QUEUE_FULL` beyond.
 *
 * Starting is limited apart from running, so that a burst does not thrash the engine.
 */

import { AppError } from "../domain/errors.ts";
import { Semaphore } from "../lib/semaphore.ts";
import type { SemaphorePermit } from "../lib/semaphore.ts";

export interface AdmissionLimits {
  readonly maxRunning: number;
  readonly maxStarting: number;
  readonly maxQueued: number;
}

const MAX_RETRY_AFTER_SECONDS = 60;

export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #running: Semaphore;
  readonly #starting: Semaphore;
  /** Moving average of how long a slot is held; the base of Retry-After. */
  #averageHoldMs = 1000;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
    this.#running = new Semaphore(limits.maxRunning);
    this.#starting = new Semaphore(limits.maxStarting);
  }

  get running(): number {
    return this.#running.taken;
  }

  get queued(): number {
    return this.#running.waiting;
  }

  /**
   * A slot to run in, to be released when the sandbox is gone. Waits in the queue; rejects with the signal's reason when it is aborted
   * meanwhile. When the queue is full it throws `QUEUE_FULL`, before there is a promise: who has one is in.
   */
  acquire(signal: AbortSignal): Promise<SemaphorePermit> {
    if (signal.aborted) return Promise.reject(signal.reason as Error);
    return this.#measure(this.#running.tryAcquire() ?? this.#enqueue(signal));
  }

  async #measure(waiting: SemaphorePermit | Promise<SemaphorePermit>): Promise<SemaphorePermit> {
    const permit = await waiting;
    const acquiredAt = performance.now();
    return {
      release: () => {
        this.#averageHoldMs = this.#averageHoldMs * 0.9 + (performance.now() - acquiredAt) * 0.1;
        permit.release();
      },
    };
  }

  /** A slot to start a container in. */
  acquireStart(signal: AbortSignal): Promise<SemaphorePermit> {
    return this.#starting.acquire(signal);
  }

  #enqueue(signal: AbortSignal): Promise<SemaphorePermit> {
    const { maxQueued, maxRunning } = this.#limits;
    if (this.queued >= maxQueued) {
      const seconds = Math.ceil(((this.queued + 1) / maxRunning) * (this.#averageHoldMs / 1000));
      throw new AppError({
        code: "QUEUE_FULL",
        message: `All ${maxRunning} slots are taken and ${this.queued} executions wait. Try again later.`,
        retryAfterSeconds: Math.min(MAX_RETRY_AFTER_SECONDS, Math.max(1, seconds)),
      });
    }
    return this.#running.acquire(signal);
  }
}
