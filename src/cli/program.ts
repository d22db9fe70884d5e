/** The command line: which commands there are. Each does its work in a module of its own. */

import { Command } from "commander";

import { packageVersion } from "../lib/package-info.ts";
import { doctor } from "./doctor.ts";
import { buildImages, pruneImages } from "./image.ts";
import { serve } from "./serve.ts";

/** A command that ran to its end and says how: the exit code of the process. */
export type ExitCode = number;

/** Builds the command line; `onExit` gets the exit code of the command that ran. Parsing throws a `CommanderError` for wrong usage. */
export function createProgram(onExit: (code: ExitCode) => void): Command {
  const program = new Command("code-mode")
    .description("Runs untrusted code over HTTP, each execution in its own locked-down container")
    .version(packageVersion())
    .showHelpAfterError()
    .exitOverride()
    .addHelpText(
      "after",
      `
First steps:
  code-mode image build        build the sandbox image (once, and after an update)
  code-mode doctor             look for what is missing, and say how to mend it
  code-mode serve              start the service on 127.0.0.1:3210
  curl localhost:3210/v1/executions -H 'content-type: application/json' -d '{"code": "return 6 * 7"}'

Settings come from config/runtimes.json and from environment variables; see docs/configuration.md.`,
    );
  program
    .command("serve")
    .description("start the service and run until SIGTERM or SIGINT")
    .action(async () => {
      onExit(await serve());
    });
  program
    .command("doctor")
    .description("look at host, engine, images and configuration; say what is missing and how to mend it")
    .option("--json", "print one JSON object")
    .option("--strict", "exit with 1 for warnings too")
    .option("--no-canary", "start no sandbox")
    .action(async (options: { json?: boolean; strict?: boolean; canary: boolean }) => {
      onExit(await doctor({ json: options.json ?? false, strict: options.strict ?? false, canary: options.canary }));
    });
  const image = program.command("image").description("the sandbox images");
  image
    .command("build")
    .description("build the images that config/runtimes.json needs; quick when nothing changed")
    .option("--refresh", "build anew although nothing changed, with the newest Debian packages")
    .action(async (options: { refresh?: boolean }) => {
      onExit(await buildImages({ refresh: options.refresh ?? false }));
    });
  image
    .command("prune")
    .description("remove images of older sources")
    .option("--all", "remove the current ones too")
    .action(async (options: { all?: boolean }) => {
      onExit(await pruneImages({ all: options.all ?? false }));
    });
  return program;
}
