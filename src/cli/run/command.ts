/** The command `run` with its options and its help. */

import type { Command } from "commander";

import type { Endings } from "../endings.ts";
import { teach } from "../help.ts";
import { collectEnvironment, collectHost, collectInput, collectText, collectTool, parseDuration, parseMemory } from "./options.ts";
import type { RunOptions } from "./options.ts";
import { run } from "./run.ts";

const NOTHING_ASKED: RunOptions = { input: [], output: [], overwrite: false, env: {}, allowHost: [], json: false };

export function addRun(program: Command, { exitNow, onExit }: Endings): void {
  const command = program
    .command("run")
    .description("run one program in a sandbox of its own, without a service; output comes as it is printed")
    .usage("[options] FILE|- [-- ARGUMENTS]")
    .argument("<file>", "the program: TypeScript or JavaScript; - reads it from stdin")
    .argument("[arguments...]", "arguments of the program, after --")
    .option("--runtime <name>", "a runtime of config/runtimes.json; default: the first one")
    .option("--input <[name=]path>", "a file or folder of this host that the program gets; repeatable", collectInput)
    .option("--out <folder>", "write the program's output files there; the folder must be new or empty")
    .option("--output <pattern>", 'which files, such as "temp/*.csv"; repeatable; default: all', collectText)
    .option("--overwrite", "replace files that are in the folder of --out")
    .option("--env <name=value>", "a variable for the program; repeatable", collectEnvironment)
    .option("--timeout <time>", "how long it may run: 500ms, 30s, 2m; may be above the runtime's ceiling", parseDuration)
    .option("--memory <size>", "its memory: 256MB, 1.5GB; may be above the runtime's ceiling", parseMemory)
    .option("--allow-host <name>", "a host that it may reach, beyond the runtime's; repeatable", collectHost)
    .option("--tool <pattern>", 'a tool that it may call: server.tool, "server.*"; repeatable; default: all of them', collectTool)
    .option("--json", "print the execution as the API would, and nothing else")
    .action(async (file: string, args: string[], given: Partial<RunOptions>) => {
      const options = { ...NOTHING_ASKED, ...given };
      onExit(await run(file, args, options, exitNow));
    });
  teach(command, {
    examples: [
      { command: "code-mode run hello.ts", what: "run it; what it returns is printed as JSON" },
      { command: "code-mode run - < hello.ts", what: "the program comes from stdin" },
      { command: "code-mode run report.ts --input sales.csv --out results", what: "a file goes in, the files that it writes come out" },
      {
        command: "code-mode run report.ts --input in/sales=exports/2025 -- --verbose",
        what: "a folder under another name, and an argument",
      },
      {
        command: "cat access.log | code-mode run count.ts --timeout 2m --memory 1GB",
        what: "stdin is the program's; more time and memory",
      },
      { command: "code-mode run notes.ts --tool 'memory.*'", what: "of the tools of mcp-servers.json it may call those of this server" },
      { command: "code-mode run hello.ts --json", what: "everything that is known of it, for a script" },
    ],
    exitCodes: [
      ["", "the program's own, and where it has none:"],
      [0, "it completed"],
      [1, "it failed without an exit code"],
      [2, "wrong usage; nothing was run"],
      [73, "it completed, but an output file could not be had or written, or a file was not kept"],
      [78, "configuration, engine or image are not as they must be; nothing was run"],
      [124, "it ran out of time"],
      [125, "it could not be run, or stdout could not be written"],
      [137, "it ran out of memory, or was killed for another reason; stderr says which"],
      [141, "the reader of stdout went away"],
      ["128+n", "it was ended by signal n; 130 and 143: you stopped it with SIGINT or SIGTERM"],
    ],
    environment: ["CODE_MODE_CONFIG_DIR", "CODE_MODE_WORKSPACE_ROOT", "CODE_MODE_STATE_DIR", "DOCKER_HOST", "LOG_LEVEL"],
    more: "LOG_LEVEL is warn here when it is not set. docs/cli.md says more.",
  });
}
