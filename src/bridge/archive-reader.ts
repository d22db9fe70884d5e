/**
 * Reads the tar stream of output files that a sandbox sends. All of it is hostile: names, links, devices, sizes, the format itself.
 *
 * Nothing is written to a disk. Entries become values in memory, within caps; what is refused is reported with a reason, never
 * dropped in silence.
 */

import type { OutputFile } from "../domain/execution.ts";
import { checkWorkspacePath, isWithin, quotePath } from "../domain/sandbox-path.ts";
import { FileContent } from "./file-content.ts";
import { compilePattern, matchesPattern } from "./path-pattern.ts";
import type { PathPattern } from "./path-pattern.ts";
import { TarError, TarReader } from "./tar-reader.ts";
import type { TarEntry } from "./tar-reader.ts";

export interface ArchiveCaps {
  readonly maxFiles: number;
  /** Contents together, bytes. */
  readonly maxBytes: number;
  /** Workspace folders that files can come from. */
  readonly roots: readonly string[];
  /** Patterns of which a file's path must match one: the runner is asked to send no others, which binds only an honest one. */
  readonly patterns: readonly string[];
}

/** What a tar may be beyond its contents: headers, padding, long names. */
const OVERHEAD_PER_FILE_BYTES = 4096;
const OVERHEAD_BYTES = 65_536;
/** What matching may cost, all of it and that of one path; far more than honest patterns and paths need. */
const STEPS_PER_FILE = 10_000;
const MOST_STEPS_OF_A_PATH = 100_000;
const NOTHING = Buffer.alloc(0);
const DAMAGED = "the archive of the output files is damaged";

/** The most bytes that an archive within the caps can have. */
export const maxArchiveBytes = (caps: Pick<ArchiveCaps, "maxFiles" | "maxBytes">): number =>
  caps.maxBytes + caps.maxFiles * OVERHEAD_PER_FILE_BYTES + OVERHEAD_BYTES;

/** Takes the archive's bytes as they come; gives the files at the end. */
export class ArchiveReader {
  readonly #caps: ArchiveCaps;
  readonly #tar: TarReader;
  readonly #patterns: readonly PathPattern[];
  readonly #files: OutputFile[] = [];
  /** Paths of the entries so far. */
  readonly #paths = new Set<string>();
  #steps: number;
  #bytes = 0;
  /** The file that is being read. */
  #incoming: { readonly path: string; readonly content: FileContent } | undefined;
  #failure: string | undefined;

  constructor(caps: ArchiveCaps) {
    this.#caps = caps;
    this.#patterns = caps.patterns.map(compilePattern);
    this.#steps = Math.max(10, caps.maxFiles) * STEPS_PER_FILE;
    this.#tar = new TarReader({
      entry: (entry) => {
        this.#begin(entry);
      },
      content: (piece) => {
        this.#take(piece);
      },
    });
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

  /** The files, and those that were refused. A damaged archive gives what came before the damage, and an entry that says so. */
  finish(): OutputFile[] {
    if (!this.#tar.isWhole) this.#failure ??= DAMAGED;
    const files = [...this.#files];
    if (this.#failure !== undefined) files.push({ path: "*", size: null, error: this.#failure });
    return files;
  }

  #begin(entry: TarEntry): void {
    this.#incoming = undefined;
    const check = checkWorkspacePath(entry.name);
    // A name that is no path is quoted, so that control characters stay harmless wherever the answer is printed.
    const path = check.ok ? check.path : quotePath(entry.name.slice(0, 256));
    if (this.#files.length >= this.#caps.maxFiles) {
      this.#failure ??= `there are more than ${this.#caps.maxFiles} output files`;
      return;
    }
    // Of two entries with one path the first stands.
    if (this.#failure !== undefined || (check.ok && this.#paths.has(path))) return;
    const reason = check.ok ? this.#refuse(path, entry) : `the name ${check.problem}`;
    this.#paths.add(path);
    if (reason !== undefined) {
      this.#files.push({ path, size: entry.size, error: reason });
      return;
    }
    this.#bytes += entry.size;
    this.#incoming = { path, content: new FileContent(entry.size) };
    if (entry.size === 0) this.#take(NOTHING);
  }

  #take(piece: Buffer): void {
    if (this.#incoming === undefined) return;
    const { content, path } = this.#incoming;
    content.append(piece);
    if (!content.isWhole) return;
    this.#files.push(content.toFile(path));
    this.#incoming = undefined;
  }

  /** Why an entry with a valid path is not taken. */
  #refuse(path: string, { size, type }: TarEntry): string | undefined {
    const { maxBytes, roots } = this.#caps;
    if (type !== "file") return `is no regular file but a ${type}`;
    if (!roots.some((root) => isWithin(path, root) && path !== root)) return "lies outside the writable folders";
    const steps = { left: Math.min(this.#steps, MOST_STEPS_OF_A_PATH) };
    const before = steps.left;
    const matches = matchesPattern(this.#patterns, path, steps);
    this.#steps -= before - Math.max(0, steps.left);
    if (!matches) return steps.left < 0 ? "the patterns take too long to be matched" : "was not asked for";
    return this.#bytes + size > maxBytes ? `the output files together are larger than ${maxBytes} bytes` : undefined;
  }
}
