/**
 * Steps through folders of the host in which somebody hostile may have planted something: each name is opened relative to a folder
 * that is open already (through /proc/self/fd), and no link is ever followed.
 */

import { constants } from "node:fs";
import { mkdir, open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";

/** Something about the folder of the host does not let files be kept. The message is for callers: it names no path of the host. */
export class PersistError extends Error {
  override readonly name = "PersistError";
}

const OPEN_FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NONBLOCK;

/** The path of a name in an open folder. */
export const inFolder = (folder: FileHandle, name: string): string => `/proc/self/fd/${folder.fd}/${name}`;

/** Opens the workspace root. The operator may have made it a link. */
export const openRoot = (workspaceRoot: string): Promise<FileHandle> => open(workspaceRoot, OPEN_FOLDER);

/** Opens a folder in an open one; `undefined` when nothing is there. Throws a {@link PersistError} for anything else than a folder. */
export async function enter(folder: FileHandle, name: string): Promise<FileHandle | undefined> {
  try {
    return await open(inFolder(folder, name), OPEN_FOLDER | constants.O_NOFOLLOW);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    if (code === "ELOOP" || code === "ENOTDIR")
      throw new PersistError("something that is no folder stands there on the host", { cause: error });
    throw error;
  }
}

/** As {@link enter}; makes the folder when nothing is there. */
export async function enterOrMake(folder: FileHandle, name: string): Promise<FileHandle> {
  const found = await enter(folder, name);
  if (found !== undefined) return found;
  const isNew = await mkdir(inFolder(folder, name)).then(
    () => true,
    (error: unknown) => {
      // Another execution keeps files in it too.
      if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
      throw error;
    },
  );
  const made = await enter(folder, name);
  if (made === undefined) throw new PersistError("its folder was taken away meanwhile");
  // mkdir's mode is subject to the umask.
  if (isNew) await made.chmod(0o755);
  return made;
}

/** Why the host refused, in words for a caller. */
export function explain(error: unknown): string {
  if (error instanceof PersistError) return error.message;
  const { code = "an unknown error" } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC" || code === "EDQUOT") return "the disk of the workspace is full";
  if (code === "EACCES" || code === "EPERM" || code === "EROFS") return "the service may not write there";
  if (code === "EXDEV") return "a file system of its own is mounted there";
  if (code === "ENOENT" || code === "ESTALE") return "its folder was taken away meanwhile";
  return `the disk of the workspace failed with ${code}`;
}
