/** The commands `tools list` and `tools call` with their options and their help. */

import type { Command } from "commander";

import type { Endings } from "../endings.ts";
import { COMMON_EXIT_CODES, teach } from "../help.ts";
import { parseDuration } from "../run/options.ts";
import { collectArgument } from "./arguments.ts";
import { callTool } from "./call.ts";
import type { CallOptions } from "./call.ts";
import { listTools } from "./list.ts";
import type { ListOptions } from "./list.ts";

const ENVIRONMENT = ["CODE_MODE_CONFIG_DIR", "MCP_CLIENT_TIMEOUT", "MCP_SECURITY_ENABLED", "LOG_LEVEL"] as const;
const MORE = "The servers are connected from this process, beside those of a running service. LOG_LEVEL is error here when it is not set.";

export function addTools(program: Command, endings: Endings): void {
  const tools = program.command("tools").description("the tools of the MCP servers in config/mcp-servers.json: list, call");
  teach(tools, {
    examples: [
      { command: "code-mode tools list", what: "see what programs can call, and which server is down for which reason" },
      { command: "code-mode tools call memory.read_graph", what: "call one" },
    ],
    more: "docs/tools.md says how programs call them.",
  });
  addList(tools, endings);
  addCall(tools, endings);
}

function addList(tools: Command, { exitNow, onExit }: Endings): void {
  const command = tools
    .command("list")
    .description("connect to the servers, and print their tools: how each is called, and why one cannot be")
    .option("--server <name>", "this server only")
    .option("--json", "print one JSON object: the servers, and the tools with their schemas")
    .option("--wait <time>", "how long to wait for connections; default: 15s", parseDuration)
    .action(async (options: ListOptions) => {
      onExit(await listTools(options, exitNow));
    });
  teach(command, {
    examples: [
      { command: "code-mode tools list", what: "of all servers" },
      { command: "code-mode tools list --server memory", what: "of one, without a connection to the others" },
      { command: "code-mode tools list --json | jq -r '.tools[].signature'", what: "for a script" },
    ],
    exitCodes: [[0, "every server is connected, or disabled"], [1, "one is not; what is known was printed"], ...COMMON_EXIT_CODES],
    environment: ENVIRONMENT,
    more: MORE,
  });
}

function addCall(tools: Command, { exitNow, onExit }: Endings): void {
  const command = tools
    .command("call")
    .description("call a tool once, and print its result as JSON")
    .argument("<server.tool>", "the server as in mcp-servers.json, and a tool's name, alias or function")
    .argument("[json]", "the arguments: a JSON object, or a list of positional ones")
    .option("--arg <name=value>", "an argument, in place of JSON; its value is JSON, or else text; repeatable", collectArgument)
    .option("--timeout <time>", "how long the call may take: 500ms, 30s, 2m; the server's limit counts where it is shorter", parseDuration)
    .option("--wait <time>", "how long to wait for the connection; default: 15s", parseDuration)
    .action(async (target: string, json: string | undefined, options: CallOptions) => {
      onExit(await callTool(target, json, options, exitNow));
    });
  teach(command, {
    examples: [
      { command: "code-mode tools call memory.read_graph", what: "without arguments" },
      { command: "code-mode tools call memory.search_nodes --arg query=sandbox", what: "an argument by its name" },
      { command: "code-mode tools call automem.recall '[\"sandbox\",5]'", what: "positional ones, as a program would give them" },
    ],
    exitCodes: [
      [0, "the result was printed"],
      [1, "the call failed; stderr has the code and the message of the ToolError"],
      ...COMMON_EXIT_CODES,
      ["128+n", "it was ended by signal n; the tool may have run"],
    ],
    environment: ENVIRONMENT,
    more: `What the lists of mcp-servers.json keep from programs is refused here too. ${MORE}`,
  });
}
