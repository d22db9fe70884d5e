/** Looks through a log for lines that were removed, changed, moved or added, by the key and the anchors beside it. Changes nothing. */

import { createReadStream } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";

import { anchoredChains, readAnchor } from "./anchor.ts";
import { GENESIS, isSealed, parseLine } from "./chain.ts";
import type { Link } from "./chain.ts";
import { chainPrefix, listLogFiles } from "./log-files.ts";
import type { LogFile } from "./log-files.ts";

export interface Tampering {
  readonly chain: number;
  /** Name of the file. */
  readonly file?: string;
  /** In the file, from 1. */
  readonly line?: number;
  readonly seq?: number;
  readonly problem: string;
}

export interface Verification {
  readonly chains: number;
  readonly lines: number;
  /** The first of them, for each chain. */
  readonly problems: readonly Tampering[];
}

const MAX_PROBLEMS = 100;

/** A log that is being written can be verified too. */
export async function verifyAuditLog(options: {
  readonly folder: string;
  readonly keyFile: string;
  readonly key: Buffer;
}): Promise<Verification> {
  const { folder, key, keyFile } = options;
  const prefix = await chainPrefix(folder);
  // Anchors first: what is written meanwhile lies beyond them.
  const anchored = (await anchoredChains(keyFile, prefix)).map((name) => Number(name.slice(prefix.length)));
  const anchors = new Map(
    await Promise.all(anchored.map(async (chain) => [chain, await readAnchor(key, keyFile, `${prefix}${chain}`)] as const)),
  );
  const files = await listLogFiles(folder);
  const chains = [...new Set([...files.keys(), ...anchors.keys()])].sort((a, b) => a - b);
  let lines = 0;
  const problems: Tampering[] = [];
  for (const chain of chains) {
    const anchor = anchors.get(chain);
    const extent = anchor !== undefined && "extent" in anchor ? anchor.extent : undefined;
    const check = new ChainCheck(key, chain, extent?.last);
    if (anchor === undefined)
      check.note({ problem: "it has no anchor beside the key: whether lines are missing at either end cannot be told" });
    else if ("problem" in anchor) check.note({ problem: anchor.problem });
    await check.follow(files.get(chain) ?? [], extent?.before);
    lines += check.lines;
    problems.push(...check.problems);
  }
  return { chains: chains.length, lines, problems };
}

class ChainCheck {
  readonly problems: Tampering[] = [];
  lines = 0;
  readonly #key: Buffer;
  readonly #chain: number;
  /** The last line that was there; its hash is `undefined` where it cannot be known. */
  #last: { seq: number; hmac: string | undefined } | undefined;
  /** The line up to which the chain must go; what comes after it was written since. */
  readonly #end: Link | undefined;

  constructor(key: Buffer, chain: number, end: Link | undefined) {
    this.#key = key;
    this.#chain = chain;
    this.#end = end;
  }

  note(problem: Omit<Tampering, "chain">): void {
    if (this.problems.length < MAX_PROBLEMS) this.problems.push({ chain: this.#chain, ...problem });
  }

  async follow(files: readonly LogFile[], before: Link | undefined): Promise<void> {
    const [first] = files;
    if (before !== undefined) {
      // A crash of its writer can leave a file that the anchor has done with.
      const isEarlier = first !== undefined && first.firstSeq <= before.seq;
      this.#last = isEarlier ? { seq: first.firstSeq - 1, hmac: first.firstSeq === 1 ? GENESIS : undefined } : before;
    } else if (first !== undefined) this.#last = { seq: first.firstSeq - 1, hmac: first.firstSeq === 1 ? GENESIS : undefined };
    for (const file of files) await this.#followFile(file);
    const seen = this.#last?.seq ?? 0;
    if (this.#end !== undefined && seen < this.#end.seq)
      this.note({ seq: this.#end.seq, problem: `lines ${seen + 1} to ${this.#end.seq} are missing at the end` });
  }

  async #followFile(file: LogFile): Promise<void> {
    const name = path.basename(file.path);
    let number = 0;
    const input = createReadStream(file.path);
    try {
      for await (const text of createInterface({ input, crlfDelay: Infinity })) {
        number += 1;
        this.#check(text, { file: name, line: number });
      }
    } catch (error) {
      this.note({ file: name, problem: `it cannot be read: ${(error as Error).message}` });
    } finally {
      input.destroy();
    }
  }

  #check(text: string, where: { readonly file: string; readonly line: number }): void {
    const line = parseLine(text);
    if (line === undefined) {
      this.note({ ...where, problem: "this is no line of the log, or not the whole of one" });
      return;
    }
    this.lines += 1;
    const { hmac, seq } = line;
    const last = this.#last ?? { seq: seq - 1, hmac: undefined };
    const at = { ...where, seq };
    if (seq <= last.seq) {
      this.note({ ...at, problem: `it was moved, added or doubled: line ${last.seq + 1} is expected here` });
      return;
    }
    if (seq > last.seq + 1)
      this.note({
        ...at,
        problem: `${seq === last.seq + 2 ? `line ${seq - 1} is` : `lines ${last.seq + 1} to ${seq - 1} are`} missing before it`,
      });
    else if (last.hmac !== undefined && !isSealed(this.#key, last.hmac, line))
      this.note({ ...at, problem: "it was changed, or sealed with another key" });
    else if (seq === this.#end?.seq && hmac !== this.#end.hmac) this.note({ ...at, problem: "it is not the line that was written" });
    this.#last = { seq, hmac };
  }
}
