/** The servers that there are, in the order of the configuration, and which of them a program's word stands for. */

import type { ToolNamespace } from "../domain/tool-call.ts";
import { listsServer } from "../domain/tool-pattern.ts";
import type { SecurityManager } from "../security/security-manager.ts";
import type { ListedTool } from "../security/tool-lists.ts";
import { NOT_FOR_SERVERS } from "./identifiers.ts";
import type { FoundTool, ManagedServer } from "./managed-server.ts";
import { Names } from "./names.ts";

type AllowedLists = readonly (readonly string[] | undefined)[];

export class ServerDirectory {
  readonly #security: SecurityManager;
  #servers: ReadonlyMap<string, ManagedServer> = new Map();
  #names = new Names({ names: [], taken: NOT_FOR_SERVERS });

  constructor(security: SecurityManager) {
    this.#security = security;
  }

  get all(): readonly ManagedServer[] {
    return [...this.#servers.values()];
  }

  replace(servers: readonly ManagedServer[]): void {
    this.#servers = new Map(servers.map((server) => [server.name, server]));
    this.#names = new Names({ names: this.#servers.keys(), taken: NOT_FOR_SERVERS });
  }

  get(name: string): ManagedServer | undefined {
    return this.#servers.get(name);
  }

  /** By its name or its namespace. */
  find(word: string): ManagedServer | undefined {
    const name = this.#names.resolve(word);
    return name === undefined ? undefined : this.#servers.get(name);
  }

  /** Its name as a global of programs; `undefined` where another server has it. */
  namespaceOf(server: ManagedServer): string | undefined {
    return this.#names.identifier(server.name);
  }

  listed(server: ManagedServer, tool: FoundTool): ListedTool {
    return server.listed(tool, this.#names.wordsFor(server.name));
  }

  /** Which list keeps a tool from a program, if any. */
  listThatDenies(server: ManagedServer, tool: FoundTool, allowed: AllowedLists): string | undefined {
    return this.#security.listThatDenies(this.listed(server, tool), allowed);
  }

  /** What a program finds as functions: what it may call, as far as that is known. */
  namespacesFor(allowed: AllowedLists): ToolNamespace[] {
    return this.all.flatMap((server) => {
      const namespace = this.namespaceOf(server);
      if (namespace === undefined) return [];
      const functions = this.callable(server, allowed).flatMap((name) => server.names.identifiersFor(name));
      // One that has not told of its tools yet may have some.
      const mayHaveMore =
        server.connection.catalogue === undefined && allowed.every((patterns) => listsServer(patterns, this.#names.wordsFor(server.name)));
      return functions.length === 0 && !mayHaveMore ? [] : [{ server: server.name, namespace, functions }];
    });
  }

  /** Names of the tools that a program may call. */
  callable(server: ManagedServer, allowed: AllowedLists): string[] {
    const { catalogue } = server.connection;
    return server.names.all.filter((name) => {
      const tool = { name, definition: catalogue?.tools.get(name), known: true };
      return this.listThatDenies(server, tool, allowed) === undefined;
    });
  }
}
