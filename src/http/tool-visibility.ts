/**
 * Which servers and tools a caller gets to see: those that its key's `tools` allow. To a key the others do not exist. Whoever operates
 * the servers, with the scope `admin`, sees them whole.
 */

import { AppError } from "../domain/errors.ts";
import type { ServerStatus, ToolDescription } from "../domain/server-status.ts";
import { listsServer, listsTool } from "../domain/tool-pattern.ts";
import type { ToolServers } from "../execution/tool-access.ts";
import { closest } from "../lib/similar.ts";
import type { Principal } from "./authentication.ts";

type Named = Pick<ServerStatus, "name" | "namespace">;

/** The names under which patterns and paths find a server. */
const namesOf = ({ name, namespace }: Named): string[] => (namespace === null || namespace === name ? [name] : [name, namespace]);
const namesOfTool = ({ aliases, functions, name }: ToolDescription): string[] => [...new Set([name, ...aliases, ...functions])];

/** Whether the caller may know that there is such a server. */
export const maySeeServer = ({ scopes, tools }: Principal, server: Named): boolean =>
  scopes.has("admin") || listsServer(tools, namesOf(server));

/** The server of that name or namespace. Throws NOT_FOUND, with those that are alike. */
export function findServer(servers: ToolServers, principal: Principal, name: string): ServerStatus {
  const visible = servers.status().filter((server) => maySeeServer(principal, server));
  const found = visible.find((server) => server.name === name) ?? visible.find(({ namespace }) => namespace === name);
  if (found !== undefined) return found;
  throw notFound(`server ${JSON.stringify(name)}`, name, visible.flatMap(namesOf));
}

/** The tools that the caller's key allows, whatever the servers' own lists say. */
export function visibleTools(servers: ToolServers, { tools: patterns }: Principal): ToolDescription[] {
  const isListed = (tool: ToolDescription): boolean =>
    listsTool(patterns, { servers: namesOf({ name: tool.server, namespace: tool.namespace }), tools: namesOfTool(tool) });
  return servers.tools([patterns]).filter(isListed);
}

/** The tool of that name, alias or function. Throws NOT_FOUND, with those that are alike. */
export function findTool(
  servers: ToolServers,
  principal: Principal,
  path: { readonly server: string; readonly tool: string },
): ToolDescription {
  const server = findServer(servers, principal, path.server);
  const tools = visibleTools(servers, principal).filter((tool) => tool.server === server.name);
  const found = tools.find(({ name }) => name === path.tool) ?? tools.find((tool) => namesOfTool(tool).includes(path.tool));
  if (found !== undefined) return found;
  const what = `tool ${JSON.stringify(path.tool)} of the server "${server.name}"`;
  if (server.tools.length === 0 && server.state !== "connected") {
    const reason = server.reason === undefined ? "" : `: ${server.reason}`;
    throw new AppError({ code: "NOT_FOUND", message: `There is no ${what}: it is ${server.state} and has told of no tools yet${reason}.` });
  }
  throw notFound(what, path.tool, tools.flatMap(namesOfTool));
}

/** Makes of a server's status what the caller sees of it: no tool that its key leaves out. */
export function narrowingFor(servers: ToolServers, principal: Principal): (status: ServerStatus) => ServerStatus {
  if (principal.tools === undefined || principal.scopes.has("admin")) return (status) => status;
  const tools = servers.tools();
  return (status) => narrowStatus(status, tools, principal);
}

function narrowStatus(status: ServerStatus, tools: readonly ToolDescription[], principal: Principal): ServerStatus {
  const own = tools.filter(({ server }) => server === status.name);
  const names = new Map(own.map((tool) => [tool.name, namesOfTool(tool)]));
  const isListed = (name: string): boolean => listsTool(principal.tools, { servers: namesOf(status), tools: names.get(name) ?? [name] });
  return {
    ...status,
    tools: status.tools.filter(({ name }) => isListed(name)),
    hidden: status.hidden.filter(({ name }) => isListed(name)),
    collisions: status.collisions.filter(({ tool }) => isListed(tool)),
    calls: { ...status.calls, byTool: Object.fromEntries(Object.entries(status.calls.byTool).filter(([name]) => isListed(name))) },
  };
}

function notFound(what: string, word: string, candidates: readonly string[]): AppError {
  const meant = closest(word, new Set(candidates));
  const hint = meant === undefined ? "" : ` Did you mean ${JSON.stringify(meant)}?`;
  return new AppError({ code: "NOT_FOUND", message: `There is no ${what}.${hint}` });
}
