/**
 * Copies a readable path into an execution's own folder: regular files and folders, capped.
 *
 * The source may change while it is copied, or be written by somebody hostile. Every step opens the next name relative to a folder
 * that is open already (through /proc/self/fd) and follows no link, so nothing outside the source can be reached.
 */

import { constants } from "node:fs";
import { lstat, mkdir, open, readdir, writeFile } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import path from "node:path";

import { ReadablePathError } from "./readable-paths.ts";

/** Caps of one snapshot. */
const SNAPSHOT_CAPS = { files: 10_000, bytes: 256 * 2 ** 20, depth: 64 } as const;

interface Copied {
  entries: number;
  bytes: number;
}

/** Copies `source` (a real path) to `target`, which must not exist; its parent must. Throws a {@link ReadablePathError} over the caps. */
export async function copySnapshot(source: string, target: string): Promise<void> {
  const copied: Copied = { entries: 0, bytes: 0 };
  const info = await lstat(source);
  if (info.isFile()) await copyFile(source, target, copied);
  else await copyFolder(source, target, copied, 0);
}

async function copyFolder(source: string, target: string, copied: Copied, depth: number): Promise<void> {
  if (depth > SNAPSHOT_CAPS.depth) throw new ReadablePathError(`a snapshot is deeper than ${SNAPSHOT_CAPS.depth} folders`);
  const folder = await openNoFollow(source, constants.O_DIRECTORY);
  if (folder === undefined) return;
  try {
    await mkdir(target, { mode: 0o755, recursive: depth === 0 });
    const through = `/proc/self/fd/${folder.fd}`;
    for (const entry of await readdir(through, { withFileTypes: true })) {
      copied.entries += 1;
      if (copied.entries > SNAPSHOT_CAPS.files) throw new ReadablePathError(`a snapshot holds more than ${SNAPSHOT_CAPS.files} entries`);
      const [from, to] = [path.join(through, entry.name), path.join(target, entry.name)];
      if (entry.isDirectory()) await copyFolder(from, to, copied, depth + 1);
      else if (entry.isFile()) await copyFile(from, to, copied);
    }
  } finally {
    await folder.close();
  }
}

async function copyFile(source: string, target: string, copied: Copied): Promise<void> {
  const file = await openNoFollow(source, 0);
  if (file === undefined) return;
  try {
    const info = await file.stat();
    // It may have become something else since its folder was read.
    if (!info.isFile()) return;
    copied.bytes += info.size;
    if (copied.bytes > SNAPSHOT_CAPS.bytes) throw new ReadablePathError(`a snapshot is larger than ${SNAPSHOT_CAPS.bytes} bytes`);
    const content = Buffer.alloc(info.size);
    const { bytesRead } = await file.read(content, 0, info.size, 0);
    await writeFile(target, content.subarray(0, bytesRead), { flag: "wx", mode: 0o644 });
  } finally {
    await file.close();
  }
}

/** Opens for reading; `undefined` for what is gone, or is a link, by now. Does not wait for the other end of a FIFO. */
async function openNoFollow(source: string, flags: number): Promise<FileHandle | undefined> {
  try {
    return await open(source, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | flags);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ELOOP" || code === "ENOTDIR" || code === "EACCES") return undefined;
    throw error;
  }
}
