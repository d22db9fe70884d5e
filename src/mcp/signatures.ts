/** How a tool is called, in one line: for lists of tools. Of its schema only what fits into a line. */

import { clipped, quoted } from "../domain/shown-text.ts";
import { isJsonObject } from "../lib/json-object.ts";
import type { JsonObject } from "../lib/json-object.ts";
import { parameterOrder } from "./arguments.ts";
import type { ParameterSource } from "./arguments.ts";

const MAX_PARAMETERS = 16;
const MAX_CHOICES = 8;
const MAX_NAME_CHARS = 64;
/** Lists of lists of lists. */
const MAX_DEPTH = 4;

/** `store_memory(content: string, importance?: number, tags?: string[])` */
export function signatureOf(name: string, source: ParameterSource): string {
  const { schema } = source;
  const properties = isJsonObject(schema?.["properties"]) ? schema["properties"] : {};
  const required: readonly unknown[] = Array.isArray(schema?.["required"]) ? schema["required"] : [];
  const order = parameterOrder(source);
  const parameters = order.slice(0, MAX_PARAMETERS).map((parameter) => {
    const type = Object.hasOwn(properties, parameter) ? typeText(properties[parameter], 0) : "unknown";
    return `${nameText(parameter)}${required.includes(parameter) ? "" : "?"}: ${type}`;
  });
  if (order.length > MAX_PARAMETERS) parameters.push("…");
  return `${clipped(name, MAX_NAME_CHARS)}(${parameters.join(", ")})`;
}

const nameText = (name: string): string =>
  /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(name) ? clipped(name, MAX_NAME_CHARS) : quoted(name, MAX_NAME_CHARS);

function typeText(schema: unknown, depth: number): string {
  if (!isJsonObject(schema) || depth > MAX_DEPTH) return "unknown";
  const choices = choicesOf(schema, depth);
  if (choices === undefined) return "unknown";
  const shown = choices.slice(0, MAX_CHOICES);
  return [...new Set(choices.length > MAX_CHOICES ? [...shown, "…"] : shown)].join(" | ");
}

/** Each way in which a value can fit. */
function choicesOf(schema: JsonObject, depth: number): readonly string[] | undefined {
  if (Object.hasOwn(schema, "const")) return [valueText(schema["const"])];
  const list = schema["enum"] ?? undefined;
  if (Array.isArray(list)) return list.slice(0, MAX_CHOICES + 1).map(valueText);
  const forms = schema["anyOf"] ?? schema["oneOf"];
  if (Array.isArray(forms)) return forms.slice(0, MAX_CHOICES + 1).map((form) => typeText(form, depth + 1));
  const types: readonly unknown[] = Array.isArray(schema["type"]) ? schema["type"].slice(0, MAX_CHOICES) : [schema["type"]];
  const texts = types.map((type) => oneTypeText(type, schema, depth));
  return texts.includes("unknown") ? undefined : texts;
}

function oneTypeText(type: unknown, schema: JsonObject, depth: number): string {
  if (type === "array") {
    const item = typeText(schema["items"], depth + 1);
    return item.includes(" ") ? `(${item})[]` : `${item}[]`;
  }
  if (type === "integer") return "number";
  return type === "string" || type === "number" || type === "boolean" || type === "null" || type === "object" ? type : "unknown";
}

const valueText = (value: unknown): string => {
  if (typeof value === "string") return quoted(value, MAX_NAME_CHARS);
  return typeof value === "object" && value !== null ? "object" : clipped(String(value), MAX_NAME_CHARS);
};
