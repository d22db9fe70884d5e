/** Servers that are as a test says, for what looks at them. */

import { AppError } from "../../../src/domain/errors.ts";
import type { CallCounters, ServerStatus, ToolDescription } from "../../../src/domain/server-status.ts";
import { listsTool } from "../../../src/domain/tool-pattern.ts";
import { NO_TOOL_ACCESS } from "../../../src/execution/tool-access.ts";
import type { ToolAccess, ToolServers } from "../../../src/execution/tool-access.ts";

const NO_CALLS: CallCounters = {
  ...{ requests: 0, ok: 0, error: 0, denied: 0, fallback: 0 },
  ...{ successRate: null, denialRate: null, fallbackPercent: null },
  errors: {},
  latency: { count: 0, sumMs: 0, buckets: [{ upToMs: null, count: 0 }] },
};

export const serverStatusOf = (name: string, more: Partial<ServerStatus> = {}): ServerStatus => ({
  name,
  namespace: name.replaceAll(/[^A-Za-z0-9_$]/g, "_"),
  state: "connected",
  transport: "stdio",
  retries: 0,
  tools: [],
  hidden: [],
  collisions: [],
  calls: { ...NO_CALLS, byTool: {} },
  ...more,
});

export const toolOf = (server: string, name: string, more: Partial<ToolDescription> = {}): ToolDescription => ({
  server,
  namespace: serverStatusOf(server).namespace,
  name,
  aliases: [],
  functions: [name.replaceAll(/[^A-Za-z0-9_$]/g, "_")],
  signature: `${server}.${name}()`,
  description: `Does ${name}.`,
  inputSchema: { type: "object" },
  annotations: {},
  allowed: true,
  ...more,
});

/** Servers with these tools. Commands wait for {@link FakeServers.gate}, then change the state. */
export class FakeServers implements ToolAccess, ToolServers {
  readonly open = NO_TOOL_ACCESS.open;
  readonly #servers: Map<string, ServerStatus>;
  readonly #tools: readonly ToolDescription[];
  gate: Promise<void> = Promise.resolve();

  constructor(servers: readonly ServerStatus[], tools: readonly ToolDescription[]) {
    this.#tools = tools;
    this.#servers = new Map(
      servers.map((server) => {
        const own = tools.filter((tool) => tool.server === server.name);
        const byTool = Object.fromEntries(own.map(({ name }) => [name, NO_CALLS]));
        return [server.name, { ...server, tools: own.map(({ allowed, name }) => ({ name, allowed })), calls: { ...server.calls, byTool } }];
      }),
    );
  }

  status(): ServerStatus[] {
    return [...this.#servers.values()];
  }

  tools(allowed: readonly (readonly string[] | undefined)[] = []): ToolDescription[] {
    return this.#tools.map((tool) => {
      const names = { servers: [tool.server, tool.namespace ?? tool.server], tools: [tool.name, ...tool.aliases, ...tool.functions] };
      return { ...tool, allowed: tool.allowed && allowed.every((patterns) => listsTool(patterns, names)) };
    });
  }

  reconnect = (name: string): Promise<ServerStatus> => this.#become(name, "connected");
  enable = (name: string): Promise<ServerStatus> => this.#become(name, "connected");
  disable = (name: string): Promise<ServerStatus> => this.#become(name, "disabled");

  async #become(name: string, state: ServerStatus["state"]): Promise<ServerStatus> {
    const server = this.#servers.get(name);
    if (server === undefined) throw new AppError({ code: "NOT_FOUND", message: `no server ${name}` });
    await this.gate;
    const { reason: _, ...rest } = server;
    this.#servers.set(name, { ...rest, state });
    return { ...rest, state };
  }
}
