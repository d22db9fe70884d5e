/** What is typed after `code-mode tools call`, as a call. Pure; what makes no sense throws a {@link UsageError} that says what would. */

import { InvalidArgumentError } from "commander";

import { clipped } from "../../domain/shown-text.ts";
import { alike } from "../../lib/similar.ts";
import { UsageError } from "../usage-error.ts";

/** Named arguments, or a list of positional ones. */
export type CallArguments = Readonly<Record<string, unknown>> | readonly unknown[];

export interface Target {
  readonly server: string;
  readonly tool: string;
}

const MAX_SHOWN = 5;

/**
 * The server and the tool that `SERVER.TOOL` means. Names of servers may hold dots, so it is not the first dot that parts the two: the
 * longest server's name that fits does.
 */
export function parseTarget(text: string, servers: readonly string[]): Target {
  const fitting = servers.filter((name) => text.startsWith(`${name}.`) && text.length > name.length + 1);
  const [server] = fitting.sort((a, b) => b.length - a.length);
  if (server !== undefined) return { server, tool: text.slice(server.length + 1) };
  const word = text.split(".", 1)[0] ?? text;
  const meant = alike(word, servers, MAX_SHOWN);
  const hint =
    servers.length === 0
      ? "mcp-servers.json has none"
      : meant.length > 0
        ? `did you mean ${meant.join(" or ")}?`
        : `there are: ${servers.slice(0, MAX_SHOWN).join(", ")}${servers.length > MAX_SHOWN ? ", …" : ""}`;
  throw new UsageError(clipped(`${text}: expected SERVER.TOOL, with a server of mcp-servers.json; ${hint}`, 1000));
}

/** `name=value`: a value that is JSON counts as that, any other as text. */
export function collectArgument(text: string, earlier: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  const split = text.indexOf("=");
  if (split <= 0) throw new InvalidArgumentError("Expected NAME=VALUE; the value is JSON, or else text.");
  const name = text.slice(0, split);
  if (Object.hasOwn(earlier, name)) throw new InvalidArgumentError(`"${name}" is given twice.`);
  const value = text.slice(split + 1);
  // A plain assignment would take `__proto__` for something else than a name.
  return Object.fromEntries([...Object.entries(earlier), [name, valueOf(value)]]);
}

/** The arguments of a call: the `--arg`s, or one text of JSON. */
export function argumentsOf(json: string | undefined, named: Readonly<Record<string, unknown>> | undefined): CallArguments {
  if (json === undefined) return named ?? {};
  if (named !== undefined) throw new UsageError("give the arguments as JSON or by --arg, not both");
  const value = parsed(json)?.value;
  if (typeof value === "object" && value !== null) return value as CallArguments;
  throw new UsageError(
    'expected the arguments as a JSON object, such as \'{"query": "x"}\', or a list of positional ones, such as \'["x", 5]\'',
  );
}

function valueOf(text: string): unknown {
  const json = parsed(text);
  return json === undefined ? text : json.value;
}

function parsed(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return undefined;
  }
}
