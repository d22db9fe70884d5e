/** An entry of config/mcp-servers.json as the definition of a server: what its settings mean together. */

import type { McpServerDefinition } from "../../domain/mcp-server.ts";
import type { EntryReport } from "./entry-report.ts";
import type { ServerInput } from "./schema.ts";
import { compileTransport, compileUrl } from "./transport.ts";

export interface CompileOptions {
  /** That paths are relative to. */
  readonly folder: string;
  /** For calls to a server without a `timeoutMs`. */
  readonly timeoutMs: number;
  readonly report: EntryReport;
}

export function compileServer(name: string, input: ServerInput, { folder, report, timeoutMs }: CompileOptions): McpServerDefinition {
  const { aliases, disabled, enabled, fallback, maxPayloadBytes, maxResultBytes, rateLimit, tools } = input;
  if (enabled !== undefined && enabled === disabled) report.problem(["disabled"], "contradicts enabled; leave one of the two out");
  checkAliases(input, report);
  checkPatterns(name, input, report);
  for (const [tool, names] of Object.entries(input.arguments)) {
    if (new Set(names).size < names.length) report.problem(["arguments", tool], "names an argument twice");
  }
  for (const [tool, response] of Object.entries(fallback.responses)) checkMock(["fallback", "responses", tool], response, report);
  const transport = compileTransport(input, folder, report);
  const healthCheck = compileHealthCheck(input, report);
  return {
    name,
    transport: report.lack === undefined ? transport : undefined,
    problem: report.lack,
    enabled: enabled ?? disabled !== true,
    timeoutMs: input.timeoutMs ?? timeoutMs,
    tools,
    aliases: table(aliases),
    arguments: table(input.arguments),
    rateLimit,
    maxPayloadBytes,
    maxResultBytes,
    fallback: { mode: fallback.mode, responses: table(fallback.responses) },
    healthCheck,
    secrets: report.secrets.all,
  };
}

/** A table in which only what the file names is found: programs choose the names that are looked up. */
const table = <T>(entries: Readonly<Record<string, T>>): Readonly<Record<string, T>> =>
  Object.assign(Object.create(null) as Record<string, T>, entries);

/** What is said about a tool is said under its own name. */
function checkAliases({ aliases, arguments: positional, fallback }: ServerInput, report: EntryReport): void {
  const names = new Map(Object.entries(aliases));
  for (const [alias, tool] of names) {
    if (tool === alias) report.problem(["aliases", alias], "stands for itself; leave it out");
    else if (names.has(tool)) report.problem(["aliases", alias], `"${tool}" is an alias too; name the tool itself`);
  }
  const tables: [string[], object][] = [
    [["arguments"], positional],
    [["fallback", "responses"], fallback.responses],
  ];
  for (const [setting, entries] of tables) {
    for (const entry of Object.keys(entries)) {
      const tool = names.get(entry);
      if (tool !== undefined) report.problem(setting, `"${entry}" is an alias; write the tool's own name, "${tool}"`);
    }
  }
}

/** Patterns of keys and requests begin with the server; here it is given. */
function checkPatterns(name: string, { tools }: ServerInput, report: EntryReport): void {
  const lists = { allow: tools.allow === "readOnly" ? [] : tools.allow, deny: tools.deny };
  for (const [list, patterns] of Object.entries(lists)) {
    for (const pattern of patterns) {
      if (!pattern.startsWith(`${name}.`)) continue;
      const meant = JSON.stringify(pattern.slice(name.length + 1));
      report.problem(["tools", list], `${JSON.stringify(pattern)} begins with the server; the list is this server's alone: write ${meant}`);
    }
  }
}

const DONE =
  /^(?:stored|saved|written|created|updated|deleted|removed|sent|inserted|added|success(?:ful)?|succeeded|ok|done|completed|published|persisted)$/i;

/** A mock says that it is one, and nothing in it says that something was done. */
function checkMock(where: readonly string[], response: Readonly<Record<string, unknown>>, report: EntryReport): void {
  if (response["mock"] !== true)
    report.problem([...where, "mock"], 'expected true: a program must be able to tell the answer from a real one. Add "mock": true');
  const claims = (value: unknown, at: readonly string[]): void => {
    if (typeof value !== "object" || value === null) return;
    for (const [key, entry] of Object.entries(value)) {
      const isClaim = (DONE.test(key) && entry === true) || (key === "status" && typeof entry === "string" && DONE.test(entry));
      if (isClaim) report.problem([...at, key], "claims that something was done, while the server is down; say false, or leave it out");
      claims(entry, [...at, key]);
    }
  };
  claims(response, where);
}

function compileHealthCheck({ healthCheck }: ServerInput, report: EntryReport): McpServerDefinition["healthCheck"] {
  if (healthCheck === undefined || "tool" in healthCheck) return healthCheck;
  const url = compileUrl(["healthCheck", "url"], healthCheck.url, report);
  return url === undefined ? undefined : { url: url.href };
}
