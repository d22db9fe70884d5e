/**
 * Picks from Debian's files the few that Node needs: its shared libraries, the loader, and the copyright notes of their packages.
 *
 * Works on any tar of a Debian file system, a package's or a whole one's. It keeps the candidates of all tars; which of them are
 * wanted is decided at the end, since a link may come before or after the file that it leads to, even in another tar.
 */

import { basename, dirname, join, relative } from "node:path/posix";
import type { Readable } from "node:stream";
import { ARCHITECTURES, type Architecture } from "./architecture.ts";
import type { ImageEntry } from "./image-entries.ts";
import { ImageBuildError } from "./image-error.ts";
import { canonicalPath, followLink } from "./package-paths.ts";
import { readTar } from "./read-tar.ts";

/** What to pick. */
export interface DebianWanted {
  readonly architecture: Architecture;
  /** Names of shared libraries, as the binary asks for them (`libc.so.6`). */
  readonly libraries: readonly string[];
  /** Names of the packages whose copyright notes are kept. */
  readonly packages: readonly string[];
}

type Candidate = { readonly type: "file"; readonly content: Buffer } | { readonly type: "symlink"; readonly target: string };

/** No chain of links among Debian's libraries is longer than three. */
const MAX_LINKS = 8;

export class DebianFilter {
  readonly #wanted: DebianWanted;
  readonly #libraryFolder: string;
  readonly #loader: string;
  readonly #candidates = new Map<string, Candidate>();

  constructor(wanted: DebianWanted) {
    const { triplet, loader } = ARCHITECTURES[wanted.architecture];
    this.#wanted = wanted;
    this.#libraryFolder = `usr/lib/${triplet}`;
    this.#loader = loader;
  }

  /** Takes the candidates out of one tar. */
  readonly add = (tar: Readable): Promise<void> =>
    readTar(tar, async ({ name, type, linkname }, content) => {
      const path = canonicalPath(name);
      if (!this.#isCandidate(path)) return;
      if (type === "file") this.#candidates.set(path, { type, content: await content() });
      else if (type === "symlink") this.#candidates.set(path, { type, target: linkname });
    });

  /** The wanted files, as they go into the image. Throws when a library is missing. */
  entries(): ImageEntry[] {
    const picked = new Map<string, ImageEntry>();
    this.#pick(this.#loader, picked);
    for (const library of this.#wanted.libraries) this.#pick(join(this.#libraryFolder, library), picked);

    // Before version 2.34 the C library was in several parts and looked up names through modules that are not in the image.
    if (picked.get(join(this.#libraryFolder, "libc.so.6"))?.type === "symlink") {
      throw new ImageBuildError("debian_incomplete", "The C library is older than version 2.34 (Debian 12, Ubuntu 22.04).");
    }
    for (const name of this.#wanted.packages) this.#pickCopyright(`usr/share/doc/${name}`, picked);
    for (const folder of ["lib", "lib64"]) {
      const used = [...picked.keys()].some((path) => path.startsWith(`usr/${folder}/`));
      if (used) picked.set(folder, { type: "symlink", path: folder, target: `usr/${folder}` });
    }
    return [...picked.values()];
  }

  #isCandidate(path: string): boolean {
    if (path.startsWith("usr/share/doc/")) return path.split("/").length === 4 || basename(path) === "copyright";
    return this.isLibrary(path);
  }

  /** Shared libraries by the stem of their name, so that `libstdc++.so.6` also keeps the `libstdc++.so.6.0.30` behind it. */
  isLibrary(path: string): boolean {
    if (path === this.#loader) return true;
    if (dirname(path) !== this.#libraryFolder) return false;
    const name = basename(path);
    return [basename(this.#loader), ...this.#wanted.libraries].some((library) => {
      const stem = library.slice(0, library.indexOf(".so"));
      return name.startsWith(`${stem}.so`) || name.startsWith(`${stem}-`);
    });
  }

  /** Picks a file, with every link on the way to it. */
  #pick(path: string, picked: Map<string, ImageEntry>): void {
    let current = path;
    for (let links = 0; links <= MAX_LINKS; links++) {
      const candidate = this.#candidates.get(current);
      if (candidate === undefined) break;
      if (candidate.type === "file") {
        // The kernel executes the loader; the libraries are only mapped. Like the runtime, the loader cannot be read: a process that
        // executes what it can read may be dumped, and its /proc/self/mem opens.
        const mode = basename(current) === basename(this.#loader) ? 0o711 : 0o644;
        picked.set(current, { type: "file", path: current, mode, content: candidate.content });
        return;
      }
      const next = followLink(current, candidate.target);
      picked.set(current, { type: "symlink", path: current, target: relative(dirname(current), next) });
      current = next;
    }
    throw new ImageBuildError("debian_incomplete", `The Debian packages have no ${basename(path)} (looked for ${current}).`);
  }

  /** A package's folder of documents may be a link to another one's. A package without one (a slimmed-down file system) is no failure. */
  #pickCopyright(folder: string, picked: Map<string, ImageEntry>): void {
    const link = this.#candidates.get(folder);
    const target = link?.type === "symlink" ? followLink(folder, link.target) : folder;
    const copyright = join(target, "copyright");
    if (this.#candidates.get(copyright)?.type !== "file") return;
    this.#pick(copyright, picked);
    if (target !== folder) picked.set(folder, { type: "symlink", path: folder, target: relative(dirname(folder), target) });
  }
}
