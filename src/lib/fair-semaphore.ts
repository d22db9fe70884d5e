/**
 * A counting semaphore that shares its permits out among named parties, whose waits can be cancelled.
 *
 * A permit goes to the waiting party that holds the fewest; among those to the one whose last permit was longest ago. Within a party the
 * first to come is the first served. A party never holds more than its own limit. Where the last permit is kept, only a party that
 * holds none can take it: so whoever comes with a single request does not wait for a crowd of another's to end.
 */

import { Fifo } from "./fifo.ts";
import { Ranking } from "./ranking.ts";

export interface SemaphorePermit {
  /** Gives the permit back; a second call does nothing. */
  release(): void;
}

export interface Party {
  readonly name: string;
  /** Permits that it may hold at once; that of its latest request counts. */
  readonly limit?: number | undefined;
}

/** What a party holds, and how many of its requests wait. */
export interface PartyStatus {
  readonly name: string;
  readonly taken: number;
  readonly waiting: number;
}

interface Waiter {
  readonly grant: (permit: SemaphorePermit) => void;
}

interface Share {
  readonly name: string;
  readonly waiters: Fifo<Waiter>;
  limit: number;
  taken: number;
  /** When it got its last permit, in turns of the semaphore; 0 before the first. */
  servedAt: number;
  /** When it began to wait. */
  waitsSince: number;
}

export class FairSemaphore {
  readonly #permits: number;
  readonly #shares = new Map<string, Share>();
  /** Parties that wait and are below their limit. */
  readonly #next = new Ranking<Share>(goesBefore);
  /** Parties that hold nothing and do not wait. They are remembered as long as anybody waits, so that turns are kept. */
  readonly #idle = new Set<Share>();
  #keepsLast = false;
  #taken = 0;
  #waiting = 0;
  #turn = 0;

  constructor(permits: number) {
    this.#permits = permits;
  }

  get taken(): number {
    return this.#taken;
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** Whether the last of several permits is only for a party that holds none. */
  set keepsLast(keepsLast: boolean) {
    this.#keepsLast = keepsLast && this.#permits > 1;
    this.#serve();
  }

  statusOf(name: string): PartyStatus {
    const share = this.#shares.get(name);
    return { name, taken: share?.taken ?? 0, waiting: share?.waiters.size ?? 0 };
  }

  /** The parties that hold permits or wait for one. */
  parties(): PartyStatus[] {
    return [...this.#shares.keys()].map((name) => this.statusOf(name)).filter(({ taken, waiting }) => taken + waiting > 0);
  }

  /** A permit now, or `undefined` when the party would have to wait for it. */
  tryAcquire(party: Party): SemaphorePermit | undefined {
    const share = this.#shareOf(party);
    // Others who wait must not be asked: whoever could have been served was served at once.
    const permit = share.waiters.size === 0 && this.#canTake(share) ? this.#grant(share) : undefined;
    this.#settle(share);
    return permit;
  }

  /** Waits for a permit. Rejects with the signal's reason when it is aborted first. */
  acquire(party: Party, signal: AbortSignal): Promise<SemaphorePermit> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const permit = this.tryAcquire(party);
      if (permit !== undefined) {
        resolve(permit);
        return;
      }
      const share = this.#shareOf(party);
      const onAbort = (): void => {
        share.waiters.remove(entry);
        this.#waiting -= 1;
        this.#settle(share);
        reject(signal.reason as Error);
      };
      if (share.waiters.size === 0) share.waitsSince = ++this.#turn;
      const entry = share.waiters.push({
        grant: (granted) => {
          signal.removeEventListener("abort", onAbort);
          resolve(granted);
        },
      });
      this.#waiting += 1;
      signal.addEventListener("abort", onAbort, { once: true });
      this.#settle(share);
    });
  }

  #canTake(share: Share): boolean {
    const kept = this.#keepsLast && share.taken > 0 ? 1 : 0;
    return share.taken < share.limit && this.#permits - this.#taken > kept;
  }

  #grant(share: Share): SemaphorePermit {
    this.#taken += 1;
    share.taken += 1;
    share.servedAt = ++this.#turn;
    let held = true;
    return {
      release: () => {
        if (!held) return;
        held = false;
        this.#taken -= 1;
        share.taken -= 1;
        this.#settle(share);
        this.#serve();
      },
    };
  }

  /** Gives out what can be given. Where the first in rank can take nothing, nobody can. */
  #serve(): void {
    for (let share = this.#next.first; share !== undefined && this.#canTake(share); share = this.#next.first) {
      const waiter = share.waiters.shift();
      if (waiter === undefined) return;
      this.#waiting -= 1;
      waiter.grant(this.#grant(share));
      this.#settle(share);
    }
  }

  #shareOf({ limit = Infinity, name }: Party): Share {
    const known = this.#shares.get(name);
    if (known === undefined) {
      const share = { name, waiters: new Fifo<Waiter>(), limit, taken: 0, servedAt: 0, waitsSince: 0 };
      this.#shares.set(name, share);
      return share;
    }
    if (known.limit !== limit) {
      known.limit = limit;
      this.#settle(known);
      this.#serve();
    }
    return known;
  }

  /** After every change of a party: its place in the ranking, and whether it must be remembered. */
  #settle(share: Share): void {
    if (share.waiters.size > 0 && share.taken < share.limit) this.#next.place(share);
    else this.#next.remove(share);
    if (share.waiters.size > 0 || share.taken > 0) this.#idle.delete(share);
    else this.#idle.add(share);
    if (this.#waiting > 0) return;
    for (const { name } of this.#idle) this.#shares.delete(name);
    this.#idle.clear();
  }
}

function goesBefore(a: Share, b: Share): boolean {
  if (a.taken !== b.taken) return a.taken < b.taken;
  return a.servedAt === b.servedAt ? a.waitsSince < b.waitsSince : a.servedAt < b.servedAt;
}
