/**
 * Moves staged files to their places below the workspace root. Each file is whole at every moment: a rename puts it there, or in place
 * of the one before. Nothing is deleted. What stands in the way on the host (a link, a FIFO, a folder where a file is to go) stays, and
 * the file is refused with a reason.
 */

import { lstat, rename } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";

import { enterOrMake, explain, inFolder, openRoot, PersistError } from "./host-folder.ts";
import type { StagedFile } from "./staging.ts";

export interface Committed {
  readonly files: number;
  readonly bytes: number;
  readonly refused: readonly { readonly path: string; readonly error: string }[];
}

/** A folder with what is to be in it. */
interface Place {
  readonly path: string;
  readonly folders: Map<string, Place>;
  readonly files: Map<string, StagedFile>;
}

/** Renames that are under way at once. */
const PARALLEL = 4;

/** `folders` are workspace paths to be made, empty ones too. Paths are checked: in normal form, no two in each other's way. */
export async function commit(workspaceRoot: string, folders: readonly string[], files: readonly StagedFile[]): Promise<Committed> {
  const top: Place = { path: ".", folders: new Map(), files: new Map() };
  for (const folder of folders) placeOf(top, folder.split("/"));
  for (const file of files) {
    const segments = file.path.split("/");
    placeOf(top, segments.slice(0, -1)).files.set(segments.at(-1) ?? "", file);
  }
  const committing = new Committing();
  const root = await openRoot(workspaceRoot);
  try {
    await committing.fill(root, top);
  } finally {
    await root.close();
  }
  return committing;
}

function placeOf(top: Place, segments: readonly string[]): Place {
  let place = top;
  for (const [index, name] of segments.entries()) {
    const next = place.folders.get(name) ?? { path: segments.slice(0, index + 1).join("/"), folders: new Map(), files: new Map() };
    place.folders.set(name, next);
    place = next;
  }
  return place;
}

class Committing implements Committed {
  files = 0;
  bytes = 0;
  readonly refused: { path: string; error: string }[] = [];

  async fill(folder: FileHandle, place: Place): Promise<void> {
    const files = [...place.files];
    let next = 0;
    const work = async (): Promise<void> => {
      for (let item = files[next++]; item !== undefined; item = files[next++]) await this.#move(folder, ...item);
    };
    await Promise.all(Array.from({ length: Math.min(PARALLEL, files.length) }, work));
    for (const [name, inner] of place.folders) {
      try {
        const entered = await enterOrMake(folder, name);
        await this.fill(entered, inner).finally(() => entered.close());
      } catch (error) {
        this.#refuseAll(inner, explain(error));
      }
    }
  }

  async #move(folder: FileHandle, name: string, { path, size, source }: StagedFile): Promise<void> {
    const target = inFolder(folder, name);
    try {
      const found = await lstat(target).catch((error: unknown) => {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
        throw error;
      });
      // In the moment between, another thing can come there. A rename follows nothing: it takes the place of that name, or fails.
      if (found?.isFile() === false) throw new PersistError("something that is no regular file stands there on the host");
      await rename(source, target);
      this.files += 1;
      this.bytes += size;
    } catch (error) {
      this.refused.push({ path, error: explain(error) });
    }
  }

  /** A folder could not be had: nothing of what was to be in it is kept. */
  #refuseAll({ files, folders, path }: Place, error: string): void {
    if (files.size === 0 && folders.size === 0) this.refused.push({ path, error });
    for (const file of files.values()) this.refused.push({ path: file.path, error });
    for (const inner of folders.values()) this.#refuseAll(inner, error);
  }
}
