/**
 * The files of a chain: `audit-<chain>-<first line>.jsonl`. The one with the highest number is written to; the others are never touched
 * again but to be removed, the oldest first, when there are too many.
 */

import { createHash } from "node:crypto";
import { createServer } from "node:net";
import type { Server } from "node:net";
import { chmod, lstat, mkdir, readdir, realpath } from "node:fs/promises";
import path from "node:path";

const NAME = /^audit-(\d+)-(\d{12})\.jsonl$/;
/** More than ever run beside each other on one state folder. */
const MAX_CHAINS = 256;

export interface LogFile {
  readonly path: string;
  /** Of the line that it begins with. */
  readonly firstSeq: number;
}

export const logFileOf = (folder: string, chain: number, firstSeq: number): LogFile => ({
  path: path.join(folder, `audit-${chain}-${String(firstSeq).padStart(12, "0")}.jsonl`),
  firstSeq,
});

const OTHERS = 0o077;
const OTHERS_WRITE = 0o022;

/**
 * Makes the folder, for its owner only. One that was there and holds other things is not the log's to close: its files are private all the
 * same, but where others can write they could remove them.
 */
export async function openLogFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const found = await lstat(folder);
  if (!found.isDirectory()) throw new Error("it is no folder");
  if ((found.mode & OTHERS) === 0) return;
  if ((await readdir(folder)).every((name) => NAME.test(name))) await chmod(folder, 0o700);
  else if ((found.mode & OTHERS_WRITE) !== 0)
    throw new Error("it holds other files, and others than its owner can write to it; name a folder of its own");
}

/** The files of each chain in the folder, the oldest first. */
export async function listLogFiles(folder: string): Promise<Map<number, LogFile[]>> {
  const chains = new Map<number, LogFile[]>();
  for (const name of (await readdir(folder)).sort()) {
    const [, chain, firstSeq] = NAME.exec(name) ?? [];
    if (chain === undefined || firstSeq === undefined) continue;
    const files = chains.get(Number(chain)) ?? [];
    files.push({ path: path.join(folder, name), firstSeq: Number(firstSeq) });
    chains.set(Number(chain), files);
  }
  return chains;
}

/** What the chains of a log folder are called beside the key, which may serve more than one folder. */
export async function chainPrefix(folder: string): Promise<string> {
  return `${createHash("sha256")
    .update(await realpath(folder))
    .digest("hex")
    .slice(0, 16)}-`;
}

/**
 * Takes the first chain that no living process writes to. A chain has one writer; an instance beside another has a chain of its own.
 *
 * The claim is a socket without a file (an abstract name), which goes with its process, however that ends.
 */
export async function claimChain(prefix: string): Promise<{ readonly chain: number; readonly release: () => Promise<void> }> {
  for (let chain = 1; chain <= MAX_CHAINS; chain += 1) {
    const claim = await tryListen(`\0code-mode-audit-${prefix}${chain}`);
    if (claim === undefined) continue;
    const release = (): Promise<void> =>
      new Promise((resolve) => {
        claim.close(() => {
          resolve();
        });
      });
    return { chain, release };
  }
  throw new Error(`${MAX_CHAINS} processes write to it already`);
}

function tryListen(name: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      socket.destroy();
    });
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(undefined);
      else reject(error);
    });
    server.listen(name, () => {
      server.unref();
      resolve(server);
    });
  });
}
