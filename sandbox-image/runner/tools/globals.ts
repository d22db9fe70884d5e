/**
 * What a program finds of tools in its global scope: `tools`, `callTool`, `ToolError`, and a namespace for each server.
 *
 * They can be shadowed and replaced like any global. A server whose namespace is a name that is taken already (`process`, `fetch`) is in
 * `tools` only.
 */

import type { ExecuteParams } from "../../../src/bridge/protocol.ts";
import { defineProperty, getProperty } from "../intrinsics.ts";
import { givenArguments, positionalArguments } from "./arguments.ts";
import type { ToolClient } from "./tool-client.ts";
import { ToolError } from "./tool-error.ts";

type ToolNamespace = ExecuteParams["tools"][number];
type ToolFunction = (...values: readonly unknown[]) => Promise<unknown>;

/** Names that others look for in any object: a function there would be taken for a promise's, or for JSON's. */
const isReserved = (name: PropertyKey): boolean => name === "then" || name === "toJSON";

export function installTools(client: ToolClient, namespaces: readonly ToolNamespace[], scope: object): void {
  const tools = {};
  for (const entry of namespaces) {
    const namespace = makeNamespace(client, entry);
    defineProperty(tools, entry.namespace, { value: namespace, writable: true, configurable: true, enumerable: true });
    if (!(entry.namespace in scope)) defineGlobal(scope, entry.namespace, namespace);
  }
  const callTool = (server: unknown, tool: unknown, given?: unknown, options?: unknown): Promise<unknown> => {
    const makeArguments: Parameters<ToolClient["call"]>[0]["makeArguments"] = (describeError) => givenArguments(given, describeError);
    return client.call({ server, tool, makeArguments, options, entry: callTool });
  };
  defineGlobal(scope, "tools", tools);
  defineGlobal(scope, "callTool", callTool);
  defineGlobal(scope, "ToolError", ToolError);
}

function defineGlobal(scope: object, name: string, value: unknown): void {
  defineProperty(scope, name, { value, writable: true, configurable: true, enumerable: false });
}

/**
 * An object of the server's functions. A name that is not there is a function too: the service knows why it is not, and what is alike.
 */
function makeNamespace(client: ToolClient, { functions, namespace, server }: ToolNamespace): object {
  const known = {};
  for (const name of functions) {
    if (isReserved(name)) continue;
    defineProperty(known, name, { value: toolFunction(client, server, name), writable: true, configurable: true, enumerable: true });
  }
  defineProperty(known, Symbol.toStringTag, { value: namespace, configurable: true });
  const others = Object.create(null) as Record<string, ToolFunction>;
  return new Proxy(known, {
    get: (target, name, receiver) => {
      // Those of every object are in the target, too.
      if (typeof name === "symbol" || name in target || isReserved(name)) return getProperty(target, name, receiver) as unknown;
      return (others[name] ??= toolFunction(client, server, name));
    },
  });
}

function toolFunction(client: ToolClient, server: string, tool: string): ToolFunction {
  const call: ToolFunction = (...values) =>
    client.call({ server, tool, makeArguments: (describeError) => positionalArguments(values, describeError), entry: call });
  defineProperty(call, "name", { value: tool, configurable: true });
  return call;
}
