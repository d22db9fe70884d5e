/** Tells whether what was made from some files is still what those files would make. */

import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import path from "node:path";

/** The regular files below a folder, or the file itself; sorted, none when there is no such path. */
export async function filesBelow(folder: string): Promise<string[]> {
  const info = await stat(folder).catch(() => undefined);
  if (info === undefined) return [];
  if (info.isFile()) return [folder];
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort();
}

/** A hash over the names and contents of all files at or below the given paths. */
export async function hashFiles(root: string, inputs: readonly string[]): Promise<string> {
  const files = (await Promise.all(inputs.map((input) => filesBelow(path.join(root, input))))).flat();
  const contents = await Promise.all(files.map((file) => readFile(file)));
  const hash = createHash("sha256");
  for (const [index, content] of contents.entries()) {
    hash.update(`${path.relative(root, files[index] ?? "")}\0${content.byteLength}\0`).update(content);
  }
  return hash.digest("hex");
}

/** Writes a file in one step, so that a reader never sees half of it. Leaves it untouched when it holds that already. */
export async function writeWhole(file: string, content: Uint8Array): Promise<void> {
  const present = await readFile(file).catch(() => undefined);
  if (present?.equals(content) === true) return;
  await mkdir(path.dirname(file), { recursive: true });
  const temporary = `${file}.${process.pid}.tmp`;
  await writeFile(temporary, content);
  await rename(temporary, file);
}
