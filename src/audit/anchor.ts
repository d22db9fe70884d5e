/**
 * Where a chain begins and ends, kept beside the key: by it a removed file and a cut-off end are found, which a chain alone cannot show.
 *
 * A record of a fixed size, written in place: it is renewed with every write to the log.
 */

import { closeSync, constants, fdatasyncSync, openSync, writeSync } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import path from "node:path";

import { z } from "zod";

import { hmacOf, sameHmac } from "./chain.ts";
import type { Link } from "./chain.ts";

const RECORD_BYTES = 512;
const SUFFIX = ".anchor";

const hmac = z.string().regex(/^[0-9a-f]{64}$/);
const link = z.strictObject({ seq: z.int().nonnegative(), hmac });
const recordSchema = z.strictObject({ before: link, last: link, mac: hmac });

/** The part of a chain that is to be there: all lines after `before`, up to `last`. */
export interface Extent {
  readonly before: Link;
  readonly last: Link;
}

export class Anchor {
  readonly #key: Buffer;
  readonly #chain: string;
  readonly #file: number;

  private constructor(key: Buffer, chain: string, file: number) {
    this.#key = key;
    this.#chain = chain;
    this.#file = file;
  }

  /** `chain` names the chain, and is part of what the record is sealed with: one chain's anchor is none for another. */
  static open(key: Buffer, keyFile: string, chain: string): Anchor {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
    return new Anchor(key, chain, openSync(anchorFile(keyFile, chain), flags, 0o600));
  }

  /** Throws when it cannot be written. */
  write({ before, last }: Extent): void {
    const text = JSON.stringify({ before, last, mac: macOf(this.#key, this.#chain, { before, last }) });
    const record = `${text.padEnd(RECORD_BYTES - 1)}\n`;
    if (writeSync(this.#file, record, 0) !== RECORD_BYTES) throw new Error("the anchor was not written whole");
  }

  /** Has the disk take it: one that is older than a removed file would miss that file. */
  sync(): void {
    fdatasyncSync(this.#file);
  }

  close(): void {
    closeSync(this.#file);
  }
}

export type ReadAnchor = { readonly extent: Extent } | { readonly problem: string } | undefined;

/** The extent that is written down; `undefined` where there is no anchor. */
export async function readAnchor(key: Buffer, keyFile: string, chain: string): Promise<ReadAnchor> {
  let text: string;
  try {
    text = await readFile(anchorFile(keyFile, chain), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  if (text === "") return undefined;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return { problem: "its anchor, beside the key, cannot be read" };
  }
  const parsed = recordSchema.safeParse(json);
  if (!parsed.success) return { problem: "its anchor, beside the key, cannot be read" };
  const { mac, ...extent } = parsed.data;
  return sameHmac(mac, macOf(key, chain, extent))
    ? { extent }
    : { problem: "its anchor, beside the key, was changed, or is another key's" };
}

export const extentOf = (anchor: ReadAnchor): Extent | undefined =>
  anchor !== undefined && "extent" in anchor ? anchor.extent : undefined;

/** The chains of a log folder that have an anchor beside the key. */
export async function anchoredChains(keyFile: string, prefix: string): Promise<string[]> {
  const names = await readdir(path.dirname(keyFile)).catch(() => []);
  const start = `${path.basename(keyFile)}.${prefix}`;
  return names
    .filter((name) => name.startsWith(start) && name.endsWith(SUFFIX))
    .map((name) => name.slice(path.basename(keyFile).length + 1, -SUFFIX.length));
}

const anchorFile = (keyFile: string, chain: string): string => `${keyFile}.${chain}${SUFFIX}`;

const macOf = (key: Buffer, chain: string, { before, last }: Extent): string =>
  hmacOf(key, `anchor\n${chain}\n${before.seq} ${before.hmac}\n${last.seq} ${last.hmac}`);
