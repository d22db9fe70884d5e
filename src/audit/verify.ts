/** Looks through a log for lines that were removed, changed, moved or added, by the key and the anchors beside it. Changes nothing. */

import path from "node:path";

import { anchoredChains, extentOf, readAnchor } from "./anchor.ts";
import type { ReadAnchor } from "./anchor.ts";
import { GENESIS, isSealed, parseLine } from "./chain.ts";
import type { Link } from "./chain.ts";
import { readLines } from "./file-lines.ts";
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

/** How often a chain is looked through whose files are removed by rotation meanwhile. */
const MAX_ATTEMPTS = 20;

interface Log {
  readonly folder: string;
  readonly keyFile: string;
  readonly key: Buffer;
}

/** A log that is being written can be verified too. */
export async function verifyAuditLog(log: Log): Promise<Verification> {
  const { folder, keyFile } = log;
  const prefix = await chainPrefix(folder);
  const anchored = (await anchoredChains(keyFile, prefix)).map((name) => Number(name.slice(prefix.length)));
  const chains = [...new Set([...(await listLogFiles(folder)).keys(), ...anchored])].sort((a, b) => a - b);
  let lines = 0;
  const problems: Tampering[] = [];
  for (const chain of chains) {
    const check = await checkChain(log, chain, `${prefix}${chain}`);
    lines += check.lines;
    problems.push(...check.problems);
  }
  return { chains: chains.length, lines, problems };
}

/** What its writer does meanwhile is no problem of the chain: it is looked through again when files went by rotation. */
async function checkChain({ folder, key, keyFile }: Log, chain: number, name: string): Promise<ChainCheck> {
  // First the anchor: what is written meanwhile lies beyond it.
  const look = async (): Promise<{ anchor: ReadAnchor; files: readonly LogFile[] }> => {
    const anchor = await readAnchor(key, keyFile, name);
    return { anchor, files: (await listLogFiles(folder)).get(chain) ?? [] };
  };
  let { anchor, files } = await look();
  for (let attempt = 1; ; attempt += 1) {
    const check = new ChainCheck(key, chain, extentOf(anchor)?.last);
    if (anchor === undefined && files.length > 0)
      check.note({ problem: "it has no anchor beside the key: whether lines are missing at either end cannot be told" });
    else if (anchor !== undefined && "problem" in anchor) check.note({ problem: anchor.problem });
    await check.follow(files, extentOf(anchor)?.before);
    if (check.problems.length === 0 || attempt === MAX_ATTEMPTS) return check;
    const latest = await look();
    // Rotation renews the anchor, and then removes the file: either may have been between the two looks.
    const isSame = extentOf(latest.anchor)?.before.seq === extentOf(anchor)?.before.seq && latest.files[0]?.path === files[0]?.path;
    if (isSame) return check;
    ({ anchor, files } = latest);
  }
}

class ChainCheck {
  readonly problems: Tampering[] = [];
  lines = 0;
  readonly #key: Buffer;
  readonly #chain: number;
  /** The last line that was there; its hash is `undefined` where it cannot be known. */
  #last: { seq: number; hmac: string | undefined } | undefined;
  /** The last line that was as it was written. */
  #sealed: Link | undefined;
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
    // A crash of its writer can leave a file that the anchor has done with.
    const isAnchored = before !== undefined && (first === undefined || first.firstSeq > before.seq);
    const unanchored = first && { seq: first.firstSeq - 1, hmac: first.firstSeq === 1 ? GENESIS : undefined };
    this.#last = isAnchored ? before : unanchored;
    for (const file of files) await this.#followFile(file, file === files.at(-1));
    const seen = this.#last?.seq ?? 0;
    if (this.#end !== undefined && seen < this.#end.seq)
      this.note({ seq: this.#end.seq, problem: `lines ${seen + 1} to ${this.#end.seq} are missing at the end` });
  }

  async #followFile(file: LogFile, isNewest: boolean): Promise<void> {
    const name = path.basename(file.path);
    let number = 0;
    // A start that finds lines that were added at the end goes on before them, in a file of its own.
    if (file.firstSeq - 1 === this.#sealed?.seq) this.#last = this.#sealed;
    try {
      for await (const { isWhole, text } of readLines(file.path)) {
        number += 1;
        // It is being written, or its writer was cut off: the next start takes it away, and says so. That it was whole, the anchor knows.
        if (!isWhole && isNewest) return;
        this.#check(isWhole ? text : "", { file: name, line: number });
      }
    } catch (error) {
      this.note({ file: name, problem: `it cannot be read: ${(error as Error).message}` });
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
    else this.#sealed = { seq, hmac };
    this.#last = { seq, hmac };
  }
}
