/** The MCP servers of the configuration: their file, read with what is worth saying about it, and the manager of their calls. */

import type { Logger } from "pino";

import type { ServiceConfig } from "./config/environment.ts";
import { loadMcpServers } from "./config/mcp-servers-file.ts";
import { findSharedPaths } from "./config/mcp-servers/shared-paths.ts";
import type { AuditSink } from "./domain/audit-event.ts";
import type { McpServerDefinition } from "./domain/mcp-server.ts";
import type { RuntimeDefinition } from "./domain/runtime.ts";
import type { CleanupStack } from "./lib/cleanup-stack.ts";
import { MCPClientManager } from "./mcp/client-manager.ts";

export type ServerDefinitions = ReadonlyMap<string, McpServerDefinition>;

/**
 * Reads the file. Warns of what is odd in it, of enabled servers that lack something, and of paths that servers share with programs.
 * Throws a `StartupError` that lists every problem.
 */
export async function readServers(
  config: Pick<ServiceConfig, "mcpServersFile" | "toolTimeoutMs" | "variable" | "workspaceRoot">,
  runtimes: ReadonlyMap<string, RuntimeDefinition>,
  logger: Logger,
): Promise<ServerDefinitions> {
  const { servers, warnings } = await loadMcpServers(config.mcpServersFile, { variable: config.variable, timeoutMs: config.toolTimeoutMs });
  const shared = await findSharedPaths(servers, runtimes, config.workspaceRoot);
  for (const warning of [...warnings, ...shared]) logger.warn(warning);
  for (const { enabled, name, problem } of servers.values()) {
    if (enabled && problem !== undefined) logger.warn({ server: name, reason: problem }, `the MCP server "${name}" is down: ${problem}`);
  }
  return servers;
}

export interface ToolServersOptions {
  readonly config: Pick<ServiceConfig, "audit" | "fallbackToMock" | "toolChecks" | "toolTimeoutMs">;
  readonly servers: ServerDefinitions;
  /** `background`: at once, and again whenever it must. `onCall`: each when it is first called. */
  readonly connect: "background" | "onCall";
  readonly logger: Logger;
  readonly audit?: AuditSink | undefined;
}

/** The manager, started; it is closed by `cleanup`. */
export function openToolServers({ audit, config, connect, logger, servers }: ToolServersOptions, cleanup: CleanupStack): MCPClientManager {
  if (!config.toolChecks) {
    logger.warn(
      "MCP_SECURITY_ENABLED=false: calls of MCP tools are neither limited in number nor checked against the tools' schemas. Lists of tools and caps on size are in force.",
    );
  }
  const manager = new MCPClientManager({
    fallbackToMock: config.fallbackToMock,
    securityEnabled: config.toolChecks,
    timeout: config.toolTimeoutMs,
    servers,
    logger,
    audit,
    auditArguments: config.audit.arguments,
    connect,
  });
  cleanup.defer("close the MCP servers", () => manager.close());
  manager.start();
  warnOfNames(manager, logger);
  return manager;
}

/** Puts the servers of the file, as it is then, in place of those that there are. Throws, and changes nothing, when it cannot be used. */
export async function reloadServers(
  manager: MCPClientManager,
  config: Parameters<typeof readServers>[0],
  runtimes: ReadonlyMap<string, RuntimeDefinition>,
  logger: Logger,
): Promise<void> {
  await manager.replaceServers(await readServers(config, runtimes, logger));
  warnOfNames(manager, logger);
}

function warnOfNames(manager: MCPClientManager, logger: Logger): void {
  for (const { name, namespace } of manager.states()) {
    if (namespace === null)
      logger.warn({ server: name }, `the MCP server "${name}" has the same name as another one in programs: only callTool reaches it`);
  }
}
