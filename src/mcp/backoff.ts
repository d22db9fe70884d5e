/** How long to wait before the next attempt: twice as long each time, and a random part of that, so that servers do not come in step. */

export interface Backoff {
  /** The most that is waited after the first failure. */
  readonly firstMs: number;
  readonly maxMs: number;
}

export const RECONNECT_BACKOFF: Backoff = { firstMs: 500, maxMs: 60_000 };
/** Not less: chance must not make a loop of processes that are started and die. */
const MIN_MS = 50;

/** `failures` counts from 1; `random` gives numbers from 0 to below 1. */
export function backoffMs(failures: number, { firstMs, maxMs }: Backoff, random: () => number): number {
  const ceilingMs = Math.min(maxMs, firstMs * 2 ** Math.min(failures - 1, 30));
  return Math.max(MIN_MS, Math.round(ceilingMs * random()));
}
