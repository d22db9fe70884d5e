/** Time, so that tests can have their own. */

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Runs the action once, later; what comes back calls it off. */
  after(delayMs: number, action: () => void): () => void;
}

export const systemClock: Clock = {
  now: Date.now,
  after(delayMs, action) {
    const timer = setTimeout(action, delayMs);
    return () => {
      clearTimeout(timer);
    };
  },
};
