/**
 * At most so many calls in any sixty seconds, shared out among those who make them.
 *
 * Exact: a place is reserved before a call waits for anything, and its time is that at which the call is sent. So whatever minute one
 * looks at, no more were sent in it.
 *
 * Fair: whoever is alone can use all. One who is refused has a claim from then on, to its part of the window: what the window holds,
 * divided among all who have claims. Places that become free are kept for claims that are not met, before anybody gets more than its
 * part. So one that asks again and again keeps nobody else out, and one that asks once a minute gets its turn. A claim ends when its
 * part is reached, when it was not repeated for two minutes, or with the one who has it.
 */

const WINDOW_MS = 60_000;
/** How long a refused one can stay away: long enough to come back when it was told to. */
const CLAIM_MS = 2 * WINDOW_MS;
/** Claims beyond these are not kept: whoever makes them competes with all others. */
const MAX_CLAIMS = 1024;

export interface Reservation {
  /** The call goes out now. */
  sent(): void;
  /** The call does not go out; after {@link sent} this does nothing. */
  release(): void;
}

export type RateDecision = { readonly reservation: Reservation } | { readonly retryAfterMs: number };

export class RateWindow {
  readonly limit: number;
  readonly #now: () => number;
  /** What was sent, the oldest first, from `#first` on. */
  #stamps: { readonly at: number; readonly party: string }[] = [];
  #first = 0;
  #reserved = 0;
  /** What each party has of the window, reservations included. */
  readonly #used = new Map<string, number>();
  /** Until when a claim holds. */
  readonly #claims = new Map<string, number>();

  constructor(limit: number, now: () => number) {
    this.limit = limit;
    this.#now = now;
  }

  /** How many of the window are taken. */
  get used(): number {
    this.#forgetOld(this.#now());
    return this.#taken;
  }

  reserve(party: string): RateDecision {
    const now = this.#now();
    this.#forgetOld(now);
    const own = this.#used.get(party) ?? 0;
    const part = this.#partOf(party);
    const free = this.limit - this.#taken;
    const kept = own < part ? 0 : this.#keptFromOthersThan(party, part);
    if (free > kept) {
      this.#reserved += 1;
      this.#count(party, 1);
      if (own + 1 >= part) this.#claims.delete(party);
      return { reservation: this.#reservation(party) };
    }
    if (this.#claims.delete(party) || this.#claims.size < MAX_CLAIMS) this.#claims.set(party, now + CLAIM_MS);
    // So many of the oldest must be a minute old first; those that are not sent yet have no age.
    const last = this.#stamps[this.#first + kept - free];
    return { retryAfterMs: last === undefined ? WINDOW_MS : Math.max(1, Math.ceil(last.at + WINDOW_MS - now)) };
  }

  /** The party does not come again. What it sent still counts. */
  forget(party: string): void {
    this.#claims.delete(party);
  }

  get #taken(): number {
    return this.#stamps.length - this.#first + this.#reserved;
  }

  #partOf(party: string): number {
    const parties = this.#claims.size + (this.#claims.has(party) ? 0 : 1);
    return Math.max(1, Math.floor(this.limit / parties));
  }

  #keptFromOthersThan(party: string, part: number): number {
    let kept = 0;
    for (const other of this.#claims.keys()) if (other !== party) kept += Math.max(0, part - (this.#used.get(other) ?? 0));
    return kept;
  }

  #reservation(party: string): Reservation {
    let held = true;
    const settle = (sent: boolean): void => {
      if (!held) return;
      held = false;
      this.#reserved -= 1;
      if (sent) this.#stamps.push({ at: this.#now(), party });
      else this.#count(party, -1);
    };
    return {
      sent: () => {
        settle(true);
      },
      release: () => {
        settle(false);
      },
    };
  }

  #count(party: string, change: 1 | -1): void {
    const count = (this.#used.get(party) ?? 0) + change;
    if (count === 0) this.#used.delete(party);
    else this.#used.set(party, count);
  }

  #forgetOld(now: number): void {
    for (let stamp = this.#stamps[this.#first]; stamp !== undefined && stamp.at + WINDOW_MS <= now; stamp = this.#stamps[this.#first]) {
      this.#count(stamp.party, -1);
      this.#first += 1;
    }
    if (this.#first > 64 && this.#first * 2 > this.#stamps.length) {
      this.#stamps = this.#stamps.slice(this.#first);
      this.#first = 0;
    }
    for (const [party, until] of this.#claims) {
      // In the order in which they were made, since each repetition puts a claim at the end.
      if (until > now) break;
      this.#claims.delete(party);
    }
  }
}
