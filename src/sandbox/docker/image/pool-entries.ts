/**
 * From the files of packages and modules to what goes into the image: data that everybody can read, and the programs that were granted.
 */

import { basename, dirname, join, relative } from "node:path/posix";
import type { Grants } from "./executables.ts";
import type { FilePool } from "./file-pool.ts";
import type { ImageEntry } from "./image-entries.ts";
import { isKeptPath } from "./package-paths.ts";

/** For a file of the processor: nobody reads it. A process of a program that it can read may be dumped, and its /proc/self/mem opens. */
const BINARY_MODE = 0o710;
/** A script is read by its interpreter. */
const SCRIPT_MODE = 0o750;
const DATA_MODE = 0o644;

/** The entries, without what `isThere` says that the base has. */
export function poolEntries(pool: FilePool, grants: Grants, isThere: (path: string) => boolean): ImageEntry[] {
  const entries = new Map<string, ImageEntry>();
  const links: string[] = [];
  for (const path of pool.paths()) {
    const entry = pool.get(path);
    if (entry?.type === "link") links.push(path);
    if (entry?.type !== "file") continue;
    const place = withoutLinks(pool, path);
    if (place === undefined || isThere(place)) continue;
    const granted = grants.files.get(path);
    if (granted !== undefined) {
      const mode = granted.kind === "binary" ? BINARY_MODE : SCRIPT_MODE;
      entries.set(place, { type: "file", path: place, mode, gid: granted.gid, content: entry.content });
    } else if (entry.program === undefined) {
      entries.set(place, { type: "file", path: place, mode: DATA_MODE, content: entry.content });
    }
  }
  const folders = new Set([...entries.keys()].flatMap(parentsOf));
  for (const path of links) {
    const place = withoutLinks(pool, path);
    const target = pool.resolve(path);
    if (place === undefined || target === undefined || entries.has(place) || folders.has(place) || isThere(place)) continue;
    // What it leads to is left out, or is made by an install script.
    if (!entries.has(target) && !folders.has(target)) continue;
    entries.set(place, { type: "symlink", path: place, target: relative(dirname(place), target) });
  }
  for (const folder of ["bin", "sbin"]) {
    if (folders.has(`usr/${folder}`)) entries.set(folder, { type: "symlink", path: folder, target: `usr/${folder}` });
  }
  return [...entries.values()];
}

/**
 * A path whose folders are no links: two packages may see one folder under two names. `undefined` where nothing of a package is kept: a
 * link may lead there.
 */
function withoutLinks(pool: FilePool, path: string): string | undefined {
  const folder = pool.resolve(dirname(path));
  if (folder === undefined) return undefined;
  const place = join(folder, basename(path));
  return place === path || isKeptPath(place) ? place : undefined;
}

function parentsOf(path: string): string[] {
  const parents: string[] = [];
  for (let parent = dirname(path); parent !== "."; parent = dirname(parent)) parents.push(parent);
  return parents;
}
