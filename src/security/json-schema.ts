/** The parts of JSON Schema that need no walk: types, references, comparisons. For schemas that may be anything. */

import { isJsonObject } from "../lib/json-object.ts";
import type { JsonObject } from "../lib/json-object.ts";

/** Counts work; ends it by throwing when it is too much. */
export interface Steps {
  take(count: number): void;
}

const TYPES = ["array", "boolean", "integer", "null", "number", "object", "string"] as const;
type TypeName = (typeof TYPES)[number];

const isTypeName = (name: unknown): name is TypeName => (TYPES as readonly unknown[]).includes(name);

/** The types that a `type` names; `undefined` where it names none, or one that we do not know. */
export function knownTypes(type: unknown): readonly TypeName[] | undefined {
  const names: readonly unknown[] = Array.isArray(type) ? type.slice(0, TYPES.length) : [type];
  return names.length > 0 && names.every(isTypeName) ? names : undefined;
}

export function isOfType(value: unknown, type: TypeName): boolean {
  if (type === "integer") return Number.isInteger(value);
  return typeOf(value) === type;
}

/** Of a JSON value; anything else is no type of JSON's. */
export function typeOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

export function numberOf(schema: JsonObject, keyword: string): number | undefined {
  const value = Object.hasOwn(schema, keyword) ? schema[keyword] : undefined;
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

/** What a reference within the same schema leads to; `undefined`, which anything fits, for every other one. */
export function localRef(root: unknown, ref: string, steps: Steps): unknown {
  if (ref === "#") return root;
  if (!ref.startsWith("#/")) return undefined;
  steps.take(1 + ref.length / 16);
  let place = root;
  for (const part of ref.slice(2).split("/")) {
    const key = decode(part).replaceAll("~1", "/").replaceAll("~0", "~");
    if (typeof place !== "object" || place === null || !Object.hasOwn(place, key)) return undefined;
    place = (place as Record<string, unknown>)[key];
  }
  return place;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Whether the text has as many characters as it may; pairs of surrogates are one each, as JSON Schema counts. */
export function textLengthWithin(
  text: string,
  { max = Infinity, min = 0 }: { min: number | undefined; max: number | undefined },
  steps: Steps,
): boolean {
  if (text.length < min) return false;
  // Counting is needed only where the pairs decide.
  if (text.length <= max && text.length >= 2 * min) return true;
  if (text.length > 2 * max) return false;
  steps.take(1 + text.length / 16);
  let count = 0;
  for (let index = 0; index < text.length; index += 1) {
    if ((text.codePointAt(index) ?? 0) > 0xffff) index += 1;
    count += 1;
  }
  return count >= min && count <= max;
}

/** Whether two JSON values are the same, whatever the order of their fields. */
export function equalJson(a: unknown, b: unknown, steps: Steps): boolean {
  steps.take(1);
  if (a === b) return true;
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((item, index) => equalJson(item, b[index], steps));
  if (!isJsonObject(a) || !isJsonObject(b)) return false;
  const keys = Object.keys(a);
  steps.take(keys.length);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && equalJson(a[key], b[key], steps));
}
