/**
 * The key that seals the log, and the folder that it shares with the log's anchors. It is not where the log is: whoever can change the
 * log, and not this folder, can change nothing unnoticed.
 */

import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { link, lstat, mkdir, open, realpath, unlink } from "node:fs/promises";
import path from "node:path";

import { StartupError } from "../domain/errors.ts";

const KEY_BYTES = 32;
const KEY_TEXT = new RegExp(`^[0-9a-f]{${KEY_BYTES * 2}}\\s*$`);
const OTHERS = 0o077;

/** Reads the key; makes one where there is none. Throws a {@link StartupError} that says what to mend. */
export async function openAuditKey(keyFile: string, logFolder: string): Promise<Buffer> {
  try {
    await mkdir(path.dirname(keyFile), { recursive: true, mode: 0o700 });
    await refuseSharedFolder(keyFile, logFolder);
    await makeKey(keyFile);
    return await readAuditKey(keyFile);
  } catch (error) {
    if (error instanceof StartupError) throw error;
    throw unusable(keyFile, `cannot be used: ${(error as Error).message}`, error);
  }
}

/** Reads a key that is there. Throws a {@link StartupError}. */
export async function readAuditKey(keyFile: string): Promise<Buffer> {
  const file = await open(keyFile, constants.O_RDONLY | constants.O_NOFOLLOW).catch((error: unknown) => {
    throw unusable(keyFile, `cannot be opened: ${(error as Error).message}`, error);
  });
  try {
    const { mode } = await file.stat();
    if ((mode & OTHERS) !== 0) throw unusable(keyFile, `can be used by others than its owner; chmod 600 ${keyFile}`);
    const text = (await file.readFile({ encoding: "utf8" })).slice(0, 1024);
    if (!KEY_TEXT.test(text)) throw unusable(keyFile, `holds no key: ${KEY_BYTES * 2} hexadecimal digits are expected`);
    return Buffer.from(text.trim(), "hex");
  } finally {
    await file.close();
  }
}

/** Makes a key unless there is one. Several processes may start at once: the file appears whole, and the first one stays. */
async function makeKey(keyFile: string): Promise<void> {
  if ((await lstat(keyFile).catch(() => undefined)) !== undefined) return;
  const draft = `${keyFile}.${randomBytes(8).toString("hex")}`;
  const file = await open(draft, "wx", 0o600);
  try {
    await file.writeFile(`${randomBytes(KEY_BYTES).toString("hex")}\n`);
    await file.sync();
    await link(draft, keyFile).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    });
  } finally {
    await file.close();
    await unlink(draft);
  }
}

/** With both in one folder the seal would be worth nothing. Neither need be there yet. Throws a {@link StartupError}. */
export async function refuseSharedFolder(keyFile: string, logFolder: string): Promise<void> {
  const realOf = (folder: string): Promise<string> => realpath(folder).catch(() => path.resolve(folder));
  const [folder, log] = [await realOf(path.dirname(keyFile)), await realOf(logFolder)];
  if (folder === log || folder.startsWith(`${log}${path.sep}`))
    throw unusable(keyFile, `lies in the folder of the log, ${logFolder}: whoever could change the log could seal it again`);
}

const unusable = (keyFile: string, problem: string, cause?: unknown): StartupError =>
  new StartupError([`environment: CODE_MODE_AUDIT_KEY_FILE: ${keyFile} ${problem}`], cause);
