/**
 * The folder of the host that a program's output files are written to.
 *
 * Names and contents are a stranger's. Nothing that is there already is followed or, unless that was asked for, replaced: the folder has
 * to be new or empty, links in it are no folders, and a file is put in the place of what bears its name, never written through it.
 */

import { randomBytes } from "node:crypto";
import { lstat, mkdir, open, readdir, rename, unlink } from "node:fs/promises";
import path from "node:path";

import type { OutputFile } from "../../domain/execution.ts";
import { checkWorkspacePath, quotePath } from "../../domain/sandbox-path.ts";
import { UsageError } from "../usage-error.ts";

export class OutputFolder {
  readonly #root: string;
  readonly #overwrite: boolean;

  private constructor(root: string, overwrite: boolean) {
    this.#root = root;
    this.#overwrite = overwrite;
  }

  /** Makes the folder, before the program runs: what it did cannot be lost to a folder that cannot be used. */
  static async open(folder: string, options: { readonly overwrite: boolean }): Promise<OutputFolder> {
    const root = path.resolve(folder);
    try {
      await mkdir(root, { recursive: true });
      const present = await readdir(root);
      if (present.length > 0 && !options.overwrite)
        throw new UsageError(`--out ${folder}: the folder is not empty. Name a new one, or replace files in it with --overwrite.`);
    } catch (error) {
      if (error instanceof UsageError) throw error;
      const { code, message } = error as NodeJS.ErrnoException;
      throw new UsageError(`--out ${folder}: ${code === "EEXIST" || code === "ENOTDIR" ? "is no folder" : message}`);
    }
    return new OutputFolder(root, options.overwrite);
  }

  /** Writes what came with its content; gives a line for each file that is not there now. */
  async write(files: readonly OutputFile[]): Promise<string[]> {
    const problems: string[] = [];
    for (const file of files) {
      const problem = "content" in file ? await this.#write(file.path, Buffer.from(file.content, file.encoding)) : file.error;
      if (problem !== undefined) problems.push(`output file ${quotePath(file.path)}: ${problem}`);
    }
    return problems;
  }

  async #write(name: string, content: Buffer): Promise<string | undefined> {
    const check = checkWorkspacePath(name);
    if (!check.ok || check.path !== name || name === ".") return "was not written: its path is none of a workspace";
    const segments = name.split("/");
    try {
      const folder = await this.#makeFolders(segments.slice(0, -1));
      await this.#place(folder, segments.at(-1) ?? "", content);
      return undefined;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      return `was not written: ${code === "EEXIST" ? "there is something of that name already" : message}`;
    }
  }

  async #makeFolders(segments: readonly string[]): Promise<string> {
    let folder = this.#root;
    for (const segment of segments) {
      folder = path.join(folder, segment);
      await mkdir(folder).catch((error: unknown) => {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      });
      if (!(await lstat(folder)).isDirectory()) throw new Error(`${folder} is no folder`);
    }
    return folder;
  }

  async #place(folder: string, name: string, content: Buffer): Promise<void> {
    const target = path.join(folder, name);
    const written = this.#overwrite ? path.join(folder, `.code-mode-${randomBytes(8).toString("hex")}`) : target;
    // Exclusive: neither an existing file nor a link is opened.
    const handle = await open(written, "wx");
    try {
      await handle.writeFile(content);
      await handle.close();
      if (written !== target) await rename(written, target);
    } catch (error) {
      await handle.close().catch(() => undefined);
      await unlink(written).catch(() => undefined);
      throw error;
    }
  }
}
