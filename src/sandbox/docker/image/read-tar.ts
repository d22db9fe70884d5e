/**
 * Reads a tar stream, keeping in memory only what is asked for.
 */

import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { extract, type Header } from "tar-stream";

/** Shows each entry to `visit`, which may take its content. */
export async function readTar(
  tar: Readable,
  visit: (header: Header, content: () => Promise<Buffer>) => void | Promise<void>,
): Promise<void> {
  const reader = extract();
  const reading = async (): Promise<void> => {
    for await (const entry of reader) {
      await visit(entry.header, () => contentOf(entry, entry.header.size));
      entry.resume();
    }
  };
  await Promise.all([pipeline(tar, reader), reading()]);
}

/** One buffer of the size that the header names: the runtime's binary is not held twice. */
async function contentOf(entry: AsyncIterable<unknown>, sizeBytes: number): Promise<Buffer> {
  const content = Buffer.alloc(sizeBytes);
  let offset = 0;
  for await (const chunk of entry as AsyncIterable<Buffer>) offset += chunk.copy(content, offset);
  return content;
}
