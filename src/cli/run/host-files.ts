/** What a program is given of this host: its own text, input files and folders, stdin. All of it counts against one budget. */

import { constants } from "node:fs";
import { open, readdir, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import path from "node:path";
import type { Readable } from "node:stream";

import { readableSize } from "../../domain/byte-size.ts";
import type { InputFile } from "../../domain/execution.ts";
import { UsageError } from "../usage-error.ts";
import type { InputSpec } from "./options.ts";

/** Whatever is read comes out of it; what is over it is refused. */
export class InputBudget {
  readonly #maxBytes: number;
  readonly #maxFiles: number;
  #bytes = 0;
  #files = 0;

  constructor(options: { readonly maxBytes: number; readonly maxFiles: number }) {
    this.#maxBytes = options.maxBytes;
    this.#maxFiles = options.maxFiles;
  }

  takeBytes(bytes: number, what: string): void {
    this.#bytes += bytes;
    if (this.#bytes <= this.#maxBytes) return;
    throw new UsageError(
      `${what} is too large: program, input files and stdin may have ${readableSize(this.#maxBytes)} together. CODE_MODE_MAX_BODY_BYTES sets that.`,
    );
  }

  takeFile(what: string): void {
    this.#files += 1;
    if (this.#files <= this.#maxFiles) return;
    throw new UsageError(`${what}: the runtime takes ${this.#maxFiles} input files. Its limits.inputFiles sets that.`);
  }
}

/** The text of a program. Throws a {@link UsageError} for what is none. */
export async function readProgram(file: string, stdin: Readable, budget: InputBudget): Promise<string> {
  if (/\.[jt]sx$/i.test(file)) throw new UsageError(`${file}: JSX is not understood; compile it to JavaScript first`);
  if (file === "-") return decode(await drain(stdin, "the program on stdin", budget), "the program on stdin");
  return decode(await readHostFile(file, budget), file);
}

/** All of a program's stdin. */
export async function readStdin(stdin: Readable, budget: InputBudget): Promise<string> {
  return decode(await drain(stdin, "stdin", budget), "stdin; give the program a file with --input instead", { ignoreBOM: true });
}

/** The input files, and what was left out of folders. */
export async function readInputs(specs: readonly InputSpec[], budget: InputBudget): Promise<{ files: InputFile[]; leftOut: string[] }> {
  const files: InputFile[] = [];
  const leftOut: string[] = [];
  const add = async (name: string, source: string, flags: number): Promise<void> => {
    budget.takeFile(source);
    files.push({ path: name, content: (await readHostFile(source, budget, flags)).toString("base64"), encoding: "base64" });
  };
  const addFolder = async (name: string, source: string): Promise<void> => {
    const entries = await readdir(source, { withFileTypes: true }).catch((error: unknown) => refuse(source, error));
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const [below, from] = [name === "." ? entry.name : `${name}/${entry.name}`, path.join(source, entry.name)];
      if (entry.isDirectory()) await addFolder(below, from);
      // A link in a folder may lead anywhere; who wants what is behind it names it.
      else if (entry.isFile()) await add(below, from, constants.O_NOFOLLOW);
      else leftOut.push(`${from}: is ${entry.isSymbolicLink() ? "a link" : "no regular file"}, and was left out`);
    }
  };
  for (const { name, source } of specs) {
    const wanted = name ?? path.basename(path.resolve(source));
    const found = await stat(source).catch((error: unknown) => refuse(source, error));
    if (found.isDirectory()) await addFolder(wanted.replace(/(?<=.)\/+$/, ""), source);
    else await add(wanted, source, 0);
  }
  return { files, leftOut };
}

/** A regular file or a pipe, such as a shell makes of `<(command)`. */
async function readHostFile(file: string, budget: InputBudget, flags = 0): Promise<Buffer> {
  let handle: FileHandle | undefined;
  try {
    // Opening a pipe that nobody writes to would wait for ever; reading it then is the wait that was asked for.
    handle = await open(file, constants.O_RDONLY | constants.O_NOCTTY | flags);
    const found = await handle.stat();
    if (found.isDirectory()) throw new UsageError(`${file}: is a folder`);
    if (!found.isFile() && !found.isFIFO()) throw new UsageError(`${file}: is no regular file`);
    return await drain(handle.createReadStream({ autoClose: false }), file, budget);
  } catch (error) {
    return refuse(file, error);
  } finally {
    await handle?.close();
  }
}

async function drain(stream: Readable, what: string, budget: InputBudget): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    budget.takeBytes(chunk.byteLength, what);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "this user may not read it",
  ELOOP: "is a link, or leads through too many",
  EISDIR: "is a folder",
  ENOENT: "there is no such file",
  ENOTDIR: "there is no such file",
};

function refuse(file: string, error: unknown): never {
  if (error instanceof UsageError) throw error;
  const { code, message } = error as NodeJS.ErrnoException;
  throw new UsageError(`${file}: ${REASONS[code ?? ""] ?? message}`);
}

function decode(bytes: Buffer, what: string, options: { readonly ignoreBOM?: boolean } = {}): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ...options }).decode(bytes);
  } catch {
    throw new UsageError(`no UTF-8 text: ${what}`);
  }
}
