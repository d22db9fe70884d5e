/**
 * The arguments of a call by name, as servers take them.
 *
 * Positional ones are named by the server's `arguments` for the tool; else by the tool's schema: the required properties in their order,
 * then the others in theirs. What is undefined is left out; every other value is passed on as it is, 0, false and "" too.
 */

import type { ToolCallRequest } from "../domain/tool-call.ts";
import { clipped } from "../domain/shown-text.ts";
import { isJsonObject } from "../lib/json-object.ts";
import type { JsonObject } from "../lib/json-object.ts";
import { findArgumentProblems } from "../security/argument-check.ts";

export interface ParameterSource {
  /** From the configuration. */
  readonly order: readonly string[] | undefined;
  /** The tool's JSON Schema, once it is known. */
  readonly schema: JsonObject | undefined;
}

/** Arguments that cannot be named; the message is to be put after the tool's name. */
export class ArgumentsError extends Error {
  override readonly name = "ArgumentsError";
}

/** The names of positional arguments, in order. */
export function parameterOrder({ order, schema }: ParameterSource): readonly string[] {
  if (order !== undefined) return order;
  const required: unknown = schema?.["required"];
  const first = Array.isArray(required) ? required.filter((name): name is string => typeof name === "string") : [];
  return [...new Set([...first, ...Object.keys(propertiesOf(schema))])];
}

/** Throws an {@link ArgumentsError}. */
export function nameArguments(given: ToolCallRequest["arguments"], source: ParameterSource): JsonObject {
  if ("named" in given) return given.named;
  const values = withoutUndefinedEnd(given.positional);
  if (values.length === 0) return {};
  const order = parameterOrder(source);
  const [only] = values[0] ?? [];
  if (values.length === 1 && isJsonObject(only) && isByName(only, order, source)) return only;
  if (values.length > order.length) throw new ArgumentsError(tooMany(values.length, order));
  // Defines, where an assignment to `__proto__` would change the prototype.
  return Object.fromEntries(
    values.flatMap((value, index) => {
      const name = order[index];
      return value.length === 0 || name === undefined ? [] : [[name, value[0]]];
    }),
  );
}

/**
 * Whether a single object is the arguments by name, or the first of them. By name, if the tool has all of its keys as parameters. If
 * not, it is the first argument where that takes such an object, and else by name all the same: the check says what is wrong with it.
 */
function isByName(value: JsonObject, order: readonly string[], { schema }: ParameterSource): boolean {
  const properties = propertiesOf(schema);
  const known = new Set(order);
  if (Object.keys(value).every((key) => Object.hasOwn(properties, key) || known.has(key))) return true;
  const [first] = order;
  if (first === undefined || !Object.hasOwn(properties, first)) return true;
  return findArgumentProblems(properties[first], value, schema).length > 0;
}

const propertiesOf = (schema: JsonObject | undefined): JsonObject => {
  const properties = schema?.["properties"];
  return isJsonObject(properties) ? properties : {};
};

function withoutUndefinedEnd(values: readonly (readonly unknown[])[]): readonly (readonly unknown[])[] {
  const last = values.findLastIndex((value) => value.length > 0);
  return values.slice(0, last + 1);
}

const MAX_SHOWN = 16;

function tooMany(count: number, order: readonly string[]): string {
  if (order.length === 0) return `takes no arguments by position, and got ${count}; pass an object with their names`;
  const shown = order.slice(0, MAX_SHOWN).map((name) => clipped(name, 64));
  const names = `${shown.join(", ")}${order.length > MAX_SHOWN ? ", …" : ""}`;
  return `takes ${order.length} ${order.length === 1 ? "argument" : "arguments"} by position (${names}), and got ${count}; pass an object with their names for others`;
}
