/**
 * Copies a readable path into an execution's own folder: regular files and folders, capped.
 *
 * The source may change while it is copied, or be written by somebody hostile. Every step opens the next name relative to a folder
 * that is open already (through /proc/self/fd) and follows no link, so nothing outside the source can be reached. The service may read
 * what a stranger may not; so a copy keeps the modes, as far as they are about reading, and a sandbox sees no more than in a mount.
 */

import { constants } from "node:fs";
import { chmod, mkdir, open, readdir } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import path from "node:path";

import { ReadablePathError } from "./readable-paths.ts";
import type { ReadablePath } from "./readable-paths.ts";

/** Caps of one snapshot. */
const SNAPSHOT_CAPS = { files: 10_000, bytes: 256 * 2 ** 20, depth: 64 } as const;

const PIECE_BYTES = 256 * 2 ** 10;

interface Copied {
  entries: number;
  bytes: number;
}

/**
 * Copies what was resolved to `target`, which must not exist; its parent must. Throws a {@link ReadablePathError} over the caps, and
 * when something else has taken the place of what was resolved.
 */
export async function copySnapshot(readable: ReadablePath, target: string): Promise<void> {
  const copied: Copied = { entries: 0, bytes: 0 };
  const source = await openNoFollow(readable.source, readable.kind === "directory" ? constants.O_DIRECTORY : 0);
  if (source === undefined) throw new ReadablePathError(`"${readable.path}" is gone`);
  try {
    const { dev, ino } = await source.stat({ bigint: true });
    if (String(dev) !== readable.device || String(ino) !== readable.inode)
      throw new ReadablePathError(`"${readable.path}" changed meanwhile`);
    await (readable.kind === "directory" ? copyFolder(source, target, copied, 0) : copyFile(source, target, copied));
  } finally {
    await source.close();
  }
}

async function copyFolder(folder: FileHandle, target: string, copied: Copied, depth: number): Promise<void> {
  if (depth > SNAPSHOT_CAPS.depth) throw new ReadablePathError(`a snapshot is deeper than ${SNAPSHOT_CAPS.depth} folders`);
  await mkdir(target, { recursive: depth === 0 });
  const through = `/proc/self/fd/${folder.fd}`;
  for (const entry of await readdir(through, { withFileTypes: true })) {
    copied.entries += 1;
    if (copied.entries > SNAPSHOT_CAPS.files) throw new ReadablePathError(`a snapshot holds more than ${SNAPSHOT_CAPS.files} entries`);
    if (!entry.isDirectory() && !entry.isFile()) continue;
    const source = await openNoFollow(path.join(through, entry.name), entry.isDirectory() ? constants.O_DIRECTORY : 0);
    if (source === undefined) continue;
    try {
      const to = path.join(target, entry.name);
      await (entry.isDirectory() ? copyFolder(source, to, copied, depth + 1) : copyFile(source, to, copied));
    } finally {
      await source.close();
    }
  }
  await chmod(target, 0o700 | ((await folder.stat()).mode & 0o055));
}

/** Copies piece by piece, so that a large file is never in memory as a whole. It may grow meanwhile: what is read counts. */
async function copyFile(source: FileHandle, target: string, copied: Copied): Promise<void> {
  // It may have become something else since its folder was read.
  const found = await source.stat();
  if (!found.isFile()) return;
  const copy = await open(target, "wx", 0o600);
  try {
    await copy.chmod(0o600 | (found.mode & 0o044));
    const piece = Buffer.allocUnsafe(PIECE_BYTES);
    for (;;) {
      const { bytesRead } = await source.read(piece, 0, PIECE_BYTES);
      if (bytesRead === 0) return;
      copied.bytes += bytesRead;
      if (copied.bytes > SNAPSHOT_CAPS.bytes) throw new ReadablePathError(`a snapshot is larger than ${SNAPSHOT_CAPS.bytes} bytes`);
      await copy.write(piece, 0, bytesRead);
    }
  } finally {
    await copy.close();
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
