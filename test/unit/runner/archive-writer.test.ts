/** The archive of output files, read back by the reader that the service uses. */

import assert from "node:assert/strict";

import fc from "fast-check";
import { extract } from "tar-stream";

import { ARCHIVE_END, fileHeader, paddingBytes } from "../../../sandbox-image/runner/archive-writer.ts";

interface Entry {
  readonly name: string;
  readonly content: Buffer;
}

function archiveOf(entries: readonly Entry[]): Buffer {
  const parts = entries.flatMap(({ name, content }) => [
    fileHeader(name, content.byteLength),
    content,
    Buffer.alloc(paddingBytes(content.byteLength)),
  ]);
  return Buffer.concat([...parts, ARCHIVE_END]);
}

async function read(archive: Buffer): Promise<Entry[]> {
  const entries: Entry[] = [];
  const reader = extract();
  reader.end(archive);
  for await (const entry of reader) {
    assert.equal(entry.header.type, "file");
    const chunks: Buffer[] = [];
    for await (const chunk of entry) chunks.push(chunk as Buffer);
    const content = Buffer.concat(chunks);
    assert.equal(entry.header.size, content.byteLength);
    entries.push({ name: entry.header.name, content });
  }
  return entries;
}

describe("Runner: archive", () => {
  const names: Record<string, string> = {
    "a short name": "temp/a.txt",
    "a name of 100 bytes": `temp/${"n".repeat(95)}`,
    "a name of 101 bytes": `temp/${"n".repeat(96)}`,
    "a name of several thousand bytes": "deep/".repeat(800) + "end",
    "a name with spaces and signs": "temp/a b=c\td'\"*?",
    "a name outside of ASCII": "temp/ünïcode/文件/😀.txt",
    "a name with a line break": "temp/a\nb",
  };
  for (const [title, name] of Object.entries(names)) {
    it(`carries ${title}`, async () => {
      const entries = [
        { name, content: Buffer.from("content") },
        { name: "after", content: Buffer.alloc(0) },
      ];
      assert.deepEqual(await read(archiveOf(entries)), entries);
    });
  }

  it("carries any names and contents", async () => {
    const entry = fc.record(
      {
        name: fc.string({ unit: "grapheme", minLength: 1, maxLength: 200 }).filter((name) => !name.includes("\0") && !name.endsWith("/")),
        content: fc.uint8Array({ maxLength: 2000 }).map((bytes) => Buffer.from(bytes)),
      },
      { noNullPrototype: true },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { maxLength: 5 }), async (entries) => {
        assert.deepEqual(await read(archiveOf(entries)), entries);
      }),
    );
  });

  it("states sizes over 8 GiB", async () => {
    const size = 9 * 2 ** 30 + 1;
    const reader = extract();
    const stated = new Promise<number | undefined>((resolve) => reader.on("entry", (header) => resolve(header.size)));
    reader.write(fileHeader("huge", size));
    assert.equal(await stated, size);
    reader.destroy();
  });

  it("counts the length of a pax record with its own digits", () => {
    for (let length = 85; length < 115; length += 1) {
      const name = `ü${"x".repeat(length)}`;
      const header = Buffer.from(fileHeader(name, 0)).toString("utf8", 512, 1024);
      const [record = ""] = header.split("\0");
      assert.equal(Number.parseInt(record), Buffer.byteLength(record));
    }
  });
});
