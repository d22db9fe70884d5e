/** Reads entries from the newest back, a bounded piece of the files at a time. */

import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";

import type { AuditEntry, AuditEventType } from "../domain/audit-event.ts";
import { parseLine } from "./chain.ts";
import type { LogFile } from "./log-files.ts";

export interface AuditQuery {
  /** Only entries before this one, by number. */
  readonly before?: number | undefined;
  /** Only entries of this time or later, milliseconds since the epoch. */
  readonly sinceMs?: number | undefined;
  readonly type?: AuditEventType | undefined;
  readonly limit: number;
}

export interface AuditPage {
  /** The newest first. */
  readonly entries: readonly AuditEntry[];
  /** Where to go on: `before` of the next query. `undefined` when there is nothing more. */
  readonly next: number | undefined;
}

const BLOCK_BYTES = 256 * 1024;
/** Holds a whole line wherever it begins. */
const PROBE_BYTES = 32 * 1024;
/** What one query reads. It may find less than its limit by then, and says where to go on. */
const MAX_READ_BYTES = 16 * 2 ** 20;

export async function readBack(source: readonly LogFile[] | readonly AuditEntry[], query: AuditQuery): Promise<AuditPage> {
  const entries: AuditEntry[] = [];
  let lastSeen: number | undefined;
  for await (const entry of newestFirst(source, query.before ?? Infinity)) {
    if (entry === "pause") return { entries, next: lastSeen };
    if (query.sinceMs !== undefined && Date.parse(entry.time) < query.sinceMs) break;
    lastSeen = entry.seq;
    if (query.type !== undefined && entry.type !== query.type) continue;
    entries.push(entry);
    if (entries.length === query.limit) return { entries, next: entry.seq > 1 ? entry.seq : undefined };
  }
  return { entries, next: undefined };
}

async function* newestFirst(source: readonly LogFile[] | readonly AuditEntry[], before: number): AsyncGenerator<AuditEntry | "pause"> {
  const budget = { bytes: MAX_READ_BYTES };
  for (const item of [...source].reverse()) {
    if (!("path" in item)) {
      if (item.seq < before) yield item;
      continue;
    }
    const file = item as LogFile;
    if (file.firstSeq >= before) continue;
    for await (const line of linesBackwards(file.path, before, budget)) {
      if (line === "pause") {
        yield "pause";
        return;
      }
      const entry = parseLine(line);
      if (entry !== undefined && entry.seq < before) yield entry.fields as AuditEntry;
    }
  }
}

/** The whole lines of a file from one a little after `before` to its first. One that was removed meanwhile has none. */
async function* linesBackwards(path: string, before: number, budget: { bytes: number }): AsyncGenerator<string> {
  const file = await open(path, "r").catch(() => undefined);
  if (file === undefined) return;
  try {
    let position = await endOf(file, before);
    let rest = Buffer.alloc(0);
    let isWhole = false;
    while (position > 0) {
      if (budget.bytes <= 0) {
        yield "pause";
        return;
      }
      const length = Math.min(BLOCK_BYTES, position);
      const block = Buffer.alloc(length);
      position -= length;
      await file.read(block, 0, length, position);
      budget.bytes -= length;
      const text = Buffer.concat([block, rest]);
      const first = position === 0 ? 0 : text.indexOf("\n") + 1;
      const lines = text.subarray(first).toString("utf8").split("\n");
      // What follows the last end of line is being written.
      if (!isWhole) lines.pop();
      isWhole = true;
      for (const line of lines.reverse()) if (line !== "") yield line;
      rest = text.subarray(0, first);
    }
  } finally {
    await file.close();
  }
}

/** Where to begin in a file: no line before `before` is after this place, and not many of the others are before it. */
async function endOf(file: FileHandle, before: number): Promise<number> {
  let { size: end } = await file.stat();
  if (before === Infinity) return end;
  const block = Buffer.alloc(PROBE_BYTES);
  for (let start = 0; end - start > BLOCK_BYTES;) {
    const middle = Math.floor((start + end) / 2);
    const { bytesRead } = await file.read(block, 0, PROBE_BYTES, middle);
    const text = block.toString("utf8", 0, bytesRead);
    const lineStart = text.indexOf("\n") + 1;
    const lineEnd = text.indexOf("\n", lineStart);
    const seq = lineStart > 0 && lineEnd > 0 ? parseLine(text.slice(lineStart, lineEnd))?.seq : undefined;
    // What is no line tells nothing: then all of the rest is read.
    if (seq === undefined) break;
    if (seq < before) start = middle;
    else end = middle + PROBE_BYTES;
  }
  return end;
}
