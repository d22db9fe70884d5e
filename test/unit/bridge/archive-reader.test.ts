import assert from "node:assert/strict";

import fc from "fast-check";
import { pack } from "tar-stream";
import type { Header } from "tar-stream";

import { ArchiveReader, maxArchiveBytes } from "../../../src/bridge/archive-reader.ts";
import type { ArchiveCaps } from "../../../src/bridge/archive-reader.ts";
import type { OutputFile } from "../../../src/domain/execution.ts";

const CAPS: ArchiveCaps = { maxFiles: 10, maxBytes: 10_000, roots: ["temp", "out/deep"], patterns: ["**"] };
const DAMAGED = { path: "*", size: null, error: "the archive of the output files is damaged" };
const BLOCK = 512;

type Entry = Partial<Header> & { readonly name: string; readonly content?: string | Buffer };

/** A tar as the runner makes it. */
async function tarOf(...entries: Entry[]): Promise<Buffer> {
  const tar = pack();
  for (const { content, ...header } of entries) {
    if (content === undefined) tar.entry(header);
    else tar.entry(header, content);
  }
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** Changes bytes of the first header and makes its checksum right again. */
function patched(tar: Buffer, offset: number, bytes: string | Buffer): Buffer {
  const copy = Buffer.from(tar);
  Buffer.from(bytes).copy(copy, offset);
  copy.fill(" ", 148, 156);
  const sum = copy.subarray(0, BLOCK).reduce((total, byte) => total + byte, 0);
  copy.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return copy;
}

function read(tar: Buffer, options: { caps?: Partial<ArchiveCaps>; chunkBytes?: number } = {}): OutputFile[] {
  const reader = new ArchiveReader({ ...CAPS, ...options.caps });
  const chunkBytes = options.chunkBytes ?? (tar.byteLength || 1);
  for (let offset = 0; offset < tar.byteLength; offset += chunkBytes) reader.push(tar.subarray(offset, offset + chunkBytes));
  return reader.finish();
}

const errorsOf = (files: readonly OutputFile[]): string[] =>
  files.map((file) => `${file.path}: ${"error" in file ? file.error : "accepted"}`);

describe("archive-reader: honest archives", () => {
  it("give their files, whatever the chunking", async () => {
    const tar = await tarOf(
      { name: "temp/a.txt", content: "héllo" },
      { name: "temp/empty", content: "" },
      { name: "out/deep/b/c", content: "x".repeat(3000) },
    );
    const expected = [
      { path: "temp/a.txt", content: "héllo", encoding: "utf8", size: 6 },
      { path: "temp/empty", content: "", encoding: "utf8", size: 0 },
      { path: "out/deep/b/c", content: "x".repeat(3000), encoding: "utf8", size: 3000 },
    ];
    for (const chunkBytes of [1, 7, 511, 512, 513, 100_000])
      assert.deepEqual(read(tar, { chunkBytes }), expected, `${chunkBytes} bytes at a time`);
  });

  it("with no file, or no byte at all, give no file", async () => {
    assert.deepEqual(read(await tarOf()), []);
    assert.deepEqual(read(Buffer.alloc(0)), []);
  });

  it("give what is no UTF-8 as base64, and UTF-8 as it is, its byte order mark included", async () => {
    const bytes = Buffer.from([0xff, 0xfe, 0, 0x80]);
    assert.deepEqual(read(await tarOf({ name: "temp/b", content: bytes }, { name: "temp/t", content: "\ufefftext\0" })), [
      { path: "temp/b", content: bytes.toString("base64"), encoding: "base64", size: 4 },
      { path: "temp/t", content: "\ufefftext\0", encoding: "utf8", size: 8 },
    ]);
  });

  it("give every content back, byte for byte", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 1500 }), fc.integer({ min: 1, max: 700 }), async (bytes, chunkBytes) => {
        const [file] = read(await tarOf({ name: "temp/f", content: Buffer.from(bytes) }), { chunkBytes });
        assert.ok(file !== undefined && "content" in file);
        assert.deepEqual(Buffer.from(file.content, file.encoding), Buffer.from(bytes));
      }),
      { numRuns: 50 },
    );
  });

  it("with long names are read", async () => {
    const name = `temp/${"d".repeat(200)}/${"f".repeat(200)}`;
    assert.deepEqual(read(await tarOf({ name, content: "1" })), [{ path: name, content: "1", encoding: "utf8", size: 1 }]);
  });
});

describe("archive-reader: hostile names", () => {
  for (const [name, reported] of [
    ["/etc/passwd", '"/etc/passwd": the name is absolute; give a path relative to the workspace'],
    ["temp/../../etc/passwd", '"temp/../../etc/passwd": the name contains ".."; a path stays inside the workspace'],
    ["..", '"..": the name contains ".."; a path stays inside the workspace'],
    ["temp\\..\\x", '"temp\\\\..\\\\x": the name holds a backslash; use "/" between folders'],
    ["temp/\u001b[2Jx", '"temp/\\u001b[2Jx": the name holds a control character'],
    ["temp/a\nb", '"temp/a\\nb": the name holds a control character'],
    ["data/secret", "data/secret: lies outside the writable folders"],
    ["temperature", "temperature: lies outside the writable folders"],
    ["out/other", "out/other: lies outside the writable folders"],
    [".", ".: lies outside the writable folders"],
    ["temp", "temp: lies outside the writable folders"],
  ] as const) {
    it(`${JSON.stringify(name)} is reported, harmlessly, and not taken`, async () => {
      const files = read(await tarOf({ name, content: "evil" }, { name: "temp/good", content: "good" }));
      assert.deepEqual(errorsOf(files), [reported, "temp/good: accepted"]);
      assert.ok(!JSON.stringify(files).includes("evil"));
    });
  }

  it("are taken in normal form", async () => {
    assert.deepEqual(errorsOf(read(await tarOf({ name: "./temp//a", content: "" }))), ["temp/a: accepted"]);
  });

  it("that are no UTF-8 are taken as a reader of text would see them, once", async () => {
    const tar = patched(await tarOf({ name: "temp/????", content: "" }), 5, Buffer.from([0xff, 0xfe, 0xc3, 0x28]));
    const [file, ...more] = read(tar);
    assert.equal(file!.path, "temp/\ufffd\ufffd\ufffd(");
    assert.deepEqual(more, []);
  });

  it("that come twice count once: the first stands", async () => {
    const files = read(
      await tarOf(
        { name: "temp/a", content: "first" },
        { name: "temp/./a", content: "second" },
        { name: "temp/a", type: "symlink", linkname: "/" },
      ),
    );
    assert.deepEqual(files, [{ path: "temp/a", content: "first", encoding: "utf8", size: 5 }]);
  });

  it("are cut when they are very long", async () => {
    const [file] = read(await tarOf({ name: `/${"x".repeat(5000)}`, content: "" }));
    assert.ok(file!.path.length < 300);
    assert.equal("error" in file! && file.error, "the name is longer than 1024 bytes");
  });

  it("that differ only where they are cut are each told", async () => {
    const names = ["a", "b"].map((end) => `temp/\u0001${"x".repeat(230)}${"y".repeat(60)}${end}`);
    assert.equal(errorsOf(read(await tarOf(...names.map((name) => ({ name, content: "" }))))).length, 2);
  });

  it("are the archive's, not an extended header's, to trust: that one is checked too", async () => {
    const files = read(await tarOf({ name: "temp/a", pax: { path: "../../escaped" }, content: "evil" }));
    assert.deepEqual(errorsOf(files), ['"../../escaped": the name contains ".."; a path stays inside the workspace']);
  });
});

describe("archive-reader: what is no regular file", () => {
  for (const type of ["symlink", "link", "character-device", "block-device", "directory", "fifo"] as const) {
    it(`a ${type} is reported and not taken`, async () => {
      const tar = await tarOf({ name: "temp/thing", type, linkname: "/etc/passwd" }, { name: "temp/good", content: "good" });
      assert.deepEqual(errorsOf(read(tar)), [`temp/thing: is no regular file but a ${type}`, "temp/good: accepted"]);
    });
  }

  it("a file below a link is a file: nothing is ever followed, since nothing is written", async () => {
    const tar = await tarOf({ name: "temp/link", type: "symlink", linkname: "/etc" }, { name: "temp/link/passwd", content: "x" });
    assert.deepEqual(errorsOf(read(tar)), ["temp/link: is no regular file but a symlink", "temp/link/passwd: accepted"]);
  });
});

describe("archive-reader: caps", () => {
  it("a file that would go over the bytes is reported with its size; smaller ones after it still come", async () => {
    const tar = await tarOf(
      { name: "temp/a", content: "a".repeat(6000) },
      { name: "temp/b", content: "b".repeat(6000) },
      { name: "temp/c", content: "c".repeat(4000) },
    );
    const files = read(tar);
    assert.deepEqual(errorsOf(files), [
      "temp/a: accepted",
      "temp/b: the output files together are larger than 10000 bytes",
      "temp/c: accepted",
    ]);
    assert.equal(files[1]!.size, 6000);
  });

  it("more files than the cap end the archive, with an entry that says so", async () => {
    const tar = await tarOf(...Array.from({ length: 12 }, (_, index) => ({ name: `temp/${index}`, content: "x" })));
    const files = read(tar, { caps: { maxFiles: 10 } });
    assert.equal(files.length, 11);
    assert.deepEqual(files.at(-1), { path: "*", size: null, error: "there are more than 10 output files" });
    assert.equal(read(await tarOf(...Array.from({ length: 10 }, (_, index) => ({ name: `temp/${index}`, content: "x" })))).length, 10);
  });

  it("refused entries count as files, so that reports cannot flood either", async () => {
    const tar = await tarOf(...Array.from({ length: 500 }, (_, index) => ({ name: `/evil/${index}`, content: "" })));
    assert.equal(read(tar, { chunkBytes: 100 }).length, 11);
  });

  it("a huge declared size is refused before anything of it is kept, and does not wait for its end", async () => {
    const tar = patched(await tarOf({ name: "temp/huge", content: "x".repeat(1000) }), 124, "77777777777\0");
    assert.deepEqual(read(tar), [
      { path: "temp/huge", size: 0o77777777777, error: "the output files together are larger than 10000 bytes" },
      DAMAGED,
    ]);
  });

  it("a file that was not asked for is reported and not taken", async () => {
    const tar = await tarOf(
      { name: "temp/a.txt", content: "a" },
      { name: "temp/b.sh", content: "b" },
      { name: "temp/deep/c.txt", content: "c" },
    );
    assert.deepEqual(errorsOf(read(tar, { caps: { patterns: ["temp/*.txt", "out/**"] } })), [
      "temp/a.txt: accepted",
      "temp/b.sh: was not asked for",
      "temp/deep/c.txt: was not asked for",
    ]);
  });

  it("patterns and names made to take long are given up", async () => {
    const name = (index: number): string => `temp/${"a".repeat(200)}/${"a".repeat(240)}${index}`;
    const tar = await tarOf(...Array.from({ length: 1000 }, (_, index) => ({ name: name(index), content: "" })));
    const patterns = Array.from({ length: 64 }, (_, index) => `temp/**/${"*a".repeat(120)}${index}b`);
    const beganAt = performance.now();
    const files = read(tar, { caps: { maxFiles: 1000, patterns } });
    assert.equal("error" in files[999]! && files[999].error, "the patterns take too long to be matched");
    assert.ok(performance.now() - beganAt < 2000);
  });

  it("the room for headers and padding is part of what an archive may have", async () => {
    const tar = await tarOf(
      ...Array.from({ length: 10 }, (_, index) => ({
        name: `temp/${"n".repeat(240)}/${"n".repeat(240)}${index}`,
        content: "x".repeat(1000),
      })),
    );
    assert.ok(tar.byteLength <= maxArchiveBytes({ maxFiles: 10, maxBytes: 10_000 }));
  });
});

describe("archive-reader: tars that only other readers understand", () => {
  const good: Entry = { name: "temp/good", content: "good" };
  const cases: readonly [title: string, tar: () => Promise<Buffer>, expected: readonly string[]][] = [
    [
      // Some readers wait for ever for the content that a directory says it has.
      "a directory with a size",
      async () =>
        Buffer.concat([patched(await tarOf({ name: "temp/d", content: "x" }), 156, "5").subarray(0, 2 * BLOCK), await tarOf(good)]),
      ["temp/d: is no regular file but a directory", "temp/good: accepted"],
    ],
    [
      "a global header, which would hold for all that follows",
      async () =>
        Buffer.concat([
          patched(await tarOf({ name: "temp/g", content: "19 path=temp/evil\n" }), 156, "g").subarray(0, 2 * BLOCK),
          await tarOf(good),
        ]),
      ['temp/g: is no regular file but a thing of type "g"', "temp/good: accepted"],
    ],
    [
      "a GNU long name",
      async () =>
        Buffer.concat([
          patched(await tarOf({ name: "././@LongLink", content: "temp/evil\0" }), 156, "L").subarray(0, 2 * BLOCK),
          await tarOf(good),
        ]),
      ['@LongLink: is no regular file but a thing of type "L"', "temp/good: accepted"],
    ],
    ["a sparse file", async () => patched(await tarOf(good), 156, "S"), ['temp/good: is no regular file but a thing of type "S"']],
    ["a size in base 256", async () => patched(await tarOf(good), 124, Buffer.from([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4])), ["damaged"]],
    ["a negative size", async () => patched(await tarOf(good), 124, Buffer.alloc(12, 0xff)), ["damaged"]],
    ["a size that is none", async () => patched(await tarOf(good), 124, "4x"), ["damaged"]],
    ["a negative size in a pax header", () => tarOf({ ...good, pax: { size: "-512" } }), ["damaged"]],
    [
      "a size in a pax header that hides the next header",
      () => tarOf({ ...good, pax: { size: "1024" } }, good),
      ["temp/good: accepted", "damaged"],
    ],
    [
      "a pax record that is longer than its header",
      () => tarOf({ ...good, pax: { x: "1" } }).then((tar) => patchedContent(tar, "99 x=1\n")),
      ["damaged"],
    ],
    ["a pax record of no length", () => tarOf({ ...good, pax: { x: "1" } }).then((tar) => patchedContent(tar, "0 x=1\n")), ["damaged"]],
    [
      "a pax record of a negative length",
      () => tarOf({ ...good, pax: { x: "1" } }).then((tar) => patchedContent(tar, "-6 x=1\n")),
      ["damaged"],
    ],
    [
      "pax records by other names",
      () => tarOf({ ...good, pax: { __proto__x: "1", linkpath: "/etc", "GNU.sparse.name": "x" } }),
      ["temp/good: accepted"],
    ],
    ["a header in the old form", async () => patched(await tarOf(good), 257, Buffer.alloc(8)), ["damaged"]],
    [
      "a second archive",
      async () => Buffer.concat([await tarOf(good), await tarOf({ name: "temp/second", content: "" })]),
      ["temp/good: accepted", "damaged"],
    ],
    [
      "something after the end",
      async () => Buffer.concat([await tarOf(good), Buffer.alloc(BLOCK, "x")]),
      ["temp/good: accepted", "damaged"],
    ],
    ["more zeros after the end", async () => Buffer.concat([await tarOf(good), Buffer.alloc(20 * BLOCK)]), ["temp/good: accepted"]],
  ];
  const patchedContent = (tar: Buffer, content: string): Buffer => {
    const copy = Buffer.from(tar);
    copy.write(content, BLOCK, "latin1");
    return copy;
  };
  for (const [title, tar, expected] of cases) {
    it(`${title} is read as the runner would have written it, or is damage`, async () => {
      const bytes = await tar();
      for (const chunkBytes of [1, 512, 100_000]) {
        const got = errorsOf(read(bytes, { chunkBytes })).map((line) => (line === `*: ${DAMAGED.error}` ? "damaged" : line));
        assert.deepEqual(got, expected, `${chunkBytes} bytes at a time`);
      }
    });
  }

  it("extended headers without end cost time in proportion to their bytes", async () => {
    const header = (type: string, content: Buffer): Promise<Buffer> =>
      tarOf({ name: "temp/h", content }).then((tar) => patched(tar, 156, type).subarray(0, -2 * BLOCK));
    const records = Array.from({ length: 500_000 }, (_, index) => ` ${index.toString(36).padStart(4, "0")}=\n`).map(
      (rest) => `${rest.length + 1}${rest}`,
    );
    const bomb = await header("g", Buffer.from(records.join("")));
    const small = await header("x", Buffer.from("11 a=bbbbb\n"));
    const reader = new ArchiveReader(CAPS);
    const beganAt = performance.now();
    reader.push(Buffer.concat([bomb, ...Array<Buffer>(10_000).fill(small)]));
    assert.equal(reader.finish().length > 0, true);
    assert.ok(performance.now() - beganAt < 1000);
  });
});

describe("archive-reader: damage", () => {
  it("an archive that breaks off inside a file says so and gives what came before", async () => {
    const tar = await tarOf({ name: "temp/a", content: "whole" }, { name: "temp/b", content: "x".repeat(600) });
    for (const bytes of [1100, 1200, 1536, 1537, 2047]) {
      for (const chunkBytes of [1, 100, 5000]) {
        const files = read(tar.subarray(0, bytes), { chunkBytes });
        assert.deepEqual(
          files,
          [{ path: "temp/a", content: "whole", encoding: "utf8", size: 5 }, DAMAGED],
          `${bytes} bytes, ${chunkBytes} at a time`,
        );
      }
    }
  });

  it("an archive without its final blocks is whole as long as its files are", async () => {
    const tar = await tarOf({ name: "temp/a", content: "x" }, { name: "temp/z", content: "" });
    for (const chunkBytes of [1, 512, 5000])
      assert.deepEqual(errorsOf(read(tar.subarray(0, 3 * BLOCK), { chunkBytes })), ["temp/a: accepted", "temp/z: accepted"]);
  });

  for (const [title, bytes] of [
    ["no tar at all", Buffer.alloc(2000, "A")],
    ["a header cut short", Buffer.alloc(100, 1)],
    ["an extended header of gigabytes", undefined],
  ] as const) {
    it(`${title} is reported`, async () => {
      const tar = bytes ?? patched(patched(await tarOf({ name: "temp/x", content: "" }), 156, "x"), 124, "77777777777\0");
      assert.deepEqual(read(tar), [DAMAGED]);
    });
  }

  it("a wrong checksum after a good file keeps the good file", async () => {
    const tar = await tarOf({ name: "temp/a", content: "x" }, { name: "temp/b", content: "y" });
    tar.write("0000000\0", 2 * BLOCK + 148, "latin1");
    assert.deepEqual(errorsOf(read(tar)), ["temp/a: accepted", `*: ${DAMAGED.error}`]);
  });

  it("never throws, hangs or goes over its caps, whatever bytes are flipped, cut or doubled", async () => {
    const tar = await tarOf(
      { name: "temp/a", content: "a".repeat(600) },
      { name: "temp/b", type: "symlink", linkname: "x" },
      { name: `temp/${"l".repeat(150)}`, content: "b" },
      { name: "temp/é", content: "c" },
    );
    const edit = fc.record({ offset: fc.nat(tar.byteLength - 1), value: fc.nat(255) });
    fc.assert(
      fc.property(
        fc.array(edit, { maxLength: 6 }),
        fc.nat(tar.byteLength),
        fc.constantFrom(1, 300, 512, 9999),
        fc.boolean(),
        (edits, length, chunkBytes, fixChecksum) => {
          let bytes: Buffer = Buffer.from(tar);
          for (const { offset, value } of edits) bytes[offset] = value;
          if (fixChecksum) bytes = patched(bytes, 0, "");
          const files = read(bytes.subarray(0, length), { chunkBytes, caps: { maxBytes: 700, maxFiles: 5 } });
          assert.ok(files.length <= 6);
          const kept = files.filter((file) => "content" in file);
          assert.ok(kept.reduce((sum, file) => sum + Buffer.from(file.content, file.encoding).byteLength, 0) <= 700);
          for (const { path } of kept) assert.ok(path.startsWith("temp/") || path.startsWith("out/deep/"), path);
        },
      ),
      { numRuns: 300 },
    );
  });
});
