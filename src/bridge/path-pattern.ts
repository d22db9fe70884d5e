/**
 * Path patterns for output files: `*` matches within a segment, `**` as a whole segment matches any number of segments, also none.
 *
 * Everything else is literal. No regular expression is built: the greedy walk below takes at most pattern × path steps, whatever
 * the caller wrote. The runner chooses files with it, and the service checks what it is sent.
 */

/** Counts steps down, for a matcher that must not take long. Below zero nothing matches any more. */
export interface StepBudget {
  left: number;
}

/** A pattern that was taken apart, so that this is done once and not for each path. */
export type PathPattern = readonly string[];

export const compilePattern = (pattern: string): PathPattern => segmentsOf(pattern);

/** True when a relative path with `/` between segments matches one of the patterns. */
export function matchesPattern(patterns: readonly PathPattern[], path: string, steps: StepBudget = { left: Infinity }): boolean {
  const segments = segmentsOf(path);
  const matching: Matching = {
    isWildcard: (segment) => segment === "**",
    matches: (segment, name) => matchesSegment(segment, name, steps),
    steps,
  };
  return patterns.some((pattern) => matchGreedily(pattern, segments, matching));
}

const segmentsOf = (path: string): string[] => path.split("/").filter((segment) => segment !== "" && segment !== ".");

function matchesSegment(pattern: string, name: string, steps: StepBudget): boolean {
  if (!pattern.includes("*")) return pattern === name;
  return matchGreedily(pattern, name, { isWildcard: (character) => character === "*", matches: (a, b) => a === b, steps });
}

interface Matching {
  readonly isWildcard: (part: string) => boolean;
  readonly matches: (part: string, item: string) => boolean;
  readonly steps: StepBudget;
}

/**
 * Matches a sequence in which a wildcard stands for any run of items. It is enough to go back to the last wildcard: an earlier one
 * that took more would only leave less for what is already matched.
 */
function matchGreedily(pattern: ArrayLike<string>, items: ArrayLike<string>, { isWildcard, matches, steps }: Matching): boolean {
  let at = 0;
  let item = 0;
  let wildcardAt = -1;
  let wildcardEnd = 0;
  while (item < items.length) {
    steps.left -= 1;
    if (steps.left < 0) return false;
    const part = pattern[at];
    if (part !== undefined && isWildcard(part)) {
      wildcardAt = at;
      wildcardEnd = item;
      at += 1;
    } else if (part !== undefined && matches(part, items[item] ?? "")) {
      at += 1;
      item += 1;
    } else if (wildcardAt >= 0) {
      wildcardEnd += 1;
      at = wildcardAt + 1;
      item = wildcardEnd;
    } else return false;
  }
  for (let part = pattern[at]; part !== undefined; part = pattern[at]) {
    if (!isWildcard(part)) return false;
    at += 1;
  }
  return true;
}
