/**
 * The host paths that a policy makes readable: checked when the service starts, resolved again for each execution.
 *
 * A read-only mount still lets a sandbox connect to a socket, write to a FIFO or open a device in it, so a path that holds one is
 * refused. Links may be used below the workspace root as long as they stay inside it; the folder that was checked is compared by
 * identity with the one that got mounted (see `docker-sandbox.ts`).
 */

import { lstat, opendir, realpath, stat } from "node:fs/promises";
import type { Stats } from "node:fs";
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
  if (source !== root && !source.startsWith(`${root}${path.sep}`))
    return fail(`leads outside the workspace root through a link, to ${source}`);
  const found = await lstat(source, { bigint: true });
  const kind = found.isDirectory()
    ? "directory"
    : found.isFile()
      ? "file"
      : fail(`is a ${describeKind(found)}; only files and folders can be made readable`);
  return { path: workspacePath, source, kind, device: String(found.dev), inode: String(found.ino) };
}

/**
 * Looks for what must not be in a readable path: sockets, FIFOs, devices, and the service's own places.
 *
 * `protectedPaths` are real paths of the host (configuration, state, the engine's socket, the project itself).
 */
export async function checkReadable(readable: ReadablePath, protectedPaths: readonly string[]): Promise<void> {
  for (const place of protectedPaths) {
    if (place === readable.source || place.startsWith(`${readable.source}${path.sep}`)) {
      throw new ReadablePathError(`"${readable.path}" (${readable.source}) contains ${place}, which programs must not read`);
    }
  }
  if (readable.kind === "file") return;
  let scanned = 0;
  for await (const entry of await opendir(readable.source, { recursive: true })) {
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

function describeKind(entry: Pick<Stats, "isSocket" | "isFIFO">): string {
  return entry.isSocket() ? "socket" : entry.isFIFO() ? "FIFO" : "device";
}

/** The real paths of those of `places` that exist. */
export async function realPaths(places: readonly string[]): Promise<string[]> {
  const resolved = await Promise.all(places.map((place) => realpath(place).catch(() => undefined)));
  return resolved.filter((place) => place !== undefined);
}

/** True when the folder is there and can be entered. */
export async function isDirectory(folder: string): Promise<boolean> {
  return stat(folder).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
