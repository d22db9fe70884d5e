/**
 * Checks arguments against the JSON Schema of their tool, before they are sent: so that a program learns what to change, in words, and
 * the server is not asked in vain.
 *
 * The schema is foreign: it may be nonsense, or made to keep the service busy. So the check takes a bounded number of steps, after which
 * the arguments count as good: the server checks them too. It never throws. What it does not know it lets pass; `pattern` and `format`
 * are not looked at, since a regular expression of a server could run for ever.
 */

import { clipped, quoted } from "../domain/shown-text.ts";
import { isJsonObject } from "../lib/json-object.ts";
import type { JsonObject } from "../lib/json-object.ts";
import { alike } from "../lib/similar.ts";
import { equalJson, isOfType, knownTypes, localRef, numberOf, textLengthWithin, typeOf } from "./json-schema.ts";
import type { Steps } from "./json-schema.ts";

export interface ArgumentProblem {
  readonly path: readonly (string | number)[];
  /** Put after the path: "must be …, and is …". */
  readonly problem: string;
}

const MAX_STEPS = 100_000;
/** Levels of schemas and references at once. */
const MAX_LEVELS = 256;
const MAX_PROBLEMS = 4;

/** Thrown and caught in here. */
const OUT_OF_STEPS = new Error("the check takes too long");

/**
 * What does not fit, at most a few; none when everything does, or when it takes too long to tell. `root` is the whole that references
 * are looked up in, where the schema is a part of one.
 */
export function findArgumentProblems(schema: unknown, value: unknown, root = schema): readonly ArgumentProblem[] {
  const check = new Check(root);
  try {
    return check.fit(schema, value, []).slice(0, MAX_PROBLEMS).map(withMeantWord);
  } catch (error) {
    if (error === OUT_OF_STEPS) return [];
    throw error;
  }
}

type Path = readonly (string | number)[];
/** `known`: the schema's properties, where it is one that is not among them. */
type Problems = readonly (ArgumentProblem & { readonly known?: JsonObject })[];
const NONE: Problems = [];

class Check implements Steps {
  readonly #root: unknown;
  #left = MAX_STEPS;
  #level = 0;

  constructor(root: unknown) {
    this.#root = root;
  }

  take(count: number): void {
    this.#left -= count;
    if (this.#left < 0) throw OUT_OF_STEPS;
  }

  fit(schema: unknown, value: unknown, path: Path): Problems {
    this.take(1);
    if (schema === false) return [{ path, problem: "is not allowed" }];
    if (!isJsonObject(schema)) return NONE;
    if (++this.#level > MAX_LEVELS) throw OUT_OF_STEPS;
    // A value of the wrong type would give a dozen further problems that say the same.
    let problems = this.#type(schema, value, path);
    if (problems.length === 0) problems = this.#values(schema, value, path);
    if (problems.length === 0) problems = this.#content(schema, value, path);
    if (problems.length === 0) problems = this.#combined(schema, value, path);
    this.#level -= 1;
    return problems;
  }

  #type(schema: JsonObject, value: unknown, path: Path): Problems {
    const types = knownTypes(schema["type"]);
    if (types === undefined || types.some((type) => isOfType(value, type))) return NONE;
    if (value === null && schema["nullable"] === true) return NONE;
    return mustBe(types.join(" or "), value, path);
  }

  /** The keywords that list values. */
  #values(schema: JsonObject, value: unknown, path: Path): Problems {
    const { enum: list } = schema;
    if (Array.isArray(list) && list.length > 0 && !list.some((one) => equalJson(one, value, this))) {
      return value === null && schema["nullable"] === true ? NONE : mustBe(`one of ${showList(list)}`, value, path);
    }
    return Object.hasOwn(schema, "const") && !equalJson(schema["const"], value, this) ? mustBe(show(schema["const"]), value, path) : NONE;
  }

  #content(schema: JsonObject, value: unknown, path: Path): Problems {
    if (typeof value === "number") return ofNumber(schema, value, path);
    if (typeof value === "string") return this.#text(schema, value, path);
    if (Array.isArray(value)) return this.#list(schema, value, path);
    return isJsonObject(value) ? this.#object(schema, value, path) : NONE;
  }

  #text(schema: JsonObject, value: string, path: Path): Problems {
    const bounds = { min: numberOf(schema, "minLength"), max: numberOf(schema, "maxLength") };
    if (textLengthWithin(value, bounds, this)) return NONE;
    const bound = value.length > (bounds.max ?? Infinity) ? `at most ${bounds.max}` : `at least ${bounds.min}`;
    return [{ path, problem: `must have ${bound} characters, and has ${value.length}` }];
  }

  #list(schema: JsonObject, value: readonly unknown[], path: Path): Problems {
    const min = numberOf(schema, "minItems");
    const max = numberOf(schema, "maxItems");
    if (min !== undefined && value.length < min) return [{ path, problem: `must have at least ${min} items, and has ${value.length}` }];
    if (max !== undefined && value.length > max) return [{ path, problem: `must have at most ${max} items, and has ${value.length}` }];
    // Drafts before 2020-12 have the list under `items`, and the rest under `additionalItems`.
    const [first, rest] = Array.isArray(schema["items"])
      ? [schema["items"] as unknown[], schema["additionalItems"]]
      : [Array.isArray(schema["prefixItems"]) ? (schema["prefixItems"] as unknown[]) : [], schema["items"]];
    return this.#each(value.keys(), (index) => this.fit(index < first.length ? first[index] : rest, value[index], [...path, index]));
  }

  #object(schema: JsonObject, value: JsonObject, path: Path): Problems {
    const properties = isJsonObject(schema["properties"]) ? schema["properties"] : {};
    const required = Array.isArray(schema["required"]) ? schema["required"] : [];
    this.take(required.length);
    const missing = required
      .filter((name) => typeof name === "string" && !Object.hasOwn(value, name))
      .slice(0, MAX_PROBLEMS)
      .map((name: string) => ({ path: [...path, name], problem: "is missing" }));
    const keys = Object.keys(value);
    return [...missing, ...this.#each(keys, (key) => this.#property(schema, properties, key, value[key], [...path, key]))];
  }

  #property(schema: JsonObject, properties: JsonObject, key: string, value: unknown, path: Path): Problems {
    if (Object.hasOwn(properties, key)) return this.fit(properties[key], value, path);
    // Whether a pattern of the schema covers the key is not for us to find out.
    if (isJsonObject(schema["patternProperties"])) return NONE;
    if (schema["additionalProperties"] !== false) return this.fit(schema["additionalProperties"], value, path);
    return [{ path, problem: "is not a parameter", known: properties }];
  }

  #combined(schema: JsonObject, value: unknown, path: Path): Problems {
    const { $ref, allOf } = schema;
    if (typeof $ref === "string") {
      const problems = this.fit(localRef(this.#root, $ref, this), value, path);
      if (problems.length > 0) return problems;
    }
    if (Array.isArray(allOf)) {
      const problems = this.#each(allOf, (one: unknown) => this.fit(one, value, path));
      if (problems.length > 0) return problems;
    }
    const anyOf = this.#any(schema["anyOf"], value, path);
    // Exactly one may be meant to fit; as long as patterns are not looked at, several can seem to.
    return anyOf.length > 0 ? anyOf : this.#any(schema["oneOf"], value, path);
  }

  #any(forms: unknown, value: unknown, path: Path): Problems {
    if (!Array.isArray(forms) || forms.length === 0) return NONE;
    let closest: Problems | undefined;
    const expected = new Set<string>();
    for (const form of forms) {
      const problems = this.fit(form, value, path);
      if (problems.length === 0) return NONE;
      // The form that is right in what it is about, and wrong in something deeper, is the one that was meant.
      if (closest === undefined || depthOf(problems) > depthOf(closest)) closest = problems;
      for (const { problem } of problems.slice(0, 1)) if (expected.size < MAX_PROBLEMS) expected.add(problem);
    }
    if (closest !== undefined && depthOf(closest) > path.length) return closest;
    return [{ path, problem: [...expected].join("; or it ") }];
  }

  /** The problems of each, until there are enough. */
  #each<T>(items: Iterable<T>, check: (item: T) => Problems): Problems {
    const problems: Problems[number][] = [];
    for (const item of items) {
      problems.push(...check(item));
      if (problems.length >= MAX_PROBLEMS) break;
    }
    return problems;
  }
}

/** Done at the end, for the few that are told: comparing words takes longer than all else. */
function withMeantWord({ known = {}, path, problem }: Problems[number]): ArgumentProblem {
  const [meant] = alike(String(path.at(-1)), Object.keys(known), 1);
  return { path, problem: meant === undefined ? problem : `${problem}; did you mean ${quoted(meant, 64)}?` };
}

const depthOf = (problems: Problems): number => problems[0]?.path.length ?? 0;

function ofNumber(schema: JsonObject, value: number, path: Path): Problems {
  const minimum = numberOf(schema, "minimum");
  const maximum = numberOf(schema, "maximum");
  const above = numberOf(schema, "exclusiveMinimum");
  const below = numberOf(schema, "exclusiveMaximum");
  const step = numberOf(schema, "multipleOf");
  // In draft 4 the exclusive ones are switches of the others.
  if (minimum !== undefined && (schema["exclusiveMinimum"] === true ? value <= minimum : value < minimum)) {
    return mustBe(schema["exclusiveMinimum"] === true ? `above ${minimum}` : `at least ${minimum}`, value, path);
  }
  if (maximum !== undefined && (schema["exclusiveMaximum"] === true ? value >= maximum : value > maximum)) {
    return mustBe(schema["exclusiveMaximum"] === true ? `below ${maximum}` : `at most ${maximum}`, value, path);
  }
  if (above !== undefined && value <= above) return mustBe(`above ${above}`, value, path);
  if (below !== undefined && value >= below) return mustBe(`below ${below}`, value, path);
  if (step === undefined || step <= 0) return NONE;
  const times = value / step;
  // 0.3 is three times 0.1, but for the last bits.
  const isMultiple = Math.abs(times - Math.round(times)) <= 1e-9 * Math.max(1, Math.abs(times));
  return isMultiple ? NONE : mustBe(`a multiple of ${step}`, value, path);
}

function mustBe(expected: string, value: unknown, path: Path): Problems {
  return [{ path, problem: `must be ${expected}, and is ${typeOf(value) === "object" ? "an object" : show(value)}` }];
}

const MAX_SHOWN_CHARS = 60;
const MAX_SHOWN_VALUES = 8;

/** A value, so that it takes little room and no time. */
function show(value: unknown): string {
  if (typeof value === "string") return quoted(value, MAX_SHOWN_CHARS);
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return isJsonObject(value) ? "an object" : clipped(String(value), MAX_SHOWN_CHARS);
}

function showList(values: readonly unknown[]): string {
  const shown = values.slice(0, MAX_SHOWN_VALUES).map(show).join(", ");
  return values.length > MAX_SHOWN_VALUES ? `${shown}, … (${values.length} in all)` : shown;
}
