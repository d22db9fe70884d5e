/**
 * Changes the keys file, so that no entry and no comment of it is ever lost.
 *
 * One change at a time, by a lock file. The new text is checked like any other, written beside the file, brought to the disk, and put in
 * its place in one step: whoever reads sees the one or the other. A file that cannot be used is left as it is.
 */

import { randomBytes } from "node:crypto";
import { open, realpath, rename, rm, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";

import { applyEdits, createScanner, modify, parseTree } from "jsonc-parser";

import type { QuickStartKey } from "./environment.ts";
import { findClashes } from "./keys.ts";
import { parseKeys, readKeysFile } from "./keys-file.ts";
import type { KeyEntry, KeysFile } from "./keys-file.ts";

const LOCK_WAIT_MS = 5000;
const LOCK_RETRY_MS = 25;
const NEW_FILE_MODE = 0o600;
/** What a file may keep of its mode: a group that reads, the service's for example. */
const KEPT_MODE = 0o640;
const SYNTAX = { allowTrailingComma: true, disallowComments: false };
const FORMAT = { formattingOptions: { insertSpaces: true, tabSize: 2 } };

/** A change that was not made; the file is as it was. */
export class KeysError extends Error {
  override readonly name = "KeysError";
}

export interface EditOptions {
  readonly file: string;
  readonly lockWaitMs?: number;
}

/** Adds a key. Throws a {@link KeysError} when it cannot be added, a `StartupError` when the file cannot be used. */
export function addKey(entry: KeyEntry, quickStart: readonly QuickStartKey[], options: EditOptions): Promise<void> {
  return edit(options, ({ keys, text }) => {
    const [problem] = [
      ...keys
        .filter(({ name }) => name === entry.name)
        .map(() => `there is a key "${entry.name}" already; revoke it first, or choose another name`),
      ...findClashes([entry], quickStart).map(() => `CODE_MODE_API_KEYS has a key "${entry.name}" already; choose another name`),
    ];
    if (problem !== undefined) throw new KeysError(problem);
    return insist(withEntry(text, keys.length, entry), [...keys, entry], options.file);
  });
}

/** Removes a key. Throws a {@link KeysError} when there is none of that name, a `StartupError` when the file cannot be used. */
export function revokeKey(name: string, options: EditOptions): Promise<void> {
  return edit(options, ({ keys, text }) => {
    const index = keys.findIndex((key) => key.name === name);
    if (index < 0) {
      const names = keys.map((key) => key.name).join(", ");
      throw new KeysError(`there is no key ${JSON.stringify(name)} in ${options.file}. There are: ${names || "none"}`);
    }
    return insist(withoutEntry(text, index), keys.toSpliced(index, 1), options.file);
  });
}

/** Throws where a text does not hold these entries: then the change would not be the one that was asked for. */
function insist(text: string, expected: readonly KeyEntry[], file: string): string {
  if (!isDeepStrictEqual(parseKeys(text, file), expected)) throw new Error(`${file}: the change would not come out right; it was not made`);
  return text;
}

const withEntry = (text: string, at: number, entry: KeyEntry): string =>
  applyEdits(text, modify(text, [at], entry, { ...FORMAT, isArrayInsertion: true }));

/** Takes out an entry and its comma; the comments around it stay. */
function withoutEntry(text: string, at: number): string {
  const entries = parseTree(text, [], SYNTAX)?.children ?? [];
  const [before, entry] = [entries[at - 1], entries[at]];
  if (entry === undefined) return text;
  const comma = findComma(text, entry) ?? (before === undefined ? undefined : findComma(text, before));
  const taken = [entry, ...(comma === undefined ? [] : [{ offset: comma, length: 1 }])];
  const rest = applyEdits(
    text,
    taken.map(({ length, offset }) => ({ offset, length, content: "" })),
  );
  // The line, if nothing else was on it.
  const place = comma !== undefined && comma < entry.offset ? entry.offset - 1 : entry.offset;
  const lineStart = rest.lastIndexOf("\n", place - 1) + 1;
  const lineEnd = rest.indexOf("\n", place) + 1;
  return lineEnd > 0 && rest.slice(lineStart, lineEnd).trim() === "" ? rest.slice(0, lineStart) + rest.slice(lineEnd) : rest;
}

/** Where the comma after an entry stands, if there is one. */
function findComma(text: string, { length, offset }: { readonly offset: number; readonly length: number }): number | undefined {
  const scanner = createScanner(text, true);
  scanner.setPosition(offset + length);
  scanner.scan();
  const found = scanner.getTokenOffset();
  return text[found] === "," ? found : undefined;
}

async function edit(
  { file, lockWaitMs = LOCK_WAIT_MS }: EditOptions,
  makeText: (found: Pick<KeysFile, "keys" | "text">) => string,
): Promise<void> {
  // A link stays one: what it leads to is replaced.
  const target = await realpath(file).catch(() => file);
  await locked(`${target}.lock`, lockWaitMs, async () => {
    const found = await readKeysFile(target);
    const { keys, text } = found ?? { keys: [], text: "[]\n" };
    await replace(target, makeText({ keys, text: text.replace(/^\uFEFF/, "") }), found?.owner);
  });
}

/** Writes a file in one step. */
async function replace(file: string, text: string, owner: KeysFile["owner"] | undefined): Promise<void> {
  const folder = path.dirname(file);
  const temporary = `${file}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    const handle = await open(temporary, "wx", NEW_FILE_MODE);
    try {
      await handle.writeFile(text);
      await keepOwner(handle, owner ?? (await ownerOfNew(folder)));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw cannotWrite(file, error);
  }
  // The name is on the disk when the folder is.
  const handle = await open(folder, "r");
  await handle.sync().finally(() => handle.close());
}

/** Root gives a new file to the owner of the folder, who may well be the user of the service. */
async function ownerOfNew(folder: string): Promise<KeysFile["owner"]> {
  const { gid, uid } = process.geteuid?.() === 0 ? await stat(folder) : { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
  return { uid, gid, mode: NEW_FILE_MODE };
}

/** The service must be able to read the new file as it could the old one. */
async function keepOwner(handle: FileHandle, { gid, mode, uid }: KeysFile["owner"]): Promise<void> {
  const own = await handle.stat();
  if (own.uid !== uid || own.gid !== gid) await handle.chown(uid, gid);
  await handle.chmod((mode & KEPT_MODE) | NEW_FILE_MODE);
}

/** Holds the lock file for the time of the action. One that a killed command left is for a human to remove: it may belong to a living one. */
async function locked(lock: string, waitMs: number, action: () => Promise<void>): Promise<void> {
  const handle = await acquireLock(lock, performance.now() + waitMs);
  try {
    await handle.writeFile(`${process.pid}\n`);
    await action();
  } finally {
    await handle.close();
    await rm(lock, { force: true });
  }
}

async function acquireLock(lock: string, endsAt: number): Promise<FileHandle> {
  for (;;) {
    try {
      return await open(lock, "wx", NEW_FILE_MODE);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw cannotWrite(lock, error);
      if (performance.now() > endsAt)
        throw new KeysError(`another command changes the keys: ${lock} is there. If none runs, one was killed; then remove that file`);
      await sleep(LOCK_RETRY_MS);
    }
  }
}

function cannotWrite(file: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === undefined) return error;
  const folder = path.dirname(file);
  const reason =
    {
      ENOENT: `the folder ${folder} is not there; make it`,
      EACCES: `this user may not write in ${folder}`,
      EPERM: "it belongs to another user; run the command as that one, or as root",
      EROFS: "the file system is read-only",
      ENOSPC: "the disk is full",
    }[code] ?? code;
  return new KeysError(`${file} cannot be written: ${reason}`, { cause: error });
}
