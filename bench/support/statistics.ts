/** Times, and what is said of many of them. */

/** Milliseconds that the action takes, and what it gives. */
export async function time<T>(action: () => Promise<T>): Promise<readonly [tookMs: number, value: T]> {
  const began = performance.now();
  const value = await action();
  return [performance.now() - began, value];
}

/** The value below which this share of the values lies; NaN for none. */
export const quantile = (values: readonly number[], share: number): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN;

export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** `p5 … ms   p50 … ms   p95 … ms`. */
export const spread = (values: readonly number[]): string =>
  [5, 50, 95]
    .map(
      (percent) =>
        `p${percent} ${quantile(values, percent / 100)
          .toFixed(0)
          .padStart(5)} ms`,
    )
    .join("   ");
