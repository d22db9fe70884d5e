/** The command line: which commands there are, and what their help teaches. Each does its work in a module of its own. */

import { Command } from "commander";

import { packageVersion } from "../lib/package-info.ts";
import { addAudit } from "./audit.ts";
import { doctor } from "./doctor.ts";
import type { DoctorOptions } from "./doctor.ts";
import type { Endings } from "./endings.ts";
import { COMMON_EXIT_CODES, teach } from "./help.ts";
import { buildImages, pruneImages } from "./image.ts";
import { listImages } from "./image-list.ts";
import { init } from "./init.ts";
import { addKeys } from "./keys.ts";
import { addRun } from "./run/command.ts";
import { serve } from "./serve.ts";
import { addTools } from "./tools/command.ts";

/** Builds the command line. Parsing throws a `CommanderError` for wrong usage. */
export function createProgram(endings: Endings): Command {
  const program = new Command("code-mode")
    .description("Runs untrusted code, each program in its own locked-down container: from the command line, or over HTTP")
    .version(packageVersion())
    .usage("COMMAND [options]")
    .exitOverride();
  teach(program, {
    examples: [
      { command: "code-mode init", what: "write a configuration to start from, with comments" },
      { command: "code-mode image build", what: "build the images that it needs; once, and after an update" },
      { command: "code-mode doctor", what: "look for what is missing, and say how to mend it" },
      { command: "code-mode run hello.ts", what: "run a program in a sandbox of its own" },
      { command: "code-mode serve", what: "start the HTTP service on 127.0.0.1:3210" },
    ],
    more: "Settings come from config/runtimes.json and from environment variables; see docs/configuration.md.",
  });
  addRun(program, endings);
  addServe(program, endings);
  addInit(program, endings);
  addDoctor(program, endings);
  addImage(program, endings);
  addKeys(program, endings);
  addTools(program, endings);
  addAudit(program, endings);
  return program;
}

function addServe(program: Command, { exitNow, onExit }: Endings): void {
  const command = program
    .command("serve")
    .description("start the service and run until SIGTERM or SIGINT; SIGHUP reloads the configuration")
    .action(async () => {
      onExit(await serve(exitNow));
    });
  teach(command, {
    examples: [
      { command: "code-mode serve", what: "listen on 127.0.0.1:3210" },
      { command: "CODE_MODE_PORT=8080 code-mode serve", what: "listen on another port" },
      {
        command: "CODE_MODE_HOST=0.0.0.0 CODE_MODE_API_KEYS=alice:0123456789abcdef code-mode serve",
        what: "listen on every address, with a key that callers must send",
      },
    ],
    exitCodes: [[0, "it was stopped"], ...COMMON_EXIT_CODES],
    environment: ["CODE_MODE_HOST", "CODE_MODE_PORT", "CODE_MODE_CONFIG_DIR", "CODE_MODE_API_KEYS_FILE", "CODE_MODE_API_KEYS", "LOG_LEVEL"],
    more: "docs/configuration.md lists every variable.",
  });
}

function addInit(program: Command, { onExit }: Endings): void {
  const command = program
    .command("init")
    .description("write a commented configuration to start from; nothing that is there is changed")
    .argument("[folder]", "where config/ and workspace/ go", ".")
    .action(async (folder: string) => {
      onExit(await init(folder));
    });
  teach(command, {
    examples: [
      { command: "code-mode init", what: "in this folder" },
      { command: "code-mode init sandbox", what: "in another one, which is made" },
    ],
    exitCodes: [
      [0, "everything is there"],
      [1, "something could not be written"],
      [2, "wrong usage"],
    ],
  });
}

function addDoctor(program: Command, { onExit }: Endings): void {
  const command = program
    .command("doctor")
    .description("look at host, engine, images and configuration; say what is missing and how to mend it")
    .option("--json", "print one JSON object")
    .option("--strict", "exit with 1 for warnings too")
    .option("--no-canary", "start no sandbox")
    .option("--servers", "connect to each enabled MCP server: its credentials, its tools")
    .action(async ({ canary, json = false, servers = false, strict = false }: Partial<DoctorOptions> & Pick<DoctorOptions, "canary">) => {
      onExit(await doctor({ json, strict, canary, servers }));
    });
  teach(command, {
    examples: [
      { command: "code-mode doctor", what: "print what was found, with remedies" },
      { command: "code-mode doctor --servers", what: "see whether MCP servers can be reached, and which tools they have" },
      { command: "code-mode doctor --json --strict", what: "for scripts" },
    ],
    exitCodes: [
      [0, "nothing fails"],
      [1, "something fails, or with --strict warns"],
      [2, "wrong usage"],
    ],
  });
}

function addImage(program: Command, { onExit }: Endings): void {
  const image = program.command("image").description("the sandbox images");
  teach(image, {
    examples: [
      { command: "code-mode image build", what: "build what config/runtimes.json needs" },
      { command: "code-mode image list", what: "see which images there are" },
    ],
  });
  const build = image
    .command("build")
    .description("build the images that config/runtimes.json needs; quick when nothing changed")
    .option("--refresh", "build anew although nothing changed, with the newest Debian packages and modules")
    .action(async (options: { refresh?: boolean }) => {
      onExit(await buildImages({ refresh: options.refresh ?? false }));
    });
  teach(build, {
    examples: [
      { command: "code-mode image build", what: "build what is missing" },
      { command: "code-mode image build --refresh", what: "build again, to get security updates of Debian and of modules" },
    ],
    exitCodes: [[0, "the images are there"], [1, "one could not be built"], ...COMMON_EXIT_CODES],
    environment: ["CODE_MODE_CONFIG_DIR", "DOCKER_HOST"],
  });
  const list = image
    .command("list")
    .description("show which images there are, what is in them, and which runtimes use them")
    .option("--json", "print one JSON object, with every package and its version")
    .action(async (options: { json?: boolean }) => {
      onExit(await listImages({ json: options.json ?? false }));
    });
  teach(list, {
    examples: [
      { command: "code-mode image list", what: "what is there, what is missing, what is not needed" },
      { command: "code-mode image list --json", what: "for scripts" },
    ],
    exitCodes: [[0, "it was printed"], ...COMMON_EXIT_CODES],
    environment: ["CODE_MODE_CONFIG_DIR", "DOCKER_HOST"],
  });
  const prune = image
    .command("prune")
    .description("remove images that the configuration does not need and no container uses")
    .option("--all", "remove those that it needs too")
    .action(async (options: { all?: boolean }) => {
      onExit(await pruneImages({ all: options.all ?? false }));
    });
  teach(prune, {
    examples: [
      { command: "code-mode image prune", what: "remove what is not needed any more" },
      { command: "code-mode image prune --all", what: "remove everything that was built" },
    ],
    exitCodes: [[0, "they are gone"], [1, "one is still in use"], ...COMMON_EXIT_CODES],
    environment: ["CODE_MODE_CONFIG_DIR", "DOCKER_HOST"],
  });
}
