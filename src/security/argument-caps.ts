/** Caps on the shape of a call's arguments, whatever they say. Always in force: they bound what the service itself does with them. */

const MAX_DEPTH = 64;
/** Objects, lists, their fields and items. */
const MAX_PARTS = 200_000;
const MAX_KEYS = 10_000;

/** What is wrong with the shape. `path` leads to where it was found. */
export interface ShapeProblem {
  readonly path: readonly (string | number)[];
  readonly problem: string;
}

/** Which rules beyond the caps are to hold. */
export interface ShapeRules {
  /** No NUL in a text, and no key `__proto__`. */
  readonly harmless: boolean;
}

/**
 * Looks through a JSON value, once.
 *
 * Text passes as it is: HTML, SQL, `data:`, line ends, terminal commands. Two things are refused, since there is no honest use of them
 * and they are the ends of two kinds of attack: a NUL, at which servers written in C or over SQL end a text (`../secret\0.png`), and the
 * key `__proto__`, with which servers in JavaScript change all of their objects. `constructor` and `prototype` are words like others.
 */
export function findShapeProblem(value: unknown, rules: ShapeRules): ShapeProblem | undefined {
  let parts = 0;
  const path: (string | number)[] = [];
  const found = (problem: string): ShapeProblem => ({ path: [...path], problem });

  const look = (item: unknown): ShapeProblem | undefined => {
    if (typeof item === "string") return rules.harmless && item.includes("\0") ? found(HAS_NUL) : undefined;
    if (typeof item !== "object" || item === null) return undefined;
    if (path.length >= MAX_DEPTH) return found(`is nested deeper than ${MAX_DEPTH} levels`);
    const isList = Array.isArray(item);
    const keys = isList ? undefined : Object.keys(item);
    const size = keys?.length ?? (item as unknown[]).length;
    parts += size + 1;
    if (parts > MAX_PARTS) return found(`together with what is before has more than ${MAX_PARTS} fields and items`);
    if (!isList && size > MAX_KEYS) return found(`has more than ${MAX_KEYS} fields`);
    for (let index = 0; index < size; index += 1) {
      const key = keys?.[index] ?? index;
      path.push(key);
      const problem = (typeof key === "string" ? ofKey(key) : undefined) ?? look((item as Record<string | number, unknown>)[key]);
      if (problem !== undefined) return problem;
      path.pop();
    }
    return undefined;
  };
  const ofKey = (key: string): ShapeProblem | undefined => {
    if (!rules.harmless) return undefined;
    if (key === "__proto__") return found("is a key that is not sent, since it changes the objects of careless servers; rename it");
    return key.includes("\0") ? found(HAS_NUL) : undefined;
  };
  return look(value);
}

const HAS_NUL = "holds a NUL character, which is the end of the text for many servers; take it out";
