#!/usr/bin/env node
/** The command line's entry: the only place that ends the process, and that prints a failure. */

import { CommanderError } from "commander";

import { createProgram } from "./cli/program.ts";
import { UsageError } from "./cli/usage-error.ts";
import { StartupError } from "./domain/errors.ts";
import { ImageBuildError } from "./sandbox/docker/image/image-error.ts";

const WRONG_USAGE_EXIT_CODE = 2;
const CONFIGURATION_EXIT_CODE = 78;

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
  process.exit(exitCode);
} catch (error) {
  // Help and version end here too, with 0. What was wrong is printed already.
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : WRONG_USAGE_EXIT_CODE);
  if (error instanceof UsageError) {
    process.stderr.write(`error: ${error.message}\n`);
    process.exit(WRONG_USAGE_EXIT_CODE);
  }
  if (error instanceof StartupError) {
    process.stderr.write(`code-mode cannot start:\n${error.problems.map((problem) => `  - ${problem}\n`).join("")}`);
    process.exit(CONFIGURATION_EXIT_CODE);
  }
  process.stderr.write(
    error instanceof ImageBuildError
      ? `code-mode: ${error.message}\n`
      : `code-mode: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  process.exit(1);
}
