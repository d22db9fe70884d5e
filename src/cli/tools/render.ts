/** Servers and their tools as text for people. What servers say of themselves is a stranger's text: nothing of it writes to the terminal. */

import type { ServerStatus, ToolDescription } from "../../domain/server-status.ts";
import { clipped } from "../../domain/shown-text.ts";

export interface RenderOptions {
  /** Of the terminal; descriptions are cut there. */
  readonly columns: number;
  readonly colour: boolean;
}

const DIM = 2;
const BOLD = 1;
const YELLOW = 33;
const MIN_COLUMNS = 40;
const MAX_TEXT_CHARS = 2000;

/** Each server with its state, and below it its tools: how to call them, what they do, and why one cannot be called. */
export function renderServers(servers: readonly ServerStatus[], tools: readonly ToolDescription[], options: RenderOptions): string {
  return servers
    .map((server) =>
      serverLines(
        server,
        tools.filter((tool) => tool.server === server.name),
        options,
      ).join("\n"),
    )
    .join("\n\n");
}

function serverLines(server: ServerStatus, tools: readonly ToolDescription[], { colour, columns }: RenderOptions): string[] {
  const paint = (code: number, text: string): string => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const width = Math.max(MIN_COLUMNS, columns);
  const line = (indent: number, text: string): string => `${" ".repeat(indent)}${clipped(firstLineOf(text), width - indent - 1)}`;
  const { hidden, name, namespace, reason, state } = server;
  const count = tools.length === 1 ? "1 tool" : `${tools.length} tools`;
  const lines = [
    `${paint(BOLD, clipped(name))}  ${paint(state === "connected" ? DIM : YELLOW, state)}${tools.length > 0 ? `, ${count}` : ""}`,
  ];
  // Why it is down is worth all the lines that it takes.
  if (reason !== undefined) lines.push(`    ${clipped(reason, MAX_TEXT_CHARS)}`);
  for (const { allowed, description, functions, name: tool, setting, signature } of tools) {
    const how =
      namespace === null || functions.length === 0
        ? `callTool(${JSON.stringify(name)}, ${JSON.stringify(tool)}, …)`
        : `${namespace}.${signature}`;
    lines.push(line(2, how));
    if (!allowed) lines.push(paint(YELLOW, line(6, `denied by ${setting ?? "a list"}`)));
    if (description.trim() !== "") lines.push(paint(DIM, line(6, description)));
  }
  for (const entry of hidden) lines.push(paint(YELLOW, line(2, `${entry.name}: cannot be used: ${entry.reason}`)));
  return lines;
}

const firstLineOf = (text: string): string => text.trim().split(/[\r\n\u2028\u2029]/u, 1)[0] ?? "";
