/** The configured servers, connected from this process: as the service would connect them, and beside its own connections. */

import { readEnvironment } from "../../config/environment.ts";
import type { ServiceConfig } from "../../config/environment.ts";
import { loadMcpServers } from "../../config/mcp-servers-file.ts";
import type { McpServerDefinition } from "../../domain/mcp-server.ts";
import { clipped } from "../../domain/shown-text.ts";
import { CleanupStack } from "../../lib/cleanup-stack.ts";
import type { MCPClientManager } from "../../mcp/client-manager.ts";
import { createLogger } from "../../observability/logger.ts";
import { openToolServers } from "../../tool-servers.ts";
import { exitCodeOfSignal, watchStopSignals } from "../signals.ts";

/** A server that `npx` starts may be downloaded first. */
const DEFAULT_WAIT_MS = 15_000;
const MAX_LINE_CHARS = 4000;

export interface ConfiguredServers {
  readonly config: ServiceConfig;
  readonly servers: ReadonlyMap<string, McpServerDefinition>;
}

/** What mcp-servers.json has; warnings go to stderr. Throws a `StartupError`. */
export async function readServers(): Promise<ConfiguredServers> {
  const config = readEnvironment({ defaults: { LOG_LEVEL: "error" } });
  const { servers, warnings } = await loadMcpServers(config.mcpServersFile, { variable: config.variable, timeoutMs: config.toolTimeoutMs });
  for (const warning of warnings) say(`warning: ${warning}`);
  return { config, servers };
}

export interface Connected {
  readonly manager: MCPClientManager;
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
}

/**
 * Connects to the servers, does the work and closes every connection. Gives the exit code: the work's, or the signal's that ended it. A
 * fallback is no answer here: whoever asks wants to know how the server is.
 */
export async function withServers(
  { config, servers }: ConfiguredServers,
  options: { readonly wait: number | undefined; readonly exit: (code: number) => void },
  work: (connected: Connected) => Promise<number>,
): Promise<number> {
  const logger = createLogger({ level: config.logLevel, pretty: process.stderr.isTTY });
  const cleanup = new CleanupStack({
    onError: (step, error) => {
      logger.error({ step, err: error }, "clean-up step failed");
    },
  });
  const signals = watchStopSignals(options.exit);
  try {
    const manager = openToolServers({ config: { ...config, fallbackToMock: false }, servers, connect: "background", logger }, cleanup);
    await manager.settled(options.wait ?? DEFAULT_WAIT_MS, signals.aborted);
    const exitCode = signals.received === undefined ? await work({ manager, signal: signals.aborted }) : 0;
    return signals.received === undefined ? exitCode : exitCodeOfSignal(signals.received);
  } finally {
    await cleanup.close();
    signals.close();
  }
}

/** A line on stderr. It may hold a stranger's text. */
export const say = (line: string): void => {
  process.stderr.write(`code-mode: ${clipped(line, MAX_LINE_CHARS)}\n`);
};
