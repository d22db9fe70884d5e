/**
 * Which programs of the packages go into an image, and who can execute them: what the specification's `executables` name, each file with
 * a group of its own. Pure.
 */

import { basename } from "node:path/posix";
import { SANDBOX_PATHS } from "../../../bridge/protocol.ts";
import { type ExecutableGroups, FIRST_GROUP, LAST_GROUP } from "./executable-groups.ts";
import { COMMAND_FOLDERS, type FilePool, type ProgramKind } from "./file-pool.ts";
import { ImageBuildError } from "./image-error.ts";
import { canonicalPath } from "./package-paths.ts";

/** A program that is in the image. */
export interface GrantedFile {
  readonly gid: number;
  readonly kind: ProgramKind;
}

export interface Grants {
  /** By path in the image. */
  readonly files: ReadonlyMap<string, GrantedFile>;
  readonly groups: ExecutableGroups;
}

/** The runtime: every sandbox executes it, so it needs no group. */
const NODE_NAMES: ReadonlySet<string> = new Set([SANDBOX_PATHS.node, basename(SANDBOX_PATHS.node)]);
const NODE_FILE = SANDBOX_PATHS.node.slice(1);

/** Throws an {@link ImageBuildError} that lists everything that cannot be granted, with what to do. */
export function grantExecutables(pool: FilePool, executables: readonly string[]): Grants {
  const found = new Map(executables.map((entry) => [entry, filesOf(pool, entry)]));
  const paths = [...new Set([...found.values()].flat())].sort();
  const problems = [
    ...executables.filter((entry) => !NODE_NAMES.has(entry) && found.get(entry)?.length === 0).map(missing),
    ...paths.flatMap((path) => missingInterpreters(pool, path, new Set(paths))),
  ];
  if (problems.length > 0) throw new ImageBuildError("executable_missing", problems.join("\n"));
  if (paths.length > LAST_GROUP - FIRST_GROUP + 1) {
    throw new ImageBuildError("executable_missing", `${paths.length} programs are too many to be allowed in one image. Name fewer.`);
  }
  const gids = new Map(paths.map((path, index) => [path, FIRST_GROUP + index]));
  const files = paths.map((path) => [path, { gid: gids.get(path) ?? 0, kind: pool.programAt(path)?.kind ?? "binary" }] as const);
  const groups = [...found].map(([entry, own]) => [entry, own.map((path) => gids.get(path) ?? 0)] as const);
  return { files: new Map(files), groups: new Map(groups) };
}

/** The files that an entry names: those of a command, of a path, or of all that is below a folder. Sorted. */
function filesOf(pool: FilePool, entry: string): string[] {
  if (NODE_NAMES.has(entry)) return [];
  const programs = entry.startsWith("/") ? below(pool, canonicalPath(entry)) : named(pool, entry);
  return [...new Set(programs)].sort();
}

function named(pool: FilePool, name: string): string[] {
  if (name.includes("/")) return [];
  const program = COMMAND_FOLDERS.map((folder) => pool.programAt(`${folder}/${name}`)).find((each) => each !== undefined);
  return program === undefined ? [] : [program.path];
}

function below(pool: FilePool, path: string): string[] {
  const program = pool.programAt(path);
  if (program !== undefined) return [program.path];
  const folder = pool.resolve(path) ?? path;
  return pool
    .paths()
    .filter((each) => each.startsWith(`${folder}/`))
    .flatMap((each) => pool.programAt(each)?.path ?? []);
}

const missing = (entry: string): string =>
  `"${entry}" can be executed according to the configuration, but no package of this runtime has it. Add the Debian package that does to ` +
  '"packages". A name that Debian makes with an install script, as an alternative (awk, vi, editor), does not exist: write the real ' +
  "one (mawk, vim.basic).";

/** A granted script runs only if its interpreter may run too. */
function missingInterpreters(pool: FilePool, path: string, granted: ReadonlySet<string>): string[] {
  const program = pool.programAt(path);
  if (program?.kind !== "script") return [];
  const isGranted = (where: string): boolean => where === NODE_FILE || granted.has(pool.programAt(where)?.path ?? "");
  return interpretersOf(program.content).flatMap((interpreter) => {
    const places = interpreter.startsWith("/")
      ? [canonicalPath(interpreter)]
      : [NODE_FILE.replace(/[^/]+$/, interpreter), ...COMMAND_FOLDERS.map((folder) => `${folder}/${interpreter}`)];
    if (places.some(isGranted)) return [];
    return [
      `"/${path}" is a script for ${interpreter}, which cannot be executed. Allow "${basename(interpreter)}" too, or leave the script out.`,
    ];
  });
}

/** What the first line of a script names: the interpreter, and for `env` also the command that it looks up. */
function interpretersOf(content: Buffer): string[] {
  const end = content.subarray(0, 256).indexOf("\n");
  const [line = ""] = content
    .subarray(0, end === -1 ? 256 : end)
    .toString("latin1")
    .split("\r");
  if (!line.startsWith("#!")) return [];
  const [interpreter = "", ...words] = line.slice(2).trim().split(/\s+/);
  if (interpreter === "") return [];
  const command = basename(interpreter) === "env" ? words.find((word) => !word.startsWith("-") && !word.includes("=")) : undefined;
  return command === undefined ? [interpreter] : [interpreter, command];
}
