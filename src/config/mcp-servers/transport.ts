/** How a server of config/mcp-servers.json is reached, with its variables filled in. */

import path from "node:path";

import type { ServerTransport } from "../../domain/mcp-server.ts";
import type { EntryReport } from "./entry-report.ts";
import { TRANSPORTS } from "./schema.ts";
import type { ServerInput } from "./schema.ts";
import { isSecretName } from "./secrets.ts";

/** Headers that the transport sets itself. */
const OWN_HEADERS =
  /^(?:host|connection|content-length|content-type|transfer-encoding|accept|upgrade|te|trailer|expect|mcp-session-id|mcp-protocol-version|last-event-id)$/i;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;

/** The transport; `undefined` when a setting keeps it from being one, which is reported. */
export function compileTransport(input: ServerInput, folder: string, report: EntryReport): ServerTransport | undefined {
  const { command, type, url } = input;
  if (command !== undefined && url !== undefined) {
    report.problem(["url"], "there is a command too; a server has one of the two");
    return undefined;
  }
  const kind = type === undefined ? (url === undefined ? "stdio" : "http") : TRANSPORTS[type];
  const [needed, others] =
    kind === "stdio" ? (["command", ["url", "headers"]] as const) : (["url", ["command", "args", "env", "cwd"]] as const);
  for (const other of others) {
    if (input[other] === undefined || other === "command" || other === "url") continue;
    report.problem([other], `goes with ${kind === "stdio" ? "url" : "command"}, and this server has none${hintFor(other)}`);
  }
  if (input[needed] === undefined) {
    const expected = type === undefined ? "a command (stdio) or a url (http)" : `a ${needed}, since the type is "${type}"`;
    report.problem([], `expected ${expected}`);
    return undefined;
  }
  return kind === "stdio" ? compileStdio(input, folder, report) : compileHttp(kind, input, report);
}

const hintFor = (setting: string): string => (setting === "env" ? "; credentials of a server with url go into headers" : "");

function compileStdio({ args = [], command = "", cwd, env = {} }: ServerInput, folder: string, report: EntryReport): ServerTransport {
  const program = report.fill(["command"], command);
  if (program.text === "" && program.isWhole) report.refuse(["command"], program, "is empty; expected a program");
  if (/\s/.test(command) && args.length === 0 && !command.includes("/"))
    report.warn(["command"], "is taken as the name of one program, spaces and all; its arguments go into args");
  const filledArgs = args.map((arg, index) => {
    if (/^~(?:\/|$)/.test(arg)) report.warn(["args", String(index)], "no shell reads this: ~ stays as it is; write ${HOME}");
    return report.fill(["args", String(index)], arg).text;
  });
  const variables: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    const filled = report.fill(["env", name], value);
    // As in `${KEY:-}`: with nothing to say, the variable is not set at all.
    if (filled.hasVariable && filled.text === "") continue;
    variables[name] = filled.text;
    if (isSecretName(name)) report.secrets.add(filled.text);
  }
  report.secrets.addFromArguments(filledArgs);
  return { kind: "stdio", command: program.text, args: filledArgs, env: variables, cwd: compileCwd(cwd, folder, report) };
}

function compileCwd(cwd: string | undefined, folder: string, report: EntryReport): string | undefined {
  if (cwd === undefined) return undefined;
  const filled = report.fill(["cwd"], cwd);
  if (/^~(?:\/|$)/.test(filled.text)) report.refuse(["cwd"], filled, "no shell reads this: write ${HOME} in place of ~");
  if (filled.text === "" && filled.isWhole) report.refuse(["cwd"], filled, "is empty; expected a folder");
  return path.resolve(folder, filled.text);
}

function compileHttp(kind: "http" | "sse", { headers = {}, url = "" }: ServerInput, report: EntryReport): ServerTransport {
  const compiled: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    const filled = report.fill(["headers", name], value);
    if (OWN_HEADERS.test(name)) report.problem(["headers", name], "is set by the transport itself; leave it out");
    if (!HEADER_VALUE.test(filled.text)) report.refuse(["headers", name], filled, "has a character that no header can hold");
    if (filled.hasVariable && filled.text === "") continue;
    compiled[name] = filled.text;
    report.secrets.add(filled.text);
  }
  const address = compileUrl(["url"], url, report);
  if (address?.protocol === "http:" && !LOOPBACK.test(address.hostname) && report.secrets.all.length > 0)
    report.warn(["url"], "credentials go over plain http to another host, where they can be read on the way; use https");
  return { kind, url: address?.href ?? "", headers: compiled };
}

/** An http address, checked; `undefined` when it is none, or when a variable of it is missing. */
export function compileUrl(where: readonly string[], text: string, report: EntryReport): URL | undefined {
  const filled = report.fill(where, text);
  if (!filled.isWhole) return undefined;
  const url = URL.canParse(filled.text) ? new URL(filled.text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    report.refuse(where, filled, "expected an address that begins with http:// or https://");
    return undefined;
  }
  report.secrets.addFromUrl(url);
  if (url.username !== "" || url.password !== "")
    report.refuse(where, filled, 'holds a user or password, which is never sent; write headers: {"Authorization": "Basic …"}');
  if (!filled.hasVariable && [...url.searchParams.keys()].some(isSecretName))
    report.warn(where, "holds a credential; write ${NAME} in its place, and keep the value in the environment");
  return url;
}
