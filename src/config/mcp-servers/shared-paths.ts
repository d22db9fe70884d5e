/**
 * Paths that an MCP server was given and that programs can read too. What a server writes there would be read as the operator's own data,
 * though a program may have had it written. A look at what the configuration says, no proof: a server may write where it likes.
 */

import { realpath } from "node:fs/promises";
import path from "node:path";

import type { McpServerDefinition } from "../../domain/mcp-server.ts";
import type { RuntimeDefinition } from "../../domain/runtime.ts";
import { overlap } from "../../domain/sandbox-path.ts";

/** A warning for each setting of a server that names a readable path, something in it, or a folder around it. */
export async function findSharedPaths(
  servers: ReadonlyMap<string, McpServerDefinition>,
  runtimes: ReadonlyMap<string, RuntimeDefinition>,
  workspaceRoot: string,
): Promise<string[]> {
  const readable = await Promise.all(
    [...runtimes].flatMap(([runtime, { permissions }]) =>
      permissions.fileSystem.read.map(async (entry) => ({
        place: await real(path.resolve(workspaceRoot, entry.path)),
        setting: `runtimes.${runtime}.permissions.fileSystem.read`,
        shown: entry.path,
      })),
    ),
  );
  const warnings: string[] = [];
  for (const server of servers.values()) {
    for (const { setting, text } of givenPaths(server)) {
      const place = await real(text);
      const shared = readable.find((entry) => overlap(entry.place, place === "/" ? "." : place));
      if (shared === undefined) continue;
      warnings.push(
        `mcp-servers.json: mcpServers.${server.name}.${setting}: the server is given what programs can read (${shared.setting}: ${shared.shown}); what it writes there is input that nobody checked. Give it a folder of its own`,
      );
    }
  }
  return warnings;
}

interface GivenPath {
  readonly setting: string;
  readonly text: string;
}

/** Whatever looks like a path of the host: `/data`, `./data`, `--dir=/data`, `/data:/mounted`. */
function givenPaths({ transport }: McpServerDefinition): GivenPath[] {
  if (transport?.kind !== "stdio") return [];
  const { args, cwd, env } = transport;
  const given = [
    ...args.map((text, index) => ({ setting: `args.${index}`, text })),
    ...Object.entries(env).map(([name, text]) => ({ setting: `env.${name}`, text })),
  ].flatMap(({ setting, text }) => {
    const [, found] = /^(?:--?[\w.-]+=)?(\.{0,2}\/[^:]*)/.exec(text) ?? [];
    return found === undefined ? [] : [{ setting, text: path.resolve(cwd ?? ".", found) }];
  });
  return cwd === undefined ? given : [{ setting: "cwd", text: cwd }, ...given];
}

/** Where a path leads; for what is not there, where its folder does. */
async function real(place: string): Promise<string> {
  try {
    return await realpath(place);
  } catch {
    const folder = path.dirname(place);
    return folder === place ? place : path.join(await real(folder), path.basename(place));
  }
}
