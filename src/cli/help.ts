/** What `--help` teaches beyond the options: examples to copy, exit codes, the environment that counts. */

import type { Command } from "commander";

import { environmentSchema } from "../config/environment.ts";

export interface Example {
  readonly command: string;
  readonly what: string;
}

export interface Teaching {
  readonly examples: readonly [Example, ...Example[]];
  readonly exitCodes?: readonly (readonly [code: number | string, what: string])[];
  readonly environment?: readonly (keyof typeof environmentSchema.shape)[];
  /** What does not fit elsewhere; at the end. */
  readonly more?: string;
}

const WRONG_USAGE = [2, "wrong usage"] as const;
const WRONG_CONFIGURATION = [78, "configuration, engine or image are not as they must be; the message says what to mend"] as const;
/** Of every command that looks at the configuration. */
export const COMMON_EXIT_CODES = [WRONG_USAGE, WRONG_CONFIGURATION] as const;

/** Adds the texts to a command's help, and a short answer to wrong usage that leads there. */
export function teach(command: Command, { environment = [], examples, exitCodes = [], more }: Teaching): Command {
  const sections = [
    section(
      "Examples",
      examples.map((example) => `${example.command}\n      ${example.what}`),
    ),
    section("Exit codes", columns(exitCodes.map(([code, what]) => [String(code), what]))),
    section("Environment", columns(environment.map((name) => [name, describeVariable(name)]))),
    more === undefined ? "" : `\n${more}\n`,
  ];
  command.addHelpText("after", () => sections.join("").trimEnd());
  return command.showHelpAfterError(`\nUsage: ${fullName(command)} ${command.usage()}\n\`${fullName(command)} --help\` explains it.`);
}

function section(title: string, entries: readonly string[]): string {
  return entries.length === 0 ? "" : `\n${title}:\n${entries.map((entry) => `  ${entry}\n`).join("")}`;
}

function columns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(0, ...rows.map(([name]) => name.length));
  return rows.map(([name, what]) => `${name.padEnd(width)}  ${what}`);
}

function describeVariable(name: keyof typeof environmentSchema.shape): string {
  return environmentSchema.shape[name].description ?? "";
}

function fullName(command: Command): string {
  return command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`;
}
