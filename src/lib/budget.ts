/**
 * Budgets for what an untrusted peer sends: a rate with a burst, and a total.
 *
 * Over the rate the peer is paused until the bucket has refilled, over the total it is ended. Valid traffic is counted like any other.
 */

export interface BudgetLimits {
  /** Units that may come at once. */
  readonly burst: number;
  readonly perSecond: number;
  /** Units in the life of the connection. */
  readonly total: number;
}

export type BudgetVerdict = { readonly kind: "ok" } | { readonly kind: "pause"; readonly forMs: number } | { readonly kind: "spent" };

const OK: BudgetVerdict = { kind: "ok" };
const SPENT: BudgetVerdict = { kind: "spent" };

/** A token bucket with a total. The clock is injected: milliseconds that never go back. */
export class Budget {
  readonly #limits: BudgetLimits;
  readonly #now: () => number;
  #tokens: number;
  #refilledAt: number;
  #used = 0;

  constructor(limits: BudgetLimits, now: () => number = () => performance.now()) {
    this.#limits = limits;
    this.#now = now;
    this.#tokens = limits.burst;
    this.#refilledAt = now();
  }

  /** Units taken so far. */
  get used(): number {
    return this.#used;
  }

  /** Takes units that have come already. `pause` says how long to read nothing more. */
  take(units: number): BudgetVerdict {
    this.#used += units;
    if (this.#used > this.#limits.total) return SPENT;
    const now = this.#now();
    this.#tokens = Math.min(this.#limits.burst, this.#tokens + ((now - this.#refilledAt) / 1000) * this.#limits.perSecond);
    this.#refilledAt = now;
    this.#tokens -= units;
    return this.#tokens >= 0 ? OK : { kind: "pause", forMs: Math.ceil((-this.#tokens / this.#limits.perSecond) * 1000) };
  }
}
