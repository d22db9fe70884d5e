import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";

import { Command, CommanderError } from "commander";

import { createProgram } from "../../../src/cli/program.ts";
import { EXIT_CODES } from "../../../src/cli/run/ending.ts";
import { packageRoot } from "../../../src/lib/package-info.ts";

const IGNORE = { onExit: () => undefined, exitNow: () => undefined };

/** The command line with commands that do nothing but say that they were called. */
function programOf(onCall: (name: string) => void = () => undefined): { program: Command; commands: Command[] } {
  const program = createProgram(IGNORE);
  const commands: Command[] = [];
  const visit = (command: Command): void => {
    commands.push(command);
    command.exitOverride().configureOutput({ writeErr: () => undefined, writeOut: () => undefined });
    for (const child of command.commands) visit(child);
    if (command.commands.length === 0)
      command.action(() => {
        onCall(command.name());
      });
  };
  visit(program);
  return { program, commands };
}

/** What `--help` prints. */
function helpOf(command: Command): string {
  let text = "";
  command.configureOutput({ writeOut: (part) => (text += part) });
  command.outputHelp();
  return text;
}

/** The examples of a help text. */
const examplesOf = (help: string): string[] =>
  (/\nExamples:\n((?: {2}.*\n?)+)/.exec(help)?.[1] ?? "")
    .split("\n")
    .filter((line) => /^ {2}\S/.test(line))
    .map((line) => line.trim());

/** The words that reach `code-mode` in a line of a shell. */
function argumentsOf(line: string): string[] {
  const [, words = ""] =
    /(?:^|[\s(])code-mode\b([^)]*)/.exec(line.replace(/ [<|>].*$/, (rest) => (rest.includes("code-mode") ? rest : ""))) ?? [];
  return words
    .split(/\s+/)
    .filter((word) => word !== "")
    .map((word) => word.replace(/^'(.*)'$/, "$1"));
}

describe("help", () => {
  const { commands } = programOf();
  for (const command of commands) {
    it(`of ${command.name()} has examples that parse, and runs the command that it is about`, async () => {
      const examples = examplesOf(helpOf(command));
      assert.ok(examples.length > 0, "it has no example");
      for (const example of examples) {
        const called: string[] = [];
        await programOf((name) => called.push(name)).program.parseAsync(argumentsOf(example), { from: "user" });
        assert.equal(called.length, 1, example);
        if (command.commands.length === 0) assert.equal(called[0], command.name(), example);
      }
    });
  }

  it("of run lists every exit code that is not the program's own, as docs/cli.md does", async () => {
    const run = commands.find((command) => command.name() === "run");
    const help = helpOf(run!);
    const document = await readFile(path.join(packageRoot, "docs", "cli.md"), "utf8");
    for (const code of Object.values(EXIT_CODES)) assert.ok(document.includes(`\n| ${code} | `), `${code} is not in docs/cli.md`);
    for (const code of ["0", "1", "2", "73", "78", "124", "125", "137", "141", "128\\+n"])
      assert.match(help, new RegExp(`\\n {2}${code} {2,}\\S`));
  });

  it("is where wrong usage leads, with what may have been meant", async () => {
    for (const [args, error] of [
      [["rnu"], /^error: unknown command 'rnu'\n\(Did you mean run\?\)\n\nUsage: code-mode COMMAND/],
      [
        ["run", "--timout", "1s", "x.ts"],
        /^error: unknown option '--timout'\n\(Did you mean --timeout\?\)\n\nUsage: code-mode run \[options\] FILE/,
      ],
      [["run"], /^error: missing required argument 'file'\n\nUsage: code-mode run/],
      [
        ["run", "x.ts", "--timeout", "soon"],
        /^error: option '--timeout <time>' argument 'soon' is invalid\. Expected a time such as "500ms"/,
      ],
      [["run", "x.ts", "--env", "X"], /argument 'X' is invalid\. Expected NAME=VALUE/],
      [["image", "bulid"], /Did you mean build\?/],
      [["serve", "now"], /too many arguments/],
    ] as const) {
      const { commands: all, program } = programOf();
      let text = "";
      for (const command of all) command.configureOutput({ writeErr: (part) => (text += part) });
      await assert.rejects(program.parseAsync(args, { from: "user" }), CommanderError);
      assert.match(text, error);
      assert.match(text, /\n`code-mode( \w+)* --help` explains it\.\n$/);
    }
  });
});
