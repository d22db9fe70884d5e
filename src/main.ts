#!/usr/bin/env node
/** The command line's entry: the only place that ends the process, and that prints a failure. */

import { CommanderError } from "commander";

import { createProgram } from "./cli/program.ts";
import { plainText } from "./cli/run/ending.ts";
import { UsageError } from "./cli/usage-error.ts";
import { StartupError } from "./domain/errors.ts";
import { ImageBuildError } from "./sandbox/docker/image/image-error.ts";

const WRONG_USAGE_EXIT_CODE = 2;
const CONFIGURATION_EXIT_CODE = 78;

// A reader that has enough, such as `head`, is no failure.
process.stdout.on("error", () => undefined);
try {
  let exitCode = 0;
  const program = createProgram({
    onExit: (code) => {
      exitCode = code;
    },
    exitNow: (code) => {
      process.exit(code);
    },
  });
  // Alone it prints help, as an answer and not as an error.
  await program.parseAsync(process.argv.length > 2 ? process.argv : [...process.argv, "--help"]);
  await end(exitCode);
} catch (error) {
  // Help and version end here too, with 0. What was wrong is printed already.
  if (error instanceof CommanderError) await end(error.exitCode === 0 ? 0 : WRONG_USAGE_EXIT_CODE);
  if (error instanceof UsageError) {
    // It may name files, and those of an input folder are a stranger's.
    process.stderr.write(`error: ${plainText(error.message)}\n`);
    process.exit(WRONG_USAGE_EXIT_CODE);
  }
  if (error instanceof StartupError) {
    process.stderr.write(`code-mode cannot start:\n${error.problems.map((problem) => `  - ${problem}\n`).join("")}`);
    process.exit(CONFIGURATION_EXIT_CODE);
  }
  if (error instanceof ImageBuildError) {
    process.stderr.write(`code-mode: ${error.message}\n`);
    process.exit(error.reason === "engine_unavailable" ? CONFIGURATION_EXIT_CODE : 1);
  }
  process.stderr.write(`code-mode: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exit(1);
}

/** Ends the process once all that was printed is out: a pipe takes no more than its reader does. A reader that is gone ends the wait. */
async function end(exitCode: number): Promise<never> {
  await new Promise<void>((resolve) => {
    process.stdout.write("", () => {
      resolve();
    });
  });
  process.exit(exitCode);
}
