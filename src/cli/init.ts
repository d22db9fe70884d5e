/** `code-mode init`: a configuration to start from, with comments. Whatever is there already stays as it is. */

import { constants } from "node:fs";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";

import { packageRoot } from "../lib/package-info.ts";
import { plainText } from "./run/ending.ts";

/** Names the keys, which no repository should hold. */
const IGNORED = "config/keys.json";

const SHIPPED = {
  "config/runtimes.json": "config/init/runtimes.json",
  "config/runtimes.schema.json": "config/runtimes.schema.json",
  "config/mcp-servers.json": "config/init/mcp-servers.json",
  "config/mcp-servers.schema.json": "config/mcp-servers.schema.json",
  "workspace/data/cities.csv": "workspace/data/cities.csv",
  "workspace/config/settings.json": "workspace/config/settings.json",
} as const;

const FOLDERS = ["config", "workspace/data", "workspace/config", "workspace/temp"] as const;

export async function init(folder: string): Promise<number> {
  const root = path.resolve(folder);
  try {
    const lines = await writeAll(root);
    say([...lines, "", ...nextSteps(folder)].join("\n"));
    return 0;
  } catch (error) {
    process.stderr.write(`code-mode: ${plainText(root)} could not be set up: ${(error as Error).message}\n`);
    return 1;
  }
}

/** A line for each thing that is there now. */
async function writeAll(root: string): Promise<string[]> {
  const lines: string[] = [];
  for (const name of FOLDERS) {
    const made = await mkdir(path.join(root, name), { recursive: true });
    if (made !== undefined) lines.push(`made   ${name}/`);
  }
  for (const [name, source] of Object.entries(SHIPPED)) {
    const copied = await copyNew(path.join(packageRoot, source), path.join(root, name));
    lines.push(`${copied ? "wrote " : "kept  "} ${name}`);
  }
  lines.push(`${(await ignore(path.join(root, ".gitignore"))) ? "wrote " : "kept  "} .gitignore`);
  return lines;
}

/** False when there is something of that name, be it a link that leads nowhere. */
async function copyNew(source: string, target: string): Promise<boolean> {
  try {
    await copyFile(source, target, constants.COPYFILE_EXCL);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Adds the line to the file, unless it is there. */
async function ignore(file: string): Promise<boolean> {
  const present = await readFile(file, "utf8").catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  });
  if (present.split(/\r?\n/).some((line) => line.trim().replace(/^\//, "") === IGNORED)) return false;
  const separator = present === "" || present.endsWith("\n") ? "" : "\n";
  await writeFile(file, `${separator}# Keys of callers.\n${IGNORED}\n`, { flag: "a" });
  return true;
}

function nextSteps(folder: string): string[] {
  return [
    "Next:",
    ...(path.resolve(folder) === process.cwd() ? [] : [`  cd ${folder}`]),
    "  code-mode image build          build the image that programs run in",
    "  code-mode doctor               see whether something is missing",
    `  echo 'return 6 * 7' | code-mode run -`,
    "  code-mode serve                or over HTTP, on 127.0.0.1:3210",
    "",
    "config/runtimes.json says what programs may do, config/mcp-servers.json which tools they can call.",
    "Their comments explain every setting.",
  ];
}

const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};
