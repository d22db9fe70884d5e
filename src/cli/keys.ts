/** `code-mode keys`: makes, lists and revokes the keys of callers. A key is shown once, when it is made; the file holds its hash. */

import { randomBytes } from "node:crypto";

import { InvalidArgumentError } from "commander";
import type { Command } from "commander";

import { addKey, KeysError, revokeKey } from "../config/edit-keys.ts";
import { readEnvironment } from "../config/environment.ts";
import type { ServiceConfig } from "../config/environment.ts";
import { quickStartKeys } from "../config/keys.ts";
import { keySchema, readKeysFile } from "../config/keys-file.ts";
import type { KeyEntry } from "../config/keys-file.ts";
import { loadRuntimes } from "../config/runtimes-file.ts";
import { hashKey } from "../domain/caller.ts";
import type { ApiKey } from "../domain/caller.ts";
import { StartupError } from "../domain/errors.ts";
import type { Endings } from "./endings.ts";
import { COMMON_EXIT_CODES, teach } from "./help.ts";
import { UsageError } from "./usage-error.ts";

/** Tells a key of this project at sight, for people and for scanners of repositories. */
const PREFIX = "cm_";
const KEY_BYTES = 32;
const REFUSED_EXIT_CODE = 1;
const CONFIGURATION_EXIT_CODE = 78;

interface AddOptions {
  readonly scope?: string[];
  readonly maxRunning?: number;
  readonly runtime?: string[];
  readonly tool?: string[];
  /** False for `--no-tools`. */
  readonly tools: boolean;
}

export function addKeys(program: Command, endings: Endings): void {
  const keys = program.command("keys").description("the keys of callers: make, list, revoke");
  teach(keys, {
    examples: [
      { command: "code-mode keys add alice", what: "make a key that can run programs" },
      { command: "code-mode keys list", what: "see which there are" },
      { command: "code-mode keys revoke alice", what: "take it away" },
    ],
    more: "docs/keys.md says what each scope allows.",
  });
  addAdd(keys, endings);
  addList(keys, endings);
  addRevoke(keys, endings);
}

function addAdd(keys: Command, { onExit }: Endings): void {
  const command = keys
    .command("add")
    .description("make a key and print it to stdout, once; the file gets its hash")
    .argument("<name>", "who will use it; shows in the log")
    .option("--scope <scopes>", "what it may do: execute, admin, audit, metrics; separated by commas; default: execute", collectList)
    .option("--max-running <n>", "how many executions it may have running at once", parseCount)
    .option("--runtime <names>", "the runtimes that it may use, the first by default; separated by commas; default: all", collectList)
    .option("--tool <patterns>", 'the tools that its programs may call, such as "memory.*"; separated by commas; default: all', collectList)
    .option("--no-tools", "its programs may call none")
    .action(async (name: string, options: AddOptions) => {
      onExit(await reporting(() => add(name, options)));
    });
  teach(command, {
    examples: [
      { command: "code-mode keys add alice", what: "a key that can run programs, and sees its own executions" },
      { command: "code-mode keys add ops --scope execute,admin", what: "one that also sees and cancels those of others" },
      { command: "code-mode keys add batch --max-running 4 --runtime node", what: "one with limits" },
      { command: "code-mode keys add notes --tool 'memory.*,automem.recall_memory'", what: "one whose programs may call these tools only" },
      { command: "KEY=$(code-mode keys add ci)", what: "keep it in a variable: nothing else goes to stdout" },
    ],
    exitCodes: [[0, "the key is made"], [1, "it is not, and the file is as it was"], ...COMMON_EXIT_CODES],
    environment: ["CODE_MODE_API_KEYS_FILE", "CODE_MODE_CONFIG_DIR"],
    more: "A running service takes the key within two seconds.",
  });
}

function addList(keys: Command, { onExit }: Endings): void {
  const command = keys
    .command("list")
    .description("list the keys, without the keys themselves: nobody has those")
    .option("--json", "print a JSON list")
    .action(async ({ json = false }: { json?: boolean }) => {
      onExit(await reporting(() => list(json)));
    });
  teach(command, {
    examples: [
      { command: "code-mode keys list", what: "as a table" },
      { command: "code-mode keys list --json | jq -r '.[].name'", what: "for a script" },
    ],
    exitCodes: [[0, "they are listed"], ...COMMON_EXIT_CODES],
    environment: ["CODE_MODE_API_KEYS_FILE", "CODE_MODE_CONFIG_DIR"],
  });
}

function addRevoke(keys: Command, { onExit }: Endings): void {
  const command = keys
    .command("revoke")
    .description("take a key away; a running service refuses it within two seconds")
    .argument("<name>", "as in `code-mode keys list`")
    .action(async (name: string) => {
      onExit(await reporting(() => revoke(name)));
    });
  teach(command, {
    examples: [{ command: "code-mode keys revoke alice", what: "what it has running ends by itself; a key with admin can cancel it" }],
    exitCodes: [[0, "it is gone"], [1, "there is none of that name, or the file cannot be changed"], ...COMMON_EXIT_CODES],
    environment: ["CODE_MODE_API_KEYS_FILE", "CODE_MODE_CONFIG_DIR"],
  });
}

async function add(name: string, { maxRunning, runtime, scope = ["execute"], tool, tools: some }: AddOptions): Promise<void> {
  if (!some && tool !== undefined) throw new UsageError("--no-tools and --tool contradict each other: give one of them");
  const tools = some ? tool : [];
  const config = readEnvironment();
  const key = `${PREFIX}${randomBytes(KEY_BYTES).toString("base64url")}`;
  const entry = checkEntry({
    name,
    sha256: hashKey(key),
    scopes: scope,
    ...(maxRunning === undefined ? {} : { maxRunning }),
    ...(runtime === undefined ? {} : { runtimes: runtime }),
    ...(tools === undefined ? {} : { tools }),
    createdAt: new Date().toISOString(),
  });
  await addKey(entry, config.keys, { file: config.keysFile });
  process.stdout.write(`${key}\n`);
  tell(`The key "${name}" is in ${config.keysFile}, by its hash. It is shown this once: keep it now.`);
  tell("A caller sends it as the header  Authorization: Bearer <key>");
  for (const warning of await findUnknownRuntimes(config, entry)) tell(`Warning: ${warning}`);
}

/** The options as an entry of the file. Throws a {@link UsageError} that names the option. */
function checkEntry(entry: object): KeyEntry {
  const options: Readonly<Record<string, string>> = {
    name: "NAME",
    scopes: "--scope",
    maxRunning: "--max-running",
    runtimes: "--runtime",
    tools: "--tool",
  };
  const { data, error } = keySchema.safeParse(entry);
  if (data !== undefined) return data;
  throw new UsageError(
    error.issues.map(({ message, path: [field] }) => `${options[String(field)] ?? String(field)}: ${message}`).join("\n"),
  );
}

async function findUnknownRuntimes({ runtimesFile }: ServiceConfig, { runtimes = [] }: KeyEntry): Promise<string[]> {
  const known = await loadRuntimes(runtimesFile).catch(() => undefined);
  if (known === undefined) return [];
  return runtimes.filter((name) => !known.runtimes.has(name)).map((name) => `${runtimesFile} has no runtime "${name}"`);
}

async function list(json: boolean): Promise<void> {
  const { keys: quickStart, keysFile } = readEnvironment();
  const file = await readKeysFile(keysFile);
  for (const warning of file?.warnings ?? []) tell(`Warning: ${warning}`);
  const keys: (ApiKey & { createdAt?: string | undefined; from: string })[] = [
    ...quickStartKeys(quickStart).map((key) => ({ ...key, from: "CODE_MODE_API_KEYS" })),
    ...(file?.keys ?? []).map((key) => ({ ...key, from: keysFile })),
  ];
  if (json) {
    process.stdout.write(
      `${JSON.stringify(
        keys.map(({ sha256: _, ...shown }) => shown),
        undefined,
        2,
      )}\n`,
    );
    return;
  }
  if (keys.length === 0) {
    tell(
      file === undefined
        ? `There are no keys: ${keysFile} is not there. Whoever reaches the service can use it.`
        : `${keysFile} holds no key: nobody gets in.`,
    );
    return;
  }
  const rows = keys.map(({ createdAt = "", from, maxRunning = "", name, runtimes = ["all"], scopes, tools = ["all"] }) => [
    name,
    scopes.join(","),
    String(maxRunning),
    runtimes.join(","),
    tools.join(",") || "none",
    from === keysFile ? createdAt.slice(0, 10) : `from ${from}`,
  ]);
  process.stdout.write(table([["NAME", "SCOPES", "MAX RUNNING", "RUNTIMES", "TOOLS", "MADE"], ...rows]));
}

async function revoke(name: string): Promise<void> {
  const { keys: quickStart, keysFile } = readEnvironment();
  if (quickStart.some((key) => key.name === name)) {
    throw new KeysError(`the key "${name}" comes from CODE_MODE_API_KEYS: take it out there, and start the service again`);
  }
  await revokeKey(name, { file: keysFile });
  tell(`The key "${name}" is revoked: a running service refuses it within two seconds. What it has running ends by itself.`);
}

/** Prints why a change was refused, or what is wrong with the configuration, and gives the exit code. */
async function reporting(command: () => Promise<void>): Promise<number> {
  try {
    await command();
    return 0;
  } catch (error) {
    const isRefused = error instanceof KeysError;
    if (!isRefused && !(error instanceof StartupError)) throw error;
    for (const problem of isRefused ? [error.message] : error.problems) tell(`code-mode: ${problem}`);
    return isRefused ? REFUSED_EXIT_CODE : CONFIGURATION_EXIT_CODE;
  }
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}

function collectList(text: string, earlier: string[] = []): string[] {
  return [...earlier, ...text.split(",").map((entry) => entry.trim())];
}

function parseCount(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError("expected a whole number");
  return Number(text);
}

const tell = (line: string): void => {
  process.stderr.write(`${line}\n`);
};
