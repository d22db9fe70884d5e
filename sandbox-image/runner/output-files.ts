/**
 * Sends the program's output files as one archive: regular files below the writable directories whose path matches a pattern.
 *
 * Follows no link. What matches and is not sent is reported. The program may have left worker threads that go on writing: a file is
 * sent with the size it had when it was opened, cut or padded with zeros.
 */

import { matchesPattern } from "../../src/bridge/path-pattern.ts";
import type { Archived, CollectParams } from "../../src/bridge/protocol.ts";
import { ARCHIVE_END, fileHeader, paddingBytes } from "./archive-writer.ts";
import { Buffer, closeSync, fsConstants, fstatSync, lstatSync, openSync, readdirSync, readSync } from "./intrinsics.ts";

/** Large enough that small files share a frame, since the service counts frames. */
const PIECE_BYTES = 262_144;
const MAX_ENTRIES = 100_000;
const MAX_DEPTH = 64;
/** As the protocol's schema has it. */
const MAX_SKIPPED = 1000;
const MAX_SKIPPED_PATH_CHARS = 4096;
/** Keeps the report well below the cap on a frame, whatever the names. */
const MAX_SKIPPED_CHARS = 262_144;

// Non-blocking, so that a FIFO that took a file's place is opened at once and then refused.
const READ_FILE = fsConstants.O_RDONLY | fsConstants.O_NOFOLLOW | fsConstants.O_NONBLOCK;

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
  readonly #archive: BufferedSink;
  readonly #skipped: Archived["skipped"] = [];
  #skippedChars = 0;
  #entries = 0;
  #files = 0;
  #bytes = 0;

  constructor(workspace: string, collect: CollectParams, sink: ArchiveSink) {
    this.#workspace = workspace;
    this.#collect = collect;
    this.#archive = new BufferedSink(sink);
  }

  run(): Archived {
    for (const root of outermost(this.#collect.roots)) this.#walk(root, 0);
    this.#archive.write(ARCHIVE_END);
    this.#archive.flush();
    return { skipped: this.#skipped };
  }

  #walk(folder: string, depth: number): void {
    let names: string[];
    try {
      // The root itself could have been replaced by a link, too.
      if (!lstatSync(this.#absolute(folder)).isDirectory()) return;
      names = readdirSync(this.#absolute(folder)).sort();
    } catch {
      if (this.#matches(folder)) this.#skip(folder, 0, "unreadable");
      return;
    }
    for (const name of names) {
      this.#entries += 1;
      if (this.#entries > MAX_ENTRIES || depth > MAX_DEPTH) {
        this.#skip(folder, 0, "over_limit");
        return;
      }
      this.#visit(folder === "" ? name : `${folder}/${name}`, depth);
    }
  }

  #visit(path: string, depth: number): void {
    const found = lstatSync(this.#absolute(path), { throwIfNoEntry: false });
    if (found === undefined) {
      // Listed and not there: gone since, or a name that is no UTF-8.
      if (this.#matches(path)) this.#skip(path, 0, "unreadable");
    } else if (found.isDirectory()) this.#walk(path, depth + 1);
    else if (this.#matches(path)) {
      if (found.isFile()) this.#send(path);
      else this.#skip(path, 0, "not_a_file");
    }
  }

  #send(path: string): void {
    let fd: number;
    try {
      fd = openSync(this.#absolute(path), READ_FILE);
    } catch {
      this.#skip(path, 0, "unreadable");
      return;
    }
    try {
      const info = fstatSync(fd);
      if (!info.isFile()) this.#skip(path, 0, "not_a_file");
      else if (this.#files >= this.#collect.maxFiles || this.#bytes + info.size > this.#collect.maxBytes) {
        this.#skip(path, info.size, "over_limit");
      } else {
        this.#files += 1;
        this.#bytes += info.size;
        this.#archive.write(fileHeader(path, info.size));
        this.#archive.writeFrom(fd, info.size);
        this.#archive.write(Buffer.alloc(paddingBytes(info.size)));
      }
    } finally {
      closeSync(fd);
    }
  }

  #skip(path: string, sizeBytes: number, reason: SkipReason): void {
    const reported = path.slice(0, MAX_SKIPPED_PATH_CHARS);
    if (this.#skipped.length >= MAX_SKIPPED || this.#skippedChars + reported.length > MAX_SKIPPED_CHARS) return;
    this.#skippedChars += reported.length;
    this.#skipped.push({ path: reported, sizeBytes, reason });
  }

  #matches(path: string): boolean {
    return this.#collect.patterns.some((pattern) => matchesPattern(pattern, path));
  }

  #absolute(path: string): string {
    return path === "" ? this.#workspace : `${this.#workspace}/${path}`;
  }
}

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
