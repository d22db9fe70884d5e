/**
 * The files that packages and modules bring, before it is decided which of them go into the image. In memory, by canonical path.
 */

import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path/posix";
import type { Readable } from "node:stream";
import { isElfProgram, isLibraryName } from "./elf.ts";
import { ImageBuildError } from "./image-error.ts";
import { canonicalPath, followLink, isKeptPath } from "./package-paths.ts";
import { readTar } from "./read-tar.ts";

/** What can be run: a file for the processor, or a text for an interpreter. */
export type ProgramKind = "binary" | "script";

type PoolEntry =
  | { readonly type: "file"; readonly content: Buffer; readonly program: ProgramKind | undefined }
  /** Symbolic links, and hard ones: a second name of a file becomes a link to the first. */
  | { readonly type: "link"; readonly target: string };

/** As the kernel has it. */
const MAX_LINKS = 40;

/** Far more than any set of commands needs; what is held in memory must end somewhere. */
const MAX_BYTES = 1.5e9;

/** Folders of commands, which are looked up by name, in this order. */
export const COMMAND_FOLDERS = ["usr/bin", "usr/sbin", "usr/games"] as const;

/** A module of a language, outside of the commands: some carry the right to be executed by habit. They are read by their interpreter. */
const SCRIPT_MODULE = /\.(py|pl|pm|rb|tcl|lua)$/;

export class FilePool {
  readonly #entries = new Map<string, PoolEntry>();
  #bytes = 0;

  /** Takes what is kept of a Debian package's files. */
  readonly addPackage = (tar: Readable): Promise<void> =>
    readTar(tar, async ({ linkname, mode, name, size, type }, content) => {
      const path = canonicalPath(name);
      if (!isKeptPath(path)) return;
      if (type === "symlink") this.#entries.set(path, { type: "link", target: followLink(path, linkname) });
      else if (type === "link") this.#entries.set(path, { type: "link", target: canonicalPath(linkname) });
      else if (type === "file") {
        this.#count(size);
        const bytes = await content();
        this.#entries.set(path, { type: "file", content: bytes, program: programKind(path, bytes, (mode & 0o111) !== 0) });
      }
    });

  /** Takes a file of an npm module. Its scripts are data for Node, whatever rights they carry. */
  addModuleFile(path: string, content: Buffer): void {
    this.#count(content.length);
    this.#entries.set(path, { type: "file", content, program: isElfProgram(path, content) ? "binary" : undefined });
  }

  /** Programs of equal bytes become one file with several names, whether the package had them as links or as copies. */
  mergeCopies(): void {
    const first = new Map<string, string>();
    for (const path of [...this.#entries.keys()].sort()) {
      const entry = this.#entries.get(path);
      if (entry?.type !== "file" || entry.program === undefined) continue;
      const digest = createHash("sha256").update(entry.content).digest("hex");
      const original = first.get(digest);
      if (original === undefined) first.set(digest, path);
      else this.#entries.set(path, { type: "link", target: original });
    }
  }

  /** All paths, sorted. */
  paths(): string[] {
    return [...this.#entries.keys()].sort();
  }

  get(path: string): PoolEntry | undefined {
    return this.#entries.get(path);
  }

  /** The path without links in it, of a file, a folder, or of something that is not there. `undefined` for links in a circle. */
  resolve(path: string): string | undefined {
    let resolved = "";
    let rest = path.split("/");
    let links = 0;
    for (let part = rest.shift(); part !== undefined; part = rest.shift()) {
      const here = join(resolved, part);
      const entry = this.#entries.get(here);
      if (entry?.type !== "link") {
        resolved = here;
        continue;
      }
      links += 1;
      if (links > MAX_LINKS) return undefined;
      rest = [...entry.target.split("/"), ...rest];
      resolved = "";
    }
    return resolved;
  }

  /** The program that a path leads to: its own path and kind. */
  programAt(path: string): { readonly path: string; readonly kind: ProgramKind; readonly content: Buffer } | undefined {
    const resolved = this.resolve(path);
    const entry = resolved === undefined ? undefined : this.#entries.get(resolved);
    if (resolved === undefined || entry?.type !== "file" || entry.program === undefined) return undefined;
    return { path: resolved, kind: entry.program, content: entry.content };
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > MAX_BYTES) {
      throw new ImageBuildError(
        "additions_too_large",
        `The packages and modules have more than ${MAX_BYTES / 1e6} MB of files. Name fewer, or smaller ones.`,
      );
    }
  }
}

function programKind(path: string, content: Buffer, hasRight: boolean): ProgramKind | undefined {
  if (isElfProgram(path, content)) return "binary";
  if (!hasRight || isLibraryName(path)) return undefined;
  const isModule = SCRIPT_MODULE.test(basename(path)) && !COMMAND_FOLDERS.some((folder) => dirname(path) === folder);
  return isModule ? undefined : "script";
}
