/** The MCP servers: their file, and where it is asked for, a connection to each that is enabled. */

import type { LoadedMcpServers } from "../config/mcp-servers-file.ts";
import type { McpServerDefinition } from "../domain/mcp-server.ts";
import type { ServerStatus } from "../domain/server-status.ts";
import { MCPClientManager } from "../mcp/client-manager.ts";
import type { Check, Outcome } from "./check.ts";
import type { Facts } from "./facts.ts";

/** A server that is fetched first takes a while. Its health check is part of the attempt. */
const CONNECT_MS = 75_000;
/** The processes of servers get their time to end, too. */
const TIMEOUT_MS = CONNECT_MS + 30_000;

export const serversFileCheck = (facts: Facts): Check => ({
  id: "configuration.servers",
  title: "mcp-servers.json",
  run: async () => judgeServersFile(await facts.servers.ask(), facts.config.mcpServersFile),
});

export const serversCheck = (facts: Facts): Check => ({
  id: "servers.connections",
  title: "MCP servers",
  timeoutMs: TIMEOUT_MS,
  run: async () => {
    const { servers } = await facts.servers.need();
    return judgeServers(await connectAll(servers, facts.config.toolTimeoutMs));
  },
});

/** What became of a connection to each server. Leaves none. */
async function connectAll(servers: ReadonlyMap<string, McpServerDefinition>, timeoutMs: number): Promise<readonly ServerStatus[]> {
  const manager = new MCPClientManager({ servers, timeout: timeoutMs });
  try {
    manager.start();
    await manager.settled(CONNECT_MS);
    return manager.status();
  } finally {
    await manager.close();
  }
}

export function judgeServersFile({ servers, warnings }: LoadedMcpServers, file: string): Outcome {
  if (servers.size === 0) return { status: "ok", found: `${file} has no servers: programs have no tools`, ...detailsOf(warnings) };
  const all = [...servers.values()];
  const enabled = all.filter((server) => server.enabled);
  const lacking = enabled.flatMap(({ name, problem }) => (problem === undefined ? [] : [`${name}: ${problem}`]));
  const found = `${file}: ${all.map(({ enabled: isOn, name }) => (isOn ? name : `${name} (disabled)`)).join(", ")}`;
  const details = [...lacking, ...warnings];
  if (details.length === 0) return { status: "ok", found };
  const remedy =
    lacking.length > 0
      ? "Set what is missing, or disable the server: until then it is down, and the others work."
      : "Mend the file, so that it says what is done.";
  return { status: "warn", found, details, remedy };
}

export function judgeServers(all: readonly ServerStatus[]): Outcome {
  const enabled = all.filter(({ state }) => state !== "disabled");
  const connected = enabled.filter(({ state }) => state === "connected");
  const details = all.flatMap(linesOf);
  if (enabled.length === 0) return { status: "info", found: "none is enabled", ...detailsOf(details) };
  const found = `${connected.length} of ${enabled.length} enabled ${enabled.length === 1 ? "server is" : "servers are"} connected`;
  if (enabled.some(({ state }) => state === "down" || state === "connecting"))
    return {
      status: "fail",
      found,
      details,
      remedy: "docs/servers/README.md says what the reasons mean. A server that is not needed can be disabled.",
    };
  const isOdd = enabled.some(
    ({ collisions, hidden, namespace, state }) => state === "degraded" || hidden.length + collisions.length > 0 || namespace === null,
  );
  return isOdd
    ? { status: "warn", found, details, remedy: "docs/servers/README.md says what the reasons mean." }
    : { status: "ok", found, details };
}

/** A line for the server, and one for each thing that is not as one would expect. */
function linesOf({ collisions, hidden, name, namespace, reason, serverInfo, state, tools }: ServerStatus): string[] {
  const denied = tools.filter(({ allowed }) => !allowed);
  const what = serverInfo === undefined ? "" : ` (${serverInfo.name} ${serverInfo.version})`;
  const counts = tools.length === 0 ? "" : `, ${tools.length} tools: ${tools.length - denied.length} for programs, ${denied.length} denied`;
  return [
    `${name}${what}: ${state}${reason === undefined ? "" : `: ${reason}`}${counts}`,
    ...(namespace === null ? [`${name}: another server has its name in programs: only callTool reaches it`] : []),
    ...(denied.length === 0 ? [] : [`${name}: denied: ${listed(denied.map((tool) => tool.name))}`]),
    ...hidden.map((entry) => `${name}: ${entry.name} is hidden: ${entry.reason}`),
    ...collisions.map(
      ({ name: word, takenBy, tool }) => `${name}: ${tool} is not ${word} in programs, since ${takenBy} is: only callTool reaches it`,
    ),
  ];
}

const MAX_LISTED = 12;

const listed = (names: readonly string[]): string =>
  names.length <= MAX_LISTED ? names.join(", ") : `${names.slice(0, MAX_LISTED).join(", ")} and ${names.length - MAX_LISTED} more`;

const detailsOf = (details: readonly string[]): { details?: string[] } => (details.length === 0 ? {} : { details: [...details] });
