/**
 * Whether a tool's schema is one that can be worked with.
 *
 * Only its shape is looked at. Nothing that it refers to is fetched, and no pattern of it is compiled or run: one can take for ever.
 */

import { isJsonObject } from "../lib/json-object.ts";
import type { JsonObject } from "../lib/json-object.ts";

const MAX_BYTES = 262_144;
const MAX_DEPTH = 64;
const TYPES: ReadonlySet<unknown> = new Set(["string", "number", "integer", "boolean", "object", "array", "null"]);
/** Keywords whose value is a schema, a list of schemas, or an object of schemas. */
const SCHEMA_KEYWORDS = ["items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"] as const;
const LIST_KEYWORDS = ["allOf", "anyOf", "oneOf", "prefixItems"] as const;
const OBJECT_KEYWORDS = ["properties", "patternProperties", "$defs", "definitions"] as const;

/** What is wrong with the schema of a tool's arguments or result, which must be one of objects. */
export function problemOfToolSchema(schema: unknown): string | undefined {
  if (!isJsonObject(schema)) return "is no object";
  if (schema["type"] !== undefined && schema["type"] !== "object") return 'is not of type "object"';
  if (JSON.stringify(schema).length > MAX_BYTES) return `has more than ${MAX_BYTES} characters`;
  return problemOf(schema, "", 1);
}

function problemOf(schema: unknown, at: string, depth: number): string | undefined {
  if (typeof schema === "boolean") return undefined;
  const where = at === "" ? "" : `: ${at}`;
  if (!isJsonObject(schema)) return `has a schema that is none${where}`;
  if (depth > MAX_DEPTH) return `is nested more than ${MAX_DEPTH} levels deep`;
  const types: unknown[] = Array.isArray(schema["type"]) ? schema["type"] : [schema["type"] ?? "object"];
  if (!types.every((type) => TYPES.has(type))) return `has a type that does not exist${where}`;
  if (schema["enum"] !== undefined && !Array.isArray(schema["enum"])) return `has an enum that is no list${where}`;
  const required = schema["required"];
  if (required !== undefined && !(Array.isArray(required) && required.every((name) => typeof name === "string")))
    return `has a list "required" that is none${where}`;
  for (const [key, inner] of innerSchemas(schema)) {
    const problem = problemOf(inner, `${at}/${key}`, depth + 1);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function* innerSchemas(schema: JsonObject): Generator<readonly [string, unknown]> {
  for (const keyword of SCHEMA_KEYWORDS) {
    const value = schema[keyword];
    // Older drafts have lists of schemas as `items`.
    if (Array.isArray(value)) for (const [index, item] of value.entries()) yield [`${keyword}/${index}`, item];
    else if (value !== undefined) yield [keyword, value];
  }
  for (const keyword of LIST_KEYWORDS) {
    const value = schema[keyword];
    if (value === undefined) continue;
    if (Array.isArray(value)) for (const [index, item] of value.entries()) yield [`${keyword}/${index}`, item];
    else yield [keyword, undefined];
  }
  for (const keyword of OBJECT_KEYWORDS) {
    const value = schema[keyword];
    if (value === undefined) continue;
    if (isJsonObject(value)) for (const [name, item] of Object.entries(value)) yield [`${keyword}/${name}`, item];
    else yield [keyword, undefined];
  }
}
