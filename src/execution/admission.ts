/**
 * Who may run now: a number of executions at once, a bounded queue behind it, and `QUEUE_FULL` beyond.
 *
 * Both are shared out among the callers, so that one's flood delays another's single request by no more than its share. A free slot goes
 * to the waiting caller that runs least, and the last one only to a caller that runs nothing. A caller may wait with as many as there
 * are places left for others. Where there is one caller only, all is its own.
 *
 * Starting is limited apart from running, so that a burst does not thrash the engine.
 */

import type { Caller } from "../domain/caller.ts";
import { AppError } from "../domain/errors.ts";
import { FairSemaphore } from "../lib/fair-semaphore.ts";
import type { SemaphorePermit } from "../lib/fair-semaphore.ts";

export interface AdmissionLimits {
  readonly maxRunning: number;
  readonly maxStarting: number;
  readonly maxQueued: number;
}

/** What a caller has at present. */
export interface CallerStatus {
  readonly name: string;
  readonly running: number;
  readonly queued: number;
}

const MAX_RETRY_AFTER_SECONDS = 60;

export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #running: FairSemaphore;
  readonly #starting: FairSemaphore;
  #isShared = false;
  /** Moving average of how long a slot is held; the base of Retry-After. */
  #averageHoldMs = 1000;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
    this.#running = new FairSemaphore(limits.maxRunning);
    this.#starting = new FairSemaphore(limits.maxStarting);
  }

  get running(): number {
    return this.#running.taken;
  }

  get queued(): number {
    return this.#running.waiting;
  }

  /** Whether there may be more than one caller; false at first. */
  get isShared(): boolean {
    return this.#isShared;
  }

  set isShared(isShared: boolean) {
    this.#isShared = isShared;
    this.#running.keepsLast = isShared;
    this.#starting.keepsLast = isShared;
  }

  /** The callers that run or wait. */
  callers(): CallerStatus[] {
    return this.#running.parties().map(({ name, taken, waiting }) => ({ name, running: taken, queued: waiting }));
  }

  /**
   * A slot to run in, to be released when the sandbox is gone. Waits in the queue; rejects with the signal's reason when it is aborted
   * meanwhile. When the caller cannot wait it throws `QUEUE_FULL`, before there is a promise: who has one is in.
   */
  acquire(caller: Caller, signal: AbortSignal): Promise<SemaphorePermit> {
    if (signal.aborted) return Promise.reject(signal.reason as Error);
    const party = { name: caller.name, limit: caller.maxRunning };
    const permit = this.#running.tryAcquire(party);
    if (permit === undefined) this.#refuseCrowd(caller);
    return this.#measure(permit ?? this.#running.acquire(party, signal));
  }

  /** A slot to start a container in. */
  acquireStart({ name }: Caller, signal: AbortSignal): Promise<SemaphorePermit> {
    return this.#starting.acquire({ name }, signal);
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

  #refuseCrowd({ name }: Caller): void {
    const { maxQueued, maxRunning } = this.#limits;
    const places = maxQueued - this.queued;
    const { taken, waiting } = this.#running.statusOf(name);
    if (places <= 0) {
      throw this.#queueFull(`${this.running} executions run and ${this.queued} wait, which is all that can.`, this.queued, maxRunning);
    }
    // The dynamic threshold of a switch's buffer: n callers who fill the queue get the n + 1st part each, and leave one for the next.
    if (this.#isShared && waiting >= places) {
      throw this.#queueFull(`${waiting} executions of the key "${name}" wait, which is its share of the queue.`, waiting, taken);
    }
  }

  #queueFull(reason: string, ahead: number, slots: number): AppError {
    const seconds = Math.ceil(((ahead + 1) / Math.max(1, slots)) * (this.#averageHoldMs / 1000));
    return new AppError({
      code: "QUEUE_FULL",
      message: `${reason} Try again later.`,
      retryAfterSeconds: Math.min(MAX_RETRY_AFTER_SECONDS, Math.max(1, seconds)),
    });
  }
}
