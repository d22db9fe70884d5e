/**
 * Writes the lines of one chain: all that wait with one write, or none of them. Rotates, removes what is too old, and keeps the anchor.
 *
 * It writes synchronously. What it says is so when it returns, and a line that is refused must stop a program from starting.
 */

import { closeSync, constants, fdatasyncSync, fstatSync, ftruncateSync, openSync, unlinkSync, writeSync } from "node:fs";

import type { Anchor } from "./anchor.ts";
import { seal } from "./chain.ts";
import type { Link } from "./chain.ts";
import { logFileOf } from "./log-files.ts";
import type { LogFile } from "./log-files.ts";

export interface WriterOptions {
  readonly key: Buffer;
  readonly folder: string;
  readonly chain: number;
  readonly anchor: Anchor;
  /** Of one file; a write that goes over it is the last one there. */
  readonly maxFileBytes: number;
  /** Kept beside the one that is written to. */
  readonly maxFiles: number;
}

export interface ChainState {
  /** The line before the first that is kept. */
  readonly before: Link;
  readonly last: Link;
  /** The oldest first; the newest is written to. */
  readonly files: readonly LogFile[];
  /** The last line of each file but the newest, by path. */
  readonly ends: ReadonlyMap<string, Link>;
}

export class LogWriter {
  readonly #options: WriterOptions;
  #before: Link;
  #last: Link;
  readonly #files: LogFile[];
  readonly #ends: Map<string, Link>;
  #file: { readonly descriptor: number; bytes: number } | undefined;
  #isDirty = false;

  constructor(options: WriterOptions, { before, ends, files, last }: ChainState) {
    this.#options = options;
    this.#before = before;
    this.#last = last;
    this.#files = [...files];
    this.#ends = new Map(ends);
  }

  get lastSeq(): number {
    return this.#last.seq;
  }

  /** Writes the entries, in JSON and with rising `seq`. Throws when that fails; then none of them is in the log. */
  write(entries: readonly { readonly seq: number; readonly json: string }[]): void {
    if (entries.length === 0) return;
    if (this.#file !== undefined && this.#file.bytes >= this.#options.maxFileBytes) this.#rotate();
    const file = this.#open();
    let { hmac } = this.#last;
    const lines: string[] = [];
    for (const { json } of entries) {
      const sealed = seal(this.#options.key, hmac, json);
      lines.push(sealed.line);
      ({ hmac } = sealed);
    }
    const bytes = Buffer.from(`${lines.join("\n")}\n`);
    try {
      writeWhole(file.descriptor, bytes, file.bytes);
      const last = { seq: entries.at(-1)?.seq ?? this.#last.seq, hmac };
      this.#options.anchor.write({ before: this.#before, last });
      this.#last = last;
    } catch (error) {
      // A line that is not whole must not stay: the next one would be part of it.
      ftruncateSync(file.descriptor, file.bytes);
      throw error;
    }
    file.bytes += bytes.length;
    this.#isDirty = true;
  }

  /** Has the disk take what was written. */
  sync(): void {
    if (!this.#isDirty || this.#file === undefined) return;
    fdatasyncSync(this.#file.descriptor);
    this.#options.anchor.sync();
    this.#isDirty = false;
  }

  close(): void {
    try {
      this.sync();
    } finally {
      this.#closeFile();
      this.#options.anchor.close();
    }
  }

  #open(): { readonly descriptor: number; bytes: number } {
    if (this.#file !== undefined) return this.#file;
    const { chain, folder } = this.#options;
    const newest = this.#files.at(-1);
    const file = newest ?? logFileOf(folder, chain, this.#last.seq + 1);
    const descriptor = openSync(file.path, constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    this.#file = { descriptor, bytes: fstatSync(descriptor).size };
    if (newest === undefined) this.#files.push(file);
    return this.#file;
  }

  #rotate(): void {
    this.sync();
    this.#closeFile();
    const { chain, folder, maxFiles } = this.#options;
    const full = this.#files.at(-1);
    if (full !== undefined) this.#ends.set(full.path, this.#last);
    this.#files.push(logFileOf(folder, chain, this.#last.seq + 1));
    while (this.#files.length > maxFiles + 1 && this.#removeOldest());
  }

  /** False when there is none to remove, or it cannot be: the next rotation tries again. */
  #removeOldest(): boolean {
    const [oldest] = this.#files;
    const end = oldest && this.#ends.get(oldest.path);
    if (oldest === undefined || end === undefined) return false;
    // First the anchor: a crash between the two leaves a file too much, not one too few.
    this.#options.anchor.write({ before: end, last: this.#last });
    this.#options.anchor.sync();
    this.#before = end;
    try {
      unlinkSync(oldest.path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") return false;
    }
    this.#files.shift();
    this.#ends.delete(oldest.path);
    return true;
  }

  #closeFile(): void {
    if (this.#file !== undefined) closeSync(this.#file.descriptor);
    this.#file = undefined;
  }
}

function writeWhole(descriptor: number, bytes: Buffer, position: number): void {
  for (let written = 0; written < bytes.length;)
    written += writeSync(descriptor, bytes, written, bytes.length - written, position + written);
}
