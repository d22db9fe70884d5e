/** Finds where a chain goes on: the end of its files, compared with its anchor. What a writer cannot have left so is noted, never mended. */

import { open, truncate } from "node:fs/promises";

import { extentOf } from "./anchor.ts";
import type { ReadAnchor } from "./anchor.ts";
import { GENESIS, isSealed, parseLine } from "./chain.ts";
import type { Link } from "./chain.ts";
import { readLines } from "./file-lines.ts";
import { logFileOf } from "./log-files.ts";
import type { LogFile } from "./log-files.ts";
import type { ChainState } from "./log-writer.ts";

/** More than the longest line. */
const TAIL_BYTES = 64 * 1024;
const START: Link = { seq: 0, hmac: GENESIS };

export interface OpenedChain {
  readonly state: ChainState;
  /** In words, for the log itself. */
  readonly found: readonly string[];
}

export async function openChain(options: {
  readonly folder: string;
  readonly chain: number;
  readonly files: readonly LogFile[];
  readonly anchor: ReadAnchor;
  readonly key: Buffer;
}): Promise<OpenedChain> {
  const { anchor, key } = options;
  const files = [...options.files];
  const found: string[] = [];
  const ends = new Map<string, Link>();
  for (const file of files) {
    const { last, tornBytes } = await readEnd(file.path);
    if (tornBytes > 0) found.push(`${tornBytes} bytes of an unfinished line at the end of ${nameOf(file)}`);
    if (last === undefined && tornBytes > 0) found.push(`no whole line in ${nameOf(file)}`);
    if (last !== undefined) ends.set(file.path, last);
  }
  const onDisk = files.map((file) => ends.get(file.path)).findLast((end) => end !== undefined) ?? START;
  const extent = extentOf(anchor);
  if (anchor !== undefined && "problem" in anchor) found.push(anchor.problem);
  if (anchor === undefined && files.length > 0) found.push("the anchor is gone: whether lines are missing at either end cannot be told");
  const first = files[0]?.firstSeq ?? 1;
  const before = extent?.before ?? { seq: first - 1, hmac: GENESIS };
  const problem = extent && (await findWrongEnd(key, extent.last, onDisk, files));
  if (extent !== undefined && problem !== undefined) {
    found.push(problem);
    goOnAfter(extent.last, options, files, ends);
    return { state: { before, last: extent.last, files, ends }, found };
  }
  const newest = files.at(-1);
  if (newest !== undefined) ends.delete(newest.path);
  return { state: { before, last: onDisk, files, ends }, found };
}

/** What its writer cannot have left at the end: it writes its lines, and then to the anchor that they are there. */
async function findWrongEnd(key: Buffer, anchored: Link, onDisk: Link, files: readonly LogFile[]): Promise<string | undefined> {
  if (onDisk.seq < anchored.seq) return `lines ${onDisk.seq + 1} to ${anchored.seq} are missing at the end`;
  if (onDisk.seq === anchored.seq) return onDisk.hmac === anchored.hmac ? undefined : `line ${onDisk.seq} is not the line that was written`;
  const { hmac, seq } = await followSeals(key, anchored, files);
  return seq === onDisk.seq && hmac === onDisk.hmac ? undefined : `what follows line ${seq} is not as it was written`;
}

/** The last line that is tied to the given one by lines as they were written. */
async function followSeals(key: Buffer, start: Link, files: readonly LogFile[]): Promise<Link> {
  let last = start;
  const first = files.findLastIndex(({ firstSeq }) => firstSeq <= start.seq + 1);
  for (const file of files.slice(Math.max(0, first))) {
    for await (const { text } of readLines(file.path)) {
      const line = parseLine(text);
      if (line === undefined || line.seq <= start.seq) continue;
      if (line.seq !== last.seq + 1 || !isSealed(key, last.hmac, line)) return last;
      last = line;
    }
  }
  return last;
}

/** What is written goes into a file of its own: the name of each says which line it begins with. */
function goOnAfter(
  last: Link,
  { chain, folder }: { readonly chain: number; readonly folder: string },
  files: LogFile[],
  ends: Map<string, Link>,
): void {
  const newest = files.at(-1);
  // To rotation it ends where the chain goes on, whatever was added to it.
  if (newest !== undefined) ends.set(newest.path, last);
  const next = logFileOf(folder, chain, last.seq + 1);
  if (newest?.path !== next.path) files.push(next);
}

const nameOf = ({ path }: LogFile): string => path.replace(/^.*\//, "");

/** The last whole line of a file. What follows it, of a write that was cut off, is taken away: the next line would be part of it. */
async function readEnd(path: string): Promise<{ readonly last: Link | undefined; readonly tornBytes: number }> {
  const file = await open(path, "r");
  let size: number;
  let tail: Buffer;
  try {
    ({ size } = await file.stat());
    const start = Math.max(0, size - TAIL_BYTES);
    tail = Buffer.alloc(size - start);
    await file.read(tail, 0, tail.length, start);
  } finally {
    await file.close();
  }
  const end = tail.lastIndexOf("\n") + 1;
  const tornBytes = tail.length - end;
  if (tornBytes > 0) await truncate(path, size - tornBytes);
  const lines = tail.subarray(0, end).toString("utf8").split("\n");
  for (let index = lines.length - 2; index >= 0; index -= 1) {
    const line = parseLine(lines[index] ?? "");
    if (line !== undefined) return { last: { seq: line.seq, hmac: line.hmac }, tornBytes };
  }
  return { last: undefined, tornBytes };
}
