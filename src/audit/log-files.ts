/**
 * The files of a chain: `audit-<chain>-<first line>.jsonl`. The one with the highest number is written to; the others are never touched
 * again but to be removed, the oldest first, when there are too many.
 */

import { createHash } from "node:crypto";
import { createServer } from "node:net";
import type { Server } from "node:net";
import { readdir, realpath } from "node:fs/promises";
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
