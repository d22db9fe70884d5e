/** `code-mode tools list`: what the configured servers offer, what of it programs can call, and which server is down for which reason. */

import { escapeControls } from "../../domain/escaped-json.ts";
import type { McpServerDefinition } from "../../domain/mcp-server.ts";
import { alike } from "../../lib/similar.ts";
import { UsageError } from "../usage-error.ts";
import { readServers, say, withServers } from "./connect.ts";
import { renderServers } from "./render.ts";

export interface ListOptions {
  readonly server?: string;
  readonly json?: boolean;
  /** Milliseconds for connections. */
  readonly wait?: number;
}

const NOT_CONNECTED = 1;
/** Where stdout is no terminal: a reader may be one. */
const DEFAULT_COLUMNS = 120;

/** Prints them and gives the exit code. */
export async function listTools({ json = false, server, wait }: ListOptions, exit: (code: number) => void): Promise<number> {
  const { config, servers } = await readServers();
  if (servers.size === 0) say(`${config.mcpServersFile} has no server: there are no tools. See docs/tools.md`);
  const wanted = server === undefined ? servers : only(servers, server);
  return withServers({ config, servers: wanted }, { wait, exit }, ({ manager }) => {
    const found = { servers: manager.status(), tools: manager.tools() };
    const { columns, isTTY } = process.stdout;
    if (json) process.stdout.write(`${escapeControls(JSON.stringify(found, undefined, isTTY ? 2 : undefined))}\n`);
    else if (found.servers.length > 0) {
      const colour = isTTY && process.stdout.hasColors();
      process.stdout.write(`${renderServers(found.servers, found.tools, { columns: isTTY ? columns : DEFAULT_COLUMNS, colour })}\n`);
    }
    const isMissing = found.servers.some(({ state }) => state !== "connected" && state !== "disabled");
    return Promise.resolve(isMissing ? NOT_CONNECTED : 0);
  });
}

function only(servers: ReadonlyMap<string, McpServerDefinition>, name: string): ReadonlyMap<string, McpServerDefinition> {
  const definition = servers.get(name);
  if (definition !== undefined) return new Map([[name, definition]]);
  const meant = alike(name, servers.keys(), 3);
  throw new UsageError(
    `--server ${name}: there is no such server. ${meant.length > 0 ? "Did you mean" : "There are"}: ${(meant.length > 0 ? meant : [...servers.keys()]).join(", ")}`,
  );
}
