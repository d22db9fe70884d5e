/** What of an archive may be written to the host. The forged ones are in test/security/tampering-persist.test.ts, and fuzzed. */

import assert from "node:assert/strict";

import { PersistReader } from "../../../src/bridge/persist-reader.ts";
import type { PersistCaps } from "../../../src/bridge/persist-reader.ts";
import { ARCHIVE_END, fileHeader, folderHeader, paddingBytes } from "../../../sandbox-image/runner/archive-writer.ts";

const CAPS: PersistCaps = { maxFiles: 10, maxBytes: 100_000, roots: ["out", "deep/kept"] };

const file = (name: string, content: string): Buffer =>
  Buffer.concat([
    fileHeader(name, Buffer.byteLength(content)),
    Buffer.from(content),
    Buffer.alloc(paddingBytes(Buffer.byteLength(content))),
  ]);

/** Reads the archive in chunks of so many bytes; puts the files together as they would be on a disk. */
function read(entries: readonly Uint8Array[], chunkBytes = Infinity, caps: Partial<PersistCaps> = {}) {
  const reader = new PersistReader({ ...CAPS, ...caps });
  const tar = Buffer.concat([...entries, ARCHIVE_END]);
  const files: Record<string, string> = {};
  const folders: string[] = [];
  let open: string | undefined;
  for (let from = 0; from < tar.byteLength; from += chunkBytes) {
    reader.push(tar.subarray(from, from + chunkBytes));
    for (const part of reader.takeParts()) {
      if (part.kind === "folder") {
        folders.push(part.path);
        continue;
      }
      assert.equal(part.begins ? undefined : part.path, open, "a file goes on where it was left");
      files[part.path] = (part.begins ? "" : (files[part.path] ?? "")) + Buffer.concat(part.pieces).toString();
      open = part.ends ? undefined : part.path;
      if (part.ends) assert.equal(Buffer.byteLength(files[part.path] ?? ""), part.size);
    }
  }
  reader.finish();
  return { files, folders, refused: reader.refused, failure: reader.failure };
}

describe("persist-reader: what may be kept", () => {
  const entries = [
    folderHeader("out/a"),
    file("out/a/x", "x".repeat(2000)),
    file("out/empty", ""),
    file("deep/kept/é", "y"),
    folderHeader("out/none"),
  ];
  const expected = {
    files: { "out/a/x": "x".repeat(2000), "out/empty": "", "deep/kept/é": "y" },
    folders: ["out/a", "out/none"],
    refused: [],
    failure: undefined,
  };

  for (const chunkBytes of [1, 100, 511, 512, 513, 2048, Infinity]) {
    it(`is the same in chunks of ${chunkBytes} bytes`, () => {
      assert.deepEqual(read(entries, chunkBytes), expected);
    });
  }

  it("is void over a cap, of which refused entries count too", () => {
    assert.equal(read(entries, Infinity, { maxFiles: 5 }).failure, undefined);
    assert.match(read(entries, Infinity, { maxFiles: 4 }).failure ?? "", /more than 4 files and folders/);
    assert.match(read([file("data/x", ""), file("out/x", "")], Infinity, { maxFiles: 1 }).failure ?? "", /more than 1/);
    assert.equal(read(entries, Infinity, { maxBytes: 2001 }).failure, undefined);
    assert.match(read(entries, Infinity, { maxBytes: 2000 }).failure ?? "", /larger than 2000 bytes/);
  });

  it("is void over the cap on files with the folders that no entry is of: they are made all the same", () => {
    const deep = [file("out/a/b/c/x", ""), file("out/a/b/d/x", "")];
    assert.equal(read(deep, Infinity, { maxFiles: 6 }).failure, undefined);
    assert.match(read(deep, Infinity, { maxFiles: 5 }).failure ?? "", /more than 5 files and folders/);
    assert.match(read([folderHeader("deep/kept/a/b")], Infinity, { maxFiles: 1 }).failure ?? "", /more than 1 files/);
    assert.equal(read([file("deep/kept/x", "")], Infinity, { maxFiles: 1 }).failure, undefined);
  });

  it("is void when the archive is cut anywhere but between two entries", () => {
    const tar = file("out/a", "x".repeat(600));
    for (const cut of [1, 511, 513, 1024, 1100]) {
      const reader = new PersistReader(CAPS);
      reader.push(tar.subarray(0, cut));
      reader.finish();
      assert.match(reader.failure ?? "", /damaged/, `cut at ${cut}`);
    }
  });

  it("is not what was refused, and what follows is taken all the same", () => {
    const { files, refused } = read([file("../x", "1"), file("out/.code-mode-x", "2"), file("out/fine", "3")]);
    assert.deepEqual(files, { "out/fine": "3" });
    assert.deepEqual(
      refused.map(({ path }) => path),
      ['"../x"', "out/.code-mode-x"],
    );
  });
});
