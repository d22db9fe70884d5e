/**
 * The host paths that a policy makes readable: checked when the service starts, resolved again for each execution.
 *
 * A read-only mount still lets a sandbox connect to a socket, write to a FIFO or open a device in it, so a path that holds one is
 * refused. Links may be used below the workspace root as long as they stay inside it; the folder that was checked is compared by
 * identity with the one that got mounted (see `docker-sandbox.ts`).
 */

import { lstat, opendir, realpath, stat } from "node:fs/promises";
import type { Dir, Dirent, Stats } from "node:fs";
import path from "node:path";

/** Entries looked at in one readable path before giving up. */
const MAX_SCANNED_ENTRIES = 200_000;

/** A readable path that cannot be used. The message names host paths: it is for the operator. */
export class ReadablePathError extends Error {
  override readonly name = "ReadablePathError";
  /** Nothing is there under that name. */
  readonly missing: boolean;

  constructor(message: string, options: { missing?: boolean } = {}) {
    super(message);
    this.missing = options.missing ?? false;
  }
}

export interface ReadablePath {
  /** Workspace path as in the policy. */
  readonly path: string;
  /** The host's real path. */
  readonly source: string;
  readonly kind: "file" | "directory";
  /** Device and inode, as decimal text. */
  readonly device: string;
  readonly inode: string;
}

/** Resolves a workspace path on the host. Throws a {@link ReadablePathError} that names it. */
export async function resolveReadable(workspaceRoot: string, workspacePath: string): Promise<ReadablePath> {
  const written = path.join(workspaceRoot, workspacePath);
  const fail = (reason: string, missing = false): never => {
    throw new ReadablePathError(`"${workspacePath}" (${written}) ${reason}`, { missing });
  };
  let source: string;
  try {
    source = await realpath(written);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === "ENOENT" || code === "ENOTDIR" ? fail("cannot be read: it does not exist", true) : fail(`cannot be read: ${message}`);
  }
  const root = await realpath(workspaceRoot);
  if (!isInside(source, root)) return fail(`leads outside the workspace root through a link, to ${source}`);
  for (let folder = path.dirname(source); isInside(folder, root) && folder !== root; folder = path.dirname(folder)) {
    // A mount goes past the modes of what is above it. Else a request could name a path below a folder that is closed to strangers.
    if (((await lstat(folder)).mode & 0o001) === 0) return fail(`lies in ${folder}, whose mode lets no stranger in`);
  }
  const found = await lstat(source, { bigint: true });
  const kind = found.isDirectory()
    ? "directory"
    : found.isFile()
      ? "file"
      : fail(`is a ${describeKind(found)}; only files and folders can be made readable`);
  return { path: workspacePath, source, kind, device: String(found.dev), inode: String(found.ino) };
}

/** The service's own places on the host, as real paths. */
export interface ProtectedPlaces {
  /** No readable path may be one of these or contain one. */
  readonly notContained: readonly string[];
  /** Nor may it be one of these, contain one, or lie inside of one. */
  readonly closed: readonly string[];
}

/** Looks for what must not be in a readable path: sockets, FIFOs, devices, and the service's own places. */
export async function checkReadable(readable: ReadablePath, { closed, notContained }: ProtectedPlaces): Promise<void> {
  const { path: name, source } = readable;
  for (const place of [...notContained, ...closed]) {
    if (isInside(place, source)) throw new ReadablePathError(`"${name}" (${source}) contains ${place}, which programs must not read`);
  }
  for (const place of closed) {
    if (isInside(source, place)) throw new ReadablePathError(`"${name}" (${source}) lies in ${place}, which programs must not read`);
  }
  if (readable.kind === "file") return;
  let scanned = 0;
  for await (const entry of entriesBelow(readable.source)) {
    scanned += 1;
    if (scanned > MAX_SCANNED_ENTRIES) {
      throw new ReadablePathError(
        `"${readable.path}" (${readable.source}) holds more than ${MAX_SCANNED_ENTRIES} entries, too many to check; name a smaller folder`,
      );
    }
    if (!entry.isFile() && !entry.isDirectory() && !entry.isSymbolicLink()) {
      const culprit = path.join(entry.parentPath, entry.name);
      throw new ReadablePathError(
        `"${readable.path}" holds ${culprit}, a ${describeKind(entry)}: a sandbox could use it in spite of a read-only mount`,
      );
    }
  }
}

/**
 * All entries below a folder. Not with `recursive` of opendir: in Node 20 that gives of each folder below the first 32 entries only, and
 * says nothing of the others.
 */
async function* entriesBelow(top: string): AsyncGenerator<Dirent> {
  const folders = [top];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    let opened: Dir;
    try {
      opened = await opendir(folder);
    } catch (error) {
      // Gone meanwhile, as a folder where files wait that are to be kept.
      if (folder !== top && (error as NodeJS.ErrnoException).code === "ENOENT") continue;
      throw error;
    }
    for await (const entry of opened) {
      if (entry.isDirectory()) folders.push(path.join(folder, entry.name));
      yield entry;
    }
  }
}

/** True for the folder itself too. */
export const isInside = (file: string, folder: string): boolean => file === folder || file.startsWith(path.join(folder, path.sep));

function describeKind(entry: Pick<Stats, "isSocket" | "isFIFO">): string {
  return entry.isSocket() ? "socket" : entry.isFIFO() ? "FIFO" : "device";
}

/** The real paths of `places`, also of those that are yet to be made: then of the nearest folder above that is there. */
export async function realPaths(places: readonly string[]): Promise<string[]> {
  return Promise.all(places.map(realPath));
}

async function realPath(place: string): Promise<string> {
  try {
    return await realpath(place);
  } catch {
    const parent = path.dirname(place);
    return parent === place ? place : path.join(await realPath(parent), path.basename(place));
  }
}

/** True when the folder is there and can be entered. */
export async function isDirectory(folder: string): Promise<boolean> {
  return stat(folder).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
