/**
 * `${NAME}` and `${NAME:-default}` in config/mcp-servers.json: values of the service's environment. `$${` is the text `${`.
 *
 * A default counts when the variable is not set, or is set to nothing. It is text as it stands: nothing in it is filled in.
 */

import type { VariableReader } from "../environment.ts";

/** A text with its variables filled in. */
export interface Filled {
  readonly text: string;
  /** Whether it names a variable. */
  readonly hasVariable: boolean;
  /** Values that came from the environment. */
  readonly values: readonly string[];
  /** Variables that are not set and have no default. */
  readonly missing: readonly string[];
}

/** `env:` before the name is how some editors write it. */
const REFERENCE = /\$\$\{|\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]{0,255})(?::-([^{}]*))?\}/g;

/** Fills in the variables; `undefined` where a `${` begins none. */
export function fillIn(text: string, variable: VariableReader): Filled | undefined {
  const parts: string[] = [];
  const values: string[] = [];
  const missing: string[] = [];
  let hasVariable = false;
  let end = 0;
  for (const { 0: found, 1: name, 2: otherwise, index } of text.matchAll(REFERENCE)) {
    const between = text.slice(end, index);
    if (between.includes("${")) return undefined;
    end = index + found.length;
    if (name === undefined) {
      parts.push(between, "${");
      continue;
    }
    hasVariable = true;
    const value = variable(name);
    if (value !== undefined) values.push(value);
    else if (otherwise === undefined) missing.push(name);
    parts.push(between, value ?? otherwise ?? "");
  }
  const rest = text.slice(end);
  return rest.includes("${") ? undefined : { text: parts.join("") + rest, hasVariable, values, missing };
}
