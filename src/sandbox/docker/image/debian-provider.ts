/**
 * Where Debian's files come from: the first way that works, of those that are possible here.
 */

import type { Readable } from "node:stream";
import { DebianFilter, type DebianWanted } from "./debian-filter.ts";
import type { ImageEntry } from "./image-entries.ts";
import { ImageBuildError, messageOf } from "./image-error.ts";

export interface DebianProvider {
  /** What it is, for messages. */
  readonly name: string;
  /** Why it cannot be used here; nothing if it can. */
  whyNot(): Promise<string | undefined>;
  /** Hands over tars of Debian's files, one after the other, and tells where exactly they are from. */
  read(onTar: (tar: Readable) => Promise<void>): Promise<string>;
}

export interface DebianFiles {
  readonly entries: readonly ImageEntry[];
  readonly origin: string;
}

export async function readDebianFiles(
  providers: readonly DebianProvider[],
  wanted: DebianWanted,
  signal: AbortSignal | undefined,
): Promise<DebianFiles> {
  const failures: { reason: string; cause: unknown }[] = [];
  for (const provider of providers) {
    signal?.throwIfAborted();
    const whyNot = await provider.whyNot();
    if (whyNot !== undefined) {
      failures.push({ reason: `${provider.name}: ${whyNot}`, cause: undefined });
      continue;
    }
    try {
      const filter = new DebianFilter(wanted);
      const origin = await provider.read(filter.add);
      return { entries: filter.entries(), origin };
    } catch (error) {
      signal?.throwIfAborted();
      failures.push({ reason: `${provider.name}: ${messageOf(error)}`, cause: error });
    }
  }
  throw new ImageBuildError(
    "debian_unavailable",
    "Debian's C libraries for the sandbox image could not be had. Make one of these ways work:\n" +
      failures.map(({ reason }) => `- ${reason}`).join("\n"),
    failures.findLast(({ cause }) => cause !== undefined)?.cause,
  );
}
