/** A counting semaphore, first come first served, whose waits can be cancelled. */

export interface SemaphorePermit {
  /** Gives the permit back; a second call does nothing. */
  release(): void;
}

interface Waiter {
  readonly grant: (permit: SemaphorePermit) => void;
}

export class Semaphore {
  readonly #permits: number;
  readonly #waiters = new Set<Waiter>();
  #taken = 0;

  constructor(permits: number) {
    this.#permits = permits;
  }

  get taken(): number {
    return this.#taken;
  }

  get waiting(): number {
    return this.#waiters.size;
  }

  /** A permit now, or `undefined` when none is free or others wait for one. */
  tryAcquire(): SemaphorePermit | undefined {
    return this.#taken < this.#permits && this.#waiters.size === 0 ? this.#grant() : undefined;
  }

  /** Waits for a permit. Rejects with the signal's reason when it is aborted first. */
  acquire(signal: AbortSignal): Promise<SemaphorePermit> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const permit = this.tryAcquire();
      if (permit !== undefined) {
        resolve(permit);
        return;
      }
      const onAbort = (): void => {
        this.#waiters.delete(waiter);
        reject(signal.reason as Error);
      };
      const waiter: Waiter = {
        grant: (granted) => {
          signal.removeEventListener("abort", onAbort);
          resolve(granted);
        },
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiters.add(waiter);
    });
  }

  #grant(): SemaphorePermit {
    this.#taken += 1;
    let held = true;
    return {
      release: () => {
        if (!held) return;
        held = false;
        this.#taken -= 1;
        const [next] = this.#waiters;
        if (next === undefined) return;
        this.#waiters.delete(next);
        next.grant(this.#grant());
      },
    };
  }
}
