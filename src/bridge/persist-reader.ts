/**
 * Reads the tar stream of files that are to be kept on the host (`persist`). All of it is hostile: a program can send any bytes.
 *
 * It decides what of it may be written, and to which workspace path; it touches no disk. What is refused is told with a reason. What
 * is over a cap, or no whole archive, makes all of it void: half of a program's files may be worse than none.
 */

import { checkWorkspacePath, isWithin, quotePath } from "../domain/sandbox-path.ts";
import { TarError, TarReader } from "./tar-reader.ts";
import type { TarEntry } from "./tar-reader.ts";

const DAMAGED = "the archive of the files to keep is damaged";

export interface PersistCaps {
  /** Files and folders together: refused ones too, and folders that no entry is of, which something lies in all the same. */
  readonly maxFiles: number;
  /** Contents together, bytes. */
  readonly maxBytes: number;
  /** Workspace folders that are kept. */
  readonly roots: readonly string[];
}

/** What is to be written, in the order in which it came. */
export type PersistPart =
  | { readonly kind: "folder"; readonly path: string }
  | {
      readonly kind: "file";
      readonly path: string;
      readonly size: number;
      /** Of its content, what has come since the part before. */
      readonly pieces: Buffer[];
      readonly begins: boolean;
      ends: boolean;
    };
type FilePart = Extract<PersistPart, { kind: "file" }>;

export interface RefusedEntry {
  readonly path: string;
  readonly error: string;
}

/** Names that begin so are the service's own, in every folder. */
export const STAGING_PREFIX = ".code-mode-";
const MAX_DEPTH = 64;

/** A path that an entry has taken, itself or as a folder above it. */
interface Claim {
  readonly path: string;
  readonly kind: "file" | "folder";
  /** It was an entry itself. */
  isEntry: boolean;
}

export class PersistReader {
  readonly #caps: PersistCaps;
  readonly #tar: TarReader;
  /** By what a file system that ignores case would look them up with. */
  readonly #claims = new Map<string, Claim>();
  readonly #refused: RefusedEntry[] = [];
  #parts: PersistPart[] = [];
  #incoming: { part: FilePart; left: number } | undefined;
  #entries = 0;
  #bytes = 0;
  #failure: string | undefined;

  constructor(caps: PersistCaps) {
    this.#caps = caps;
    this.#tar = new TarReader({
      entry: (entry) => {
        this.#begin(entry);
      },
      content: (piece) => {
        this.#take(piece);
      },
    });
  }

  /** Why nothing may be kept, if so. */
  get failure(): string | undefined {
    return this.#failure;
  }

  get refused(): readonly RefusedEntry[] {
    return this.#refused;
  }

  push(chunk: Buffer): void {
    if (this.#failure !== undefined) return;
    try {
      this.#tar.push(chunk);
    } catch (error) {
      if (!(error instanceof TarError)) throw error;
      this.#failure ??= DAMAGED;
    }
  }

  /** What has come since the last call. Each file is in it once. */
  takeParts(): PersistPart[] {
    const parts = this.#parts;
    this.#parts = [];
    if (this.#incoming !== undefined) this.#incoming.part = { ...this.#incoming.part, pieces: [], begins: false };
    return parts;
  }

  /** To be called after the last chunk. */
  finish(): void {
    if (!this.#tar.isWhole) this.#failure ??= DAMAGED;
  }

  #begin(entry: TarEntry): void {
    this.#incoming = undefined;
    if (this.#failure !== undefined) return;
    const { maxBytes } = this.#caps;
    this.#entries += 1;
    if (this.#isOverCount()) return;
    const check = checkWorkspacePath(entry.name);
    const path = check.ok ? check.path : quotePath(entry.name.slice(0, 256));
    const error = check.ok ? this.#refuse(path, entry) : `the name ${check.problem}`;
    if (this.#isOverCount()) return;
    if (error !== undefined) {
      this.#refused.push({ path, error });
      return;
    }
    this.#bytes += entry.size;
    if (this.#bytes > maxBytes) {
      this.#failure = `the files to keep are larger than ${maxBytes} bytes together`;
      return;
    }
    if (entry.type === "directory") {
      this.#parts.push({ kind: "folder", path });
      return;
    }
    const part: FilePart = { kind: "file", path, size: entry.size, pieces: [], begins: true, ends: entry.size === 0 };
    this.#parts.push(part);
    if (entry.size > 0) this.#incoming = { part, left: entry.size };
  }

  #isOverCount(): boolean {
    const { maxFiles } = this.#caps;
    if (this.#entries <= maxFiles) return false;
    this.#failure ??= `there are more than ${maxFiles} files and folders to keep`;
    return true;
  }

  #take(piece: Buffer): void {
    const incoming = this.#incoming;
    if (incoming === undefined) return;
    if (incoming.part.pieces.length === 0 && !incoming.part.begins) this.#parts.push(incoming.part);
    incoming.part.pieces.push(piece);
    incoming.left -= piece.byteLength;
    if (incoming.left > 0) return;
    incoming.part.ends = true;
    this.#incoming = undefined;
  }

  #isBelowRoot(path: string): boolean {
    return this.#caps.roots.some((root) => isWithin(path, root) && path !== root);
  }

  /** Why an entry with a valid path may not be written. */
  #refuse(path: string, { size, type }: TarEntry): string | undefined {
    if (type !== "file" && type !== "directory") return `is no regular file but a ${type}`;
    if (type === "directory" && size > 0) return "is a folder with a content of its own";
    if (!this.#isBelowRoot(path)) return "lies outside the folders that are kept";
    const segments = path.split("/");
    if (segments.length > MAX_DEPTH) return `lies more than ${MAX_DEPTH} folders deep`;
    if (segments.some((segment) => segment.startsWith(STAGING_PREFIX))) return `has a name that begins with ${STAGING_PREFIX}`;
    return this.#claim(segments, type === "file" ? "file" : "folder");
  }

  /**
   * Takes the path for an entry, unless another entry is in the way. Names that differ in case or composition only are one name on some
   * file systems: there the second would replace the first.
   */
  #claim(segments: readonly string[], kind: Claim["kind"]): string | undefined {
    let path = "";
    let folded = "";
    for (const [index, segment] of segments.entries()) {
      path = index === 0 ? segment : `${path}/${segment}`;
      folded = `${folded}/${fold(segment)}`;
      const isEntry = index === segments.length - 1;
      const found = this.#claims.get(folded);
      if (found === undefined) {
        this.#claims.set(folded, { path, kind: isEntry ? kind : "folder", isEntry });
        // An honest runner sends each folder before what is in it. One that nobody sent is made on the host all the same.
        if (!isEntry && this.#isBelowRoot(path)) this.#entries += 1;
        continue;
      }
      if (found.path !== path) return `has a name that differs from "${found.path}" in case only`;
      if (!isEntry && found.kind === "file") return `lies in "${path}", which is a file`;
      if (!isEntry) continue;
      if (found.kind !== kind) return "is there as a file and as a folder";
      if (found.isEntry) return "is there twice";
      found.isEntry = true;
    }
    return undefined;
  }
}

const fold = (name: string): string => name.normalize("NFKC").toUpperCase().toLowerCase();
