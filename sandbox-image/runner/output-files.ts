/**
 * Sends files that the program left as one archive: regular files below the writable directories whose path matches a pattern, and
 * the folders that they lie in, where these are asked for.
 *
 * Follows no link. What matches and is not sent is reported, and counted without a cap. The program may have left worker threads that
 * go on writing: a file is sent with the size it had when it was opened, cut or padded with zeros.
 */

import { compilePattern, matchesPattern } from "../../src/bridge/path-pattern.ts";
import type { PathPattern } from "../../src/bridge/path-pattern.ts";
import type { Archived, CollectParams } from "../../src/bridge/protocol.ts";
import { ARCHIVE_END, fileHeader, folderHeader, paddingBytes } from "./archive-writer.ts";
import {
  Buffer,
  byteLength,
  closeSync,
  fsConstants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readSync,
  stringifyJson,
} from "./intrinsics.ts";

/** Large enough that small files share a frame, since the service counts frames. */
const PIECE_BYTES = 262_144;
/** As the protocol's schema has it. */
const MAX_SKIPPED = 1000;
const MAX_SKIPPED_PATH_CHARS = 4096;
/** As JSON: keeps the report well below the cap on a frame, whatever the names. */
const MAX_SKIPPED_BYTES = 262_144;

// Non-blocking, so that a FIFO that took a file's place is opened at once and then refused.
const READ_FILE = fsConstants.O_RDONLY | fsConstants.O_NOFOLLOW | fsConstants.O_NONBLOCK;
const NO_PADDING = Buffer.alloc(512);

type SkipReason = Archived["skipped"][number]["reason"];

export interface ArchiveSink {
  /** Takes a piece of the archive; throws when there is no more use in going on. */
  write(piece: Uint8Array): void;
}

/** Writes the archive to the sink and returns what was left out. */
export function archiveOutputFiles(workspace: string, collect: CollectParams, sink: ArchiveSink): Archived {
  return new OutputFiles(workspace, collect, sink).run();
}

class OutputFiles {
  readonly #workspace: string;
  readonly #collect: CollectParams;
  readonly #patterns: readonly PathPattern[];
  readonly #archive: BufferedSink;
  readonly #skipped: Archived["skipped"] = [];
  readonly #counts: Archived["counts"] = { not_a_file: 0, over_limit: 0, unreadable: 0 };
  #skippedBytes = 0;
  #entries = 0;
  #bytes = 0;

  constructor(workspace: string, collect: CollectParams, sink: ArchiveSink) {
    this.#workspace = workspace;
    this.#collect = collect;
    this.#patterns = collect.patterns.map(compilePattern);
    this.#archive = new BufferedSink(sink);
  }

  run(): Archived {
    for (const root of outermost(this.#collect.roots)) this.#walk(root);
    this.#archive.write(ARCHIVE_END);
    this.#archive.flush();
    return { skipped: this.#skipped, counts: this.#counts };
  }

  #walk(folder: string): void {
    let entries: Listed[];
    try {
      // Somebody may have put a link in its place: in that of a root, too.
      const found = lstatSync(this.#absolute(folder));
      if (!found.isDirectory()) {
        this.#skip(folder, 0, "not_a_file");
        return;
      }
      entries = readdirSync(this.#absolute(folder), { withFileTypes: true });
    } catch {
      // Whatever matches in it is not sent.
      this.#skip(folder, 0, "unreadable");
      return;
    }
    for (const entry of sorted(entries)) this.#visit(folder === "" ? entry.name : `${folder}/${entry.name}`, entry);
  }

  #visit(path: string, entry: Listed): void {
    if (entry.isDirectory()) {
      if (this.#collect.folders) this.#sendFolder(path);
      this.#walk(path);
    } else if (this.#matches(path)) {
      if (entry.isFile()) this.#sendFile(path);
      else this.#skip(path, 0, "not_a_file");
    }
  }

  #sendFolder(path: string): void {
    if (this.#entries >= this.#collect.maxFiles) this.#skip(path, 0, "over_limit");
    else {
      this.#entries += 1;
      this.#archive.write(folderHeader(path));
    }
  }

  #sendFile(path: string): void {
    let fd: number;
    try {
      fd = openSync(this.#absolute(path), READ_FILE);
    } catch {
      // Listed and not there: gone since, or a name that is no UTF-8. Or not to be read.
      this.#skip(path, 0, "unreadable");
      return;
    }
    try {
      const info = fstatSync(fd);
      if (!info.isFile()) this.#skip(path, 0, "not_a_file");
      else if (this.#entries >= this.#collect.maxFiles || this.#bytes + info.size > this.#collect.maxBytes) {
        this.#skip(path, info.size, "over_limit");
      } else {
        this.#entries += 1;
        this.#bytes += info.size;
        this.#archive.write(fileHeader(path, info.size));
        this.#archive.writeFrom(fd, info.size);
        this.#archive.write(NO_PADDING.subarray(0, paddingBytes(info.size)));
      }
    } finally {
      closeSync(fd);
    }
  }

  #skip(path: string, sizeBytes: number, reason: SkipReason): void {
    this.#counts[reason] += 1;
    if (this.#skipped.length >= MAX_SKIPPED) return;
    const entry = { path: path.slice(0, MAX_SKIPPED_PATH_CHARS), sizeBytes, reason };
    const bytes = byteLength(stringifyJson(entry)) + 1;
    if (this.#skippedBytes + bytes > MAX_SKIPPED_BYTES) return;
    this.#skippedBytes += bytes;
    this.#skipped.push(entry);
  }

  #matches(path: string): boolean {
    return matchesPattern(this.#patterns, path);
  }

  #absolute(path: string): string {
    return path === "" ? this.#workspace : `${this.#workspace}/${path}`;
  }
}

/** An entry of a folder, with its kind as the folder tells it. */
interface Listed {
  readonly name: string;
  isDirectory(): boolean;
  isFile(): boolean;
}

const sorted = (entries: Listed[]): Listed[] => entries.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));

/** Collects small writes into pieces. */
class BufferedSink {
  readonly #sink: ArchiveSink;
  readonly #buffer = Buffer.allocUnsafeSlow(PIECE_BYTES);
  #filled = 0;

  constructor(sink: ArchiveSink) {
    this.#sink = sink;
  }

  write(bytes: Uint8Array): void {
    for (let taken = 0; taken < bytes.byteLength;) {
      const part = bytes.subarray(taken, taken + this.#room());
      this.#buffer.set(part, this.#filled);
      this.#filled += part.byteLength;
      taken += part.byteLength;
    }
  }

  /** Writes exactly `size` bytes from a file's start. */
  writeFrom(fd: number, size: number): void {
    for (let position = 0; position < size;) {
      const length = Math.min(this.#room(), size - position);
      let count = readOrEnd(fd, this.#buffer, { offset: this.#filled, length, position });
      if (count === 0) {
        this.#buffer.fill(0, this.#filled, this.#filled + length);
        count = length;
      }
      this.#filled += count;
      position += count;
    }
  }

  flush(): void {
    if (this.#filled > 0) this.#sink.write(this.#buffer.subarray(0, this.#filled));
    this.#filled = 0;
  }

  #room(): number {
    if (this.#filled === PIECE_BYTES) this.flush();
    return PIECE_BYTES - this.#filled;
  }
}

/** Bytes read; 0 at the end, and also where reading fails half-way: the header has promised the size. */
function readOrEnd(fd: number, buffer: Uint8Array, range: { offset: number; length: number; position: number }): number {
  try {
    return readSync(fd, buffer, range);
  } catch {
    return 0;
  }
}

/** Workspace paths with "" for the workspace itself, without those that lie below another one. */
function outermost(roots: readonly string[]): string[] {
  const paths = roots.map((root) => (root === "." ? "" : root));
  return paths.filter(
    (path, index) => !paths.some((other, at) => at !== index && ((at < index && other === path) || isBelow(path, other))),
  );
}

const isBelow = (path: string, folder: string): boolean => path !== folder && (folder === "" || path.startsWith(`${folder}/`));
