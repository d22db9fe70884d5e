/**
 * Where files that are to be kept wait until the archive is whole: a hidden folder below the folder that they are for, so that the
 * disk is known to take them, and a rename is all that is left to do.
 *
 *     <kept folder>/.code-mode-<execution>-<n>/     0700: no program that reads the folder gets further
 *     <run directory>/<execution>/staging-<n>       a link that names it, for the next start if the service dies meanwhile
 */

import { constants } from "node:fs";
import { open, readdir, readlink, rm, symlink, mkdir } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import path from "node:path";

import type { PersistPart } from "../../../bridge/persist-reader.ts";
import { STAGING_PREFIX } from "../../../bridge/persist-reader.ts";
import { isWithin } from "../../../domain/sandbox-path.ts";
import { CleanupStack } from "../../../lib/cleanup-stack.ts";
import { enter, inFolder, openRoot, PersistError } from "./host-folder.ts";

/** Files that are written at once. */
const PARALLEL = 4;
const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
/** Readable for everybody, as files of a folder that other programs read; never to be executed. */
const MODE = 0o644;
const LINK_PREFIX = "staging-";

export interface StagedFile {
  /** Workspace path. */
  readonly path: string;
  readonly size: number;
  /** Where it waits. Good as long as the staging is open. */
  readonly source: string;
}

type FilePart = Extract<PersistPart, { kind: "file" }>;

export interface StagingOptions {
  readonly workspaceRoot: string;
  /** Workspace folders that are kept. */
  readonly roots: readonly string[];
  readonly executionId: string;
  /** The execution's own folder in the run directory. */
  readonly executionRoot: string;
  readonly onCleanupError: (step: string, error: unknown) => void;
}

export class Staging {
  readonly #options: StagingOptions;
  readonly #cleanup: CleanupStack;
  /** By kept folder; made when the first file for it comes. */
  readonly #folders = new Map<string, Promise<FileHandle>>();
  readonly #files: StagedFile[] = [];
  #modeIsRight: boolean | undefined;
  /** The file whose content is still coming. */
  #open: FileHandle | undefined;

  constructor(options: StagingOptions) {
    this.#options = options;
    this.#cleanup = new CleanupStack({ onError: options.onCleanupError });
  }

  get files(): readonly StagedFile[] {
    return this.#files;
  }

  /** Writes what has come. Rejects with what the disk said; what is there by then can only be removed. */
  async write(parts: readonly PersistPart[]): Promise<void> {
    const files = parts.filter((part) => part.kind === "file");
    let next = 0;
    const work = async (): Promise<void> => {
      for (let part = files[next++]; part !== undefined; part = files[next++]) await this.#writePart(part);
    };
    const outcomes = await Promise.allSettled(Array.from({ length: Math.min(PARALLEL, files.length) }, work));
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason as Error;
  }

  /** Removes what is still here. Idempotent; never throws. */
  async close(): Promise<void> {
    await this.#open?.close().catch(() => undefined);
    this.#open = undefined;
    await this.#cleanup.close();
  }

  async #writePart({ begins, ends, path: target, pieces, size }: FilePart): Promise<void> {
    const handle = begins ? await this.#newFile(target, size) : this.#open;
    if (handle === undefined) throw new Error("a part of a file without its beginning");
    if (begins && !ends) this.#open = handle;
    try {
      await writeAll(handle, pieces);
      if (ends) await this.#setMode(handle);
    } finally {
      if (ends) await handle.close();
      if (ends && this.#open === handle) this.#open = undefined;
    }
  }

  /** The mode at opening is subject to the umask, which is the same for all: looking once is enough where it takes nothing away. */
  async #setMode(handle: FileHandle): Promise<void> {
    this.#modeIsRight ??= ((await handle.stat()).mode & 0o7777) === MODE;
    if (!this.#modeIsRight) await handle.chmod(MODE);
  }

  async #newFile(target: string, size: number): Promise<FileHandle> {
    const folder = await this.#folderFor(target);
    const source = inFolder(folder, String(this.#files.length));
    this.#files.push({ path: target, size, source });
    return open(source, NEW_FILE, MODE);
  }

  #folderFor(target: string): Promise<FileHandle> {
    const { roots } = this.#options;
    const root = roots.find((candidate) => isWithin(target, candidate));
    if (root === undefined) throw new Error("a file outside the kept folders");
    const made = this.#folders.get(root) ?? this.#makeFolder(root, this.#folders.size);
    this.#folders.set(root, made);
    return made;
  }

  async #makeFolder(root: string, index: number): Promise<FileHandle> {
    const { executionId, executionRoot, workspaceRoot } = this.#options;
    const parent = await openDeepest(workspaceRoot, root);
    this.#cleanup.defer("close the kept folder", () => parent.close());
    const name = `${STAGING_PREFIX}${executionId}-${index}`;
    // The link comes first: what it names is removed even if the service dies right after.
    await symlink(path.join(await readlink(`/proc/self/fd/${parent.fd}`), name), path.join(executionRoot, `${LINK_PREFIX}${index}`));
    this.#cleanup.defer("remove the files that were not kept", () => rm(inFolder(parent, name), { recursive: true, force: true }));
    await mkdir(inFolder(parent, name), { mode: 0o700 });
    const folder = await enter(parent, name);
    if (folder === undefined) throw new PersistError("its folder was taken away meanwhile");
    this.#cleanup.defer("close the staging folder", () => folder.close());
    return folder;
  }
}

/** Opens the kept folder, or the deepest one above it that is there: the folder itself is made when something is kept. */
async function openDeepest(workspaceRoot: string, root: string): Promise<FileHandle> {
  let folder = await openRoot(workspaceRoot);
  for (const name of root.split("/")) {
    const next = await enter(folder, name).catch(async (error: unknown) => {
      await folder.close();
      throw error;
    });
    if (next === undefined) break;
    await folder.close();
    folder = next;
  }
  return folder;
}

async function writeAll(handle: FileHandle, pieces: readonly Buffer[]): Promise<void> {
  const [only] = pieces;
  if (only === undefined) return;
  const all = pieces.length === 1 ? only : Buffer.concat(pieces);
  for (let written = 0; written < all.byteLength;) written += (await handle.write(all, written)).bytesWritten;
}

/** Removes what an execution of a dead instance had staged; `executionRoot` is its folder in the run directory. */
export async function removeStaged(executionRoot: string): Promise<void> {
  const names = await readdir(executionRoot).catch(() => []);
  for (const name of names.filter((candidate) => candidate.startsWith(LINK_PREFIX))) {
    const staged = await readlink(path.join(executionRoot, name)).catch(() => undefined);
    // Only the service writes there; this is for a state folder that somebody has mended by hand.
    if (staged === undefined || !path.basename(staged).startsWith(`${STAGING_PREFIX}${path.basename(executionRoot)}-`)) continue;
    await rm(staged, { recursive: true, force: true });
  }
}
