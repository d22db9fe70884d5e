/**
 * The keys file: a list of named keys, each by its hash, with scopes and limits. `code-mode keys` writes it.
 *
 * Every problem names the file, the entry and what to change, and never repeats a value: who mistakes the field may have put the key
 * itself there. A file that others of the host can write is refused: they could make keys of their own.
 */

import { constants } from "node:fs";
import { open, realpath, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import path from "node:path";

import { z } from "zod";

import { ANONYMOUS, KEY_NAME, SCOPES } from "../domain/caller.ts";
import { StartupError } from "../domain/errors.ts";
import { problemsOf } from "../domain/schema-issues.ts";
import { toolPatternsSchema } from "../domain/tool-pattern.ts";
import { parseJsonText } from "./json-text.ts";

/** Every key is compared with every request's. */
const MAX_KEYS = 1000;
const MAX_RUNTIMES = 1024;
const MAX_FILE_BYTES = 4 * 2 ** 20;

const unique = (entries: readonly string[]): boolean => new Set(entries).size === entries.length;

export const keySchema = z.strictObject({
  name: z
    .string()
    .regex(KEY_NAME, { error: "expected 1 to 64 letters, digits, _ . @ and -" })
    .refine((name) => name !== ANONYMOUS, { error: `"${ANONYMOUS}" is who comes without a key; choose another name` })
    .describe("Who it is: in the log, and as the owner of executions"),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/i, { error: "expected 64 hexadecimal digits: the SHA-256 of the key, not the key itself" })
    .toLowerCase()
    .describe("Hash of the key"),
  scopes: z
    .array(z.enum(SCOPES, { error: `expected ${SCOPES.map((scope) => JSON.stringify(scope)).join(", ")}` }), {
      error: "expected a list of scopes",
    })
    .min(1, { error: "is empty: such a key could do nothing; revoke it instead" })
    .refine(unique, { error: "a scope is given twice" })
    .describe("What it may do"),
  maxRunning: z.int().min(1).max(10_000).optional().describe("Executions that it may have running at once"),
  runtimes: z
    .array(z.string().min(1).max(256), { error: "expected a list of runtimes" })
    .min(1, { error: "expected at least one of runtimes; leave the field out to allow all" })
    .max(MAX_RUNTIMES)
    .refine(unique, { error: "an entry is given twice" })
    .optional()
    .describe("Runtimes that it may use, the first of them by default; all when left out"),
  tools: toolPatternsSchema
    .refine(unique, { error: "an entry is given twice" })
    .optional()
    .describe("Patterns of the tools that its programs may call; none for an empty list, all when left out"),
  createdAt: z.iso
    .datetime({ offset: true, error: "expected a time such as 2026-01-31T12:00:00Z" })
    .optional()
    .describe("When it was made"),
});

/** The whole file. */
const keysFileSchema = z
  .array(keySchema, { error: 'expected a list of keys: [{"name": …, "sha256": …, "scopes": ["execute"]}]' })
  .max(MAX_KEYS, { error: `holds more than ${MAX_KEYS} keys` });

export type KeyEntry = z.infer<typeof keySchema>;

export interface KeysFile {
  readonly keys: readonly KeyEntry[];
  readonly text: string;
  readonly warnings: readonly string[];
  /** Who owns it, and its mode: what replaces it should have the same. */
  readonly owner: { readonly uid: number; readonly gid: number; readonly mode: number };
}

/** The keys of a text; `file` is for messages. Throws a {@link StartupError} that lists every problem. */
export function parseKeys(text: string, file: string): KeyEntry[] {
  const json = parseJsonText(text, { isSecret: true });
  if (!json.ok) throw new StartupError(json.problems.map(({ column, line, message }) => `${file}:${line}:${column}: ${message}`));
  const parsed = keysFileSchema.safeParse(json.value);
  if (!parsed.success) {
    const problems = parsed.error.issues.flatMap((issue) => problemsOf(issue, "is no known setting"));
    throw new StartupError(
      problems.map(({ message, path: [index, ...field] }) =>
        index === undefined
          ? `${file}: ${message}`
          : `${file}: ${[describeEntry(json.value, Number(index)), field.join("."), message].filter(Boolean).join(": ")}`,
      ),
    );
  }
  const problems = findTwins(parsed.data).map((problem) => `${file}: ${problem}`);
  if (problems.length > 0) throw new StartupError(problems);
  return parsed.data;
}

/** Executions belong to a name, so each has one key; and one key is one caller. */
function findTwins(keys: readonly KeyEntry[]): string[] {
  const problems: string[] = [];
  const byName = new Map<string, number>();
  const byHash = new Map<string, number>();
  for (const [index, { name, sha256 }] of keys.entries()) {
    const namesake = byName.get(name);
    const twin = byHash.get(sha256);
    if (namesake !== undefined)
      problems.push(`${describeEntry(keys, index)}: name: entry ${namesake + 1} has it too; each key needs a name of its own`);
    if (twin !== undefined)
      problems.push(`${describeEntry(keys, index)}: sha256: ${describeEntry(keys, twin)} has it too; give each its own key`);
    byName.set(name, index);
    byHash.set(sha256, index);
  }
  return problems;
}

/** An entry by its place, counted from 1, and by its name, if that can be one. */
export function describeEntry(keys: unknown, index: number): string {
  const entry: unknown = Array.isArray(keys) ? keys[index] : undefined;
  const name = typeof entry === "object" && entry !== null && "name" in entry ? entry.name : undefined;
  return `entry ${index + 1}${typeof name === "string" && KEY_NAME.test(name) ? ` ("${name}")` : ""}`;
}

/** Reads and checks the file; `undefined` when there is none. Throws a {@link StartupError} that lists every problem. */
export async function readKeysFile(file: string): Promise<KeysFile | undefined> {
  let handle: FileHandle;
  try {
    // Without O_NONBLOCK a FIFO would be waited for.
    handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const { code = "unknown error" } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    throw new StartupError([`${file}: cannot be read (${code}). The user of the service must be able to read it`], error);
  }
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw new StartupError([`${file}: is no regular file`]);
    if (found.size > MAX_FILE_BYTES) throw new StartupError([`${file}: is larger than ${MAX_FILE_BYTES} bytes`]);
    const warnings = await judgeAccess(file, found);
    const text = await handle.readFile("utf8");
    return { keys: parseKeys(text, file), text, warnings, owner: { uid: found.uid, gid: found.gid, mode: found.mode & 0o777 } };
  } finally {
    await handle.close();
  }
}

/**
 * Warnings about who else can read or change the file. Throws a {@link StartupError} where others can write it. A group that can read it
 * is in order: so a file of root's can be read by the service.
 */
async function judgeAccess(file: string, { mode, uid }: { readonly mode: number; readonly uid: number }): Promise<string[]> {
  const shown = (bits: number): string => `mode ${(bits & 0o7777).toString(8).padStart(4, "0")}`;
  if ((mode & 0o022) !== 0) {
    throw new StartupError([`${file}: others can write it (${shown(mode)}), and so make keys for themselves. Run: chmod 600 ${file}`]);
  }
  const folder = path.dirname(await realpath(file));
  const { mode: folderMode } = await stat(folder);
  if ((folderMode & 0o002) !== 0 && (folderMode & 0o1000) === 0) {
    throw new StartupError([`${folder}: others can replace the keys file in it (${shown(folderMode)}). Run: chmod o-w ${folder}`]);
  }
  const own = process.geteuid?.() ?? uid;
  const isForeign = uid !== own && uid !== 0;
  if (isForeign && (folderMode & 0o002) !== 0) {
    throw new StartupError([
      `${file}: belongs to another user (${uid}), in a folder where everybody can make files. Move it to one of your own`,
    ]);
  }
  return [
    ...((mode & 0o004) === 0 ? [] : [`${file}: others can read it (${shown(mode)}), and so the names of its keys. Run: chmod 600 ${file}`]),
    ...(isForeign ? [`${file}: belongs to another user (${uid}), who can make keys`] : []),
  ];
}
