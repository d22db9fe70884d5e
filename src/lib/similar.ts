/** Which word somebody meant who wrote another: for messages that name the right one. */

/** Whatever is longer is no slip of a finger. */
const MAX_CHARS = 64;
/** What {@link alike} compares at most, in pairs of characters: a list that others make must not keep the service busy. */
const MAX_PAIRS = 500_000;

/**
 * The known word that is written nearly like this one: in other case, with other separators, or with a slip or two. `undefined` when
 * none is.
 */
export function closest(word: string, known: Iterable<string>): string | undefined {
  if (word.length > MAX_CHARS) return undefined;
  const plain = plainForm(word);
  let best: { readonly word: string; readonly distance: number } | undefined;
  for (const candidate of known) {
    const allowed = candidate.length > 5 ? 2 : 1;
    const distance = candidate.length > MAX_CHARS ? Number.POSITIVE_INFINITY : editDistance(plain, plainForm(candidate));
    if (distance <= allowed && distance < (best?.distance ?? Number.POSITIVE_INFINITY)) best = { word: candidate, distance };
  }
  return best?.word;
}

/**
 * The known words that are most like this one, the likest first: as for {@link closest}, or with one of them a part of the other. Looks at
 * as many as there is time for.
 */
export function alike(word: string, known: Iterable<string>, count: number): string[] {
  const plain = plainForm(word.slice(0, MAX_CHARS));
  const found: { readonly word: string; readonly distance: number }[] = [];
  let pairs = 0;
  for (const candidate of known) {
    const other = plainForm(candidate.slice(0, MAX_CHARS));
    pairs += (plain.length + 1) * (other.length + 1);
    if (pairs > MAX_PAIRS) break;
    const allowed = Math.max(1, Math.floor(plain.length / 3));
    const distance = Math.abs(plain.length - other.length) > allowed ? Infinity : editDistance(plain, other);
    if (distance <= allowed) found.push({ word: candidate, distance });
    else if (isPart(plain, other)) found.push({ word: candidate, distance: allowed + 1 });
  }
  return found
    .sort((a, b) => a.distance - b.distance)
    .slice(0, count)
    .map(({ word: candidate }) => candidate);
}

/** A part of two characters says nothing. */
const isPart = (a: string, b: string): boolean => Math.min(a.length, b.length) > 2 && (a.includes(b) || b.includes(a));

const plainForm = (word: string): string => word.toLowerCase().replace(/[\s_.-]/g, "");

/** How many characters must be put in, taken out, changed, or swapped with their neighbour to make one word the other. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const isSame = a[row - 1] === b[column - 1];
      const isSwap = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      current[column] = Math.min(
        at(last, column) + 1,
        at(current, column - 1) + 1,
        at(last, column - 1) + (isSame ? 0 : 1),
        isSwap ? at(before, column - 2) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    [before, last] = [last, current];
  }
  return at(last, b.length);
}

const at = (row: readonly number[], index: number): number => row[index] ?? Number.POSITIVE_INFINITY;
