/**
 * Reads the tar stream of output files that a sandbox sends. All of it is hostile: names, links, devices, sizes, the format itself.
 *
 * Nothing is written to a disk. Entries become values in memory, within caps; what is refused is reported with a reason, never
 * dropped in silence.
 */

import { extract } from "tar-stream";
import type { Extract, Header } from "tar-stream";

import type { OutputFile } from "../domain/execution.ts";
import { checkWorkspacePath, isWithin } from "../domain/sandbox-path.ts";

export interface ArchiveCaps {
  readonly maxFiles: number;
  /** Contents together, bytes. */
  readonly maxBytes: number;
  /** Workspace folders that files can come from. */
  readonly roots: readonly string[];
}

/** What a tar may be beyond its contents: headers, padding, long names. */
const OVERHEAD_PER_FILE_BYTES = 4096;
const OVERHEAD_BYTES = 65_536;

/** The most bytes that an archive within the caps can have. */
export const maxArchiveBytes = (caps: Pick<ArchiveCaps, "maxFiles" | "maxBytes">): number =>
  caps.maxBytes + caps.maxFiles * OVERHEAD_PER_FILE_BYTES + OVERHEAD_BYTES;

/** Takes the archive's bytes as they come; gives the files at the end. */
export class ArchiveReader {
  readonly #caps: ArchiveCaps;
  readonly #extract: Extract;
  readonly #files = new Map<string, OutputFile>();
  readonly #done: Promise<void>;
  #bytes = 0;
  #failure: string | undefined;

  constructor(caps: ArchiveCaps) {
    this.#caps = caps;
    this.#extract = extract();
    this.#done = new Promise((resolve) => {
      this.#extract.on("finish", () => {
        resolve();
      });
      this.#extract.on("error", () => {
        this.#failure ??= "the archive of the output files is damaged";
        resolve();
      });
      this.#extract.on("close", () => {
        resolve();
      });
    });
    this.#extract.on("entry", (header, stream, next) => {
      const refusal = this.#refuse(header);
      const chunks: Buffer[] = [];
      stream.on("data", (chunk) => {
        if (refusal === undefined && chunk instanceof Uint8Array) chunks.push(Buffer.from(chunk));
      });
      // An archive that breaks off inside an entry fails both streams; the archive's own failure is the one that is reported.
      stream.on("error", () => undefined);
      stream.on("end", () => {
        if (refusal === undefined) this.#keep(header, Buffer.concat(chunks));
        else if (refusal.path !== undefined)
          this.#files.set(refusal.path, { path: refusal.path, size: header.size, error: refusal.reason });
        next();
      });
      stream.resume();
    });
  }

  push(chunk: Buffer): void {
    if (this.#failure === undefined) this.#extract.write(chunk);
  }

  /** The files, and those that were refused. A damaged archive gives what came before the damage, and an entry that says so. */
  async finish(): Promise<OutputFile[]> {
    this.#extract.end(null);
    await this.#done;
    const files = [...this.#files.values()];
    if (this.#failure !== undefined) files.push({ path: "*", size: null, error: this.#failure });
    return files;
  }

  #keep(headers: Header, content: Buffer): void {
    const check = checkWorkspacePath(headers.name);
    if (!check.ok) return;
    const text = decodeUtf8(content);
    const { path } = check;
    this.#files.set(
      path,
      text === undefined
        ? { path, content: content.toString("base64"), encoding: "base64", size: content.byteLength }
        : { path, content: text, encoding: "utf8", size: content.byteLength },
    );
  }

  /** Why an entry is not taken, with the name to report it under, if any. Counts what is taken. */
  #refuse(header: Header): { path: string | undefined; reason: string } | undefined {
    const check = checkWorkspacePath(header.name);
    // A name that is no path is shown as JSON shows it, so that control characters stay harmless wherever the answer is printed.
    const path = check.ok ? check.path : JSON.stringify(header.name.slice(0, 256));
    if (this.#files.size >= this.#caps.maxFiles) {
      this.#failure ??= `there are more than ${this.#caps.maxFiles} output files`;
      return { path: undefined, reason: this.#failure };
    }
    // Of two entries with one name the first stands.
    if (this.#files.has(path)) return { path: undefined, reason: "is there twice" };
    const refuse = (reason: string): { path: string; reason: string } => ({ path, reason });
    if (!check.ok) return refuse(`the name ${check.problem}`);
    if (header.type !== "file") return refuse(`is no regular file but a ${header.type}`);
    if (!this.#caps.roots.some((root) => isWithin(path, root) && path !== root)) return refuse("lies outside the writable folders");
    if (this.#bytes + header.size > this.#caps.maxBytes)
      return refuse(`the output files together are larger than ${this.#caps.maxBytes} bytes`);
    this.#bytes += header.size;
    return undefined;
  }
}

/** The text, or `undefined` when the bytes are no UTF-8. */
function decodeUtf8(bytes: Buffer): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
