/** Whether a folder of the configuration can keep what programs leave (`persist`). Looked at when the service starts. */

import { constants } from "node:fs";
import { access, realpath } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import path from "node:path";

import { isInside } from "../readable-paths.ts";
import type { ProtectedPlaces } from "../readable-paths.ts";
import { enter, openRoot, PersistError } from "./host-folder.ts";

/**
 * What is wrong with it; `undefined` when nothing is. It must be there already: a name that is spelt wrong would otherwise be a new
 * folder, and owner and modes are the operator's to choose.
 */
export async function findPersistProblem(workspaceRoot: string, folder: string, places: ProtectedPlaces): Promise<string | undefined> {
  const written = path.join(workspaceRoot, folder);
  const says = (reason: string): string => `"${folder}" (${written}) ${reason}`;
  let opened: FileHandle | undefined;
  try {
    opened = await openBelow(workspaceRoot, folder);
  } catch (error) {
    if (error instanceof PersistError) return says("or a folder above it is a link or no folder; files are kept in real folders only");
    return says(`cannot be opened: ${(error as Error).message}`);
  }
  if (opened === undefined) return says("does not exist; make the folder that programs are to leave files in");
  try {
    const place = await realpath(written);
    const hit = [...places.closed, ...places.notContained].find((other) => isInside(other, place));
    if (hit !== undefined) return says(`contains ${hit}, which programs must not write to`);
    const around = places.closed.find((other) => isInside(place, other));
    if (around !== undefined) return says(`lies in ${around}, which programs must not write to`);
    await access(`/proc/self/fd/${opened.fd}`, constants.W_OK | constants.X_OK);
    return undefined;
  } catch (error) {
    return says(`cannot be written to by the service: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  } finally {
    await opened.close();
  }
}

async function openBelow(workspaceRoot: string, folder: string): Promise<FileHandle | undefined> {
  let current = await openRoot(workspaceRoot);
  for (const name of folder.split("/")) {
    const above = current;
    const next = await enter(above, name).finally(() => above.close());
    if (next === undefined) return undefined;
    current = next;
  }
  return current;
}
