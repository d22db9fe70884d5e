/**
 * At most so many calls in any sixty seconds, shared out among those who make them.
 *
 * Exact: a place is reserved before a call waits for anything, and its time is that at which the call is sent. So whatever minute one
 * looks at, no more were sent in it.
 *
 * Fair: whoever is alone can use all. One who is refused has a claim from then on: nobody gets further ahead of it while there are
 * places only for some, and among equals the oldest claim comes first. So one that asks again and again keeps nobody else out, and one
 * that asks once gets its turn when it was told to come back. A claim ends when it was not repeated for so long that who has it does not
 * come back, or is gone.
 */

const WINDOW_MS = 60_000;
/** A refused one is told to come back within a minute. */
const CLAIM_MS = 1.25 * WINDOW_MS;
/** Claims beyond these are not kept: whoever makes them competes with all others. */
const MAX_CLAIMS = 256;

export interface Reservation {
  /** The call goes out now. */
  sent(): void;
  /** The call does not go out; after {@link sent} this does nothing. */
  release(): void;
}

interface Claim {
  /** The lower, the older: when it was made, or last served. */
  readonly turn: number;
  readonly until: number;
}

export type RateDecision = { readonly reservation: Reservation } | { readonly retryAfterMs: number };

export class RateWindow {
  readonly limit: number;
  readonly #now: () => number;
  /** What was sent, the oldest first, from `#first` on. */
  #stamps: { readonly at: number; readonly party: string }[] = [];
  #first = 0;
  #reserved = 0;
  #turn = 0;
  /** What each party has of the window, reservations included. */
  readonly #used = new Map<string, number>();
  readonly #claims = new Map<string, Claim>();

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
    const free = this.limit - this.#taken;
    const kept = this.#keptFrom(party);
    if (free > kept) {
      this.#reserved += 1;
      this.#count(party, 1);
      const claim = this.#claims.get(party);
      if (claim !== undefined) this.#claims.set(party, { ...claim, turn: ++this.#turn });
      return { reservation: this.#reservation(party) };
    }
    const turn = this.#claims.get(party)?.turn ?? ++this.#turn;
    if (this.#claims.has(party) || this.#claims.size < MAX_CLAIMS) this.#claims.set(party, { turn, until: now + CLAIM_MS });
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

  /** What others are to have first: as many as this one has, and one more where their claim is the older one. */
  #keptFrom(party: string): number {
    const own = this.#used.get(party) ?? 0;
    const turn = this.#claims.get(party)?.turn ?? Infinity;
    let kept = 0;
    for (const [other, claim] of this.#claims)
      if (other !== party) kept += Math.max(0, own + (claim.turn < turn ? 1 : 0) - (this.#used.get(other) ?? 0));
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
    for (const [party, { until }] of this.#claims) if (until <= now) this.#claims.delete(party);
  }
}
