/** Servers and tools as the API and the command line show them. */

import type { ServerBrief, ServerStatus, ToolDescription } from "../domain/server-status.ts";
import { identifierOf, NOT_FOR_TOOLS } from "./identifiers.ts";
import type { ManagedServer } from "./managed-server.ts";
import type { ServerDirectory } from "./server-directory.ts";
import { signatureOf } from "./signatures.ts";

export function briefOf(server: ManagedServer, directory: ServerDirectory): ServerBrief {
  const { reason: said, state } = server.connection.status();
  const reason = said ?? (state === "disabled" ? "it is not enabled" : undefined);
  return { name: server.name, namespace: directory.namespaceOf(server) ?? null, state, ...present({ reason }) };
}

export function statusOf(server: ManagedServer, directory: ServerDirectory): ServerStatus {
  const { catalogue } = server.connection;
  const { connectedAt, lastError, latencyMs, nextRetryAt, retries, serverInfo, transport } = server.connection.status();
  const tools = [...(catalogue?.tools.values() ?? [])].map((definition) => {
    const setting = directory.listThatDenies(server, { name: definition.name, definition, known: true }, []);
    return { name: definition.name, allowed: setting === undefined, ...(setting === undefined ? {} : { setting }) };
  });
  const { collisions, lostAliases } = server.names;
  return {
    ...briefOf(server, directory),
    transport: transport ?? null,
    retries,
    ...present({ serverInfo, connectedAt, lastError, nextRetryAt, latencyMs }),
    tools,
    hidden: [
      ...(catalogue?.hidden ?? []),
      ...(catalogue === undefined ? [] : lostAliases).map(([name, tool]) => ({
        name,
        reason: `an alias of ${JSON.stringify(tool)}, which the server does not have`,
      })),
    ],
    collisions: collisions.map(({ of, takenBy, word }) => ({ tool: of, name: word, takenBy })),
    calls: server.counters.read(),
  };
}

export function describeTools(
  server: ManagedServer,
  directory: ServerDirectory,
  allowed: readonly (readonly string[] | undefined)[],
): ToolDescription[] {
  const { names } = server;
  const namespace = directory.namespaceOf(server);
  return [...(server.connection.catalogue?.tools.values() ?? [])].map((definition) => {
    const { annotations, description, inputSchema, name, outputSchema, title } = definition;
    const { aliases, arguments: orders } = server.definition;
    const setting = directory.listThatDenies(server, { name, definition, known: true }, allowed);
    const functions = namespace === undefined ? [] : names.identifiersFor(name);
    const order = Object.hasOwn(orders, name) ? orders[name] : undefined;
    return {
      server: server.name,
      namespace: namespace ?? null,
      name,
      aliases: Object.keys(aliases).filter((alias) => alias !== name && names.resolve(alias) === name),
      functions: [...functions],
      signature: signatureOf(functions[0] ?? identifierOf(name, NOT_FOR_TOOLS), { order, schema: inputSchema }),
      ...present({ title }),
      description,
      inputSchema,
      ...present({ outputSchema }),
      annotations,
      allowed: setting === undefined,
      ...present({ setting }),
    };
  });
}

/** Those that there are: JSON knows no undefined. */
function present<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
