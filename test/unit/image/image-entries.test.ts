import assert from "node:assert/strict";
import { Readable } from "node:stream";
import fc from "fast-check";
import { assertSafeHeaders, type EntryHeader, type ImageEntry, packContext } from "../../../src/sandbox/docker/image/image-entries.ts";
import { readTar } from "../../../src/sandbox/docker/image/read-tar.ts";

const DOCKERFILE = Buffer.from("FROM scratch\n");
const ENTRIES: readonly ImageEntry[] = [
  { type: "file", path: "usr/local/bin/node", mode: 0o711, content: Buffer.from("node") },
  { type: "file", path: "etc/hosts", mode: 0o644, content: Buffer.from("127.0.0.1 localhost\n") },
  { type: "directory", path: "run/code-mode", mode: 0o755 },
  { type: "symlink", path: "lib", target: "usr/lib" },
  { type: "file", path: "usr/bin/git", mode: 0o710, gid: 60_706, content: Buffer.from("git") },
];

const packed = async (entries: readonly ImageEntry[]): Promise<Buffer> =>
  Buffer.concat((await (await packContext(DOCKERFILE, entries)).toArray()) as Buffer[]);

describe("Sandbox image: build context", () => {
  it("holds the Dockerfile and an archive of the entries, with the directories that they are in", async () => {
    const outer: string[] = [];
    const seen: string[] = [];
    await readTar(await packContext(DOCKERFILE, ENTRIES), async ({ gid, mode, name, type, uid }, content) => {
      outer.push(`${type} ${mode.toString(8)} ${name} ${uid}:${gid}`);
      if (name !== "rootfs.tar") return;
      await readTar(Readable.from([await content()]), (header) => {
        seen.push(`${header.type} ${header.mode.toString(8)} ${header.name} ${header.uid}:${header.gid}`);
      });
    });
    assert.deepEqual(outer, ["file 644 Dockerfile 0:0", "file 644 rootfs.tar 0:0"]);
    assert.deepEqual(seen, [
      "directory 755 etc 0:0",
      "file 644 etc/hosts 0:0",
      "symlink 777 lib 0:0",
      "directory 755 run 0:0",
      "directory 755 run/code-mode 0:0",
      "directory 755 usr 0:0",
      "directory 755 usr/bin 0:0",
      "file 710 usr/bin/git 0:60706",
      "directory 755 usr/local 0:0",
      "directory 755 usr/local/bin 0:0",
      "file 711 usr/local/bin/node 0:0",
    ]);
  });

  it("has the same bytes for the same entries, in whatever order and at whatever time", async () => {
    const expected = await packed(ENTRIES);
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray([...ENTRIES], { minLength: ENTRIES.length }), async (entries) => {
        assert.ok(expected.equals(await packed(entries)));
      }),
      { numRuns: 20 },
    );
  });

  it("refuses entries that are there twice", async () => {
    const twice: ImageEntry = { type: "file", path: "etc/hosts", mode: 0o644, content: Buffer.from("other") };
    await assert.rejects(packed([...ENTRIES, twice]), { reason: "unsafe_content", message: /etc\/hosts is there twice/ });
  });

  it("refuses an entry below a link or a file", async () => {
    const inside: ImageEntry = { type: "file", path: "lib/x", mode: 0o644, content: Buffer.alloc(0) };
    await assert.rejects(packed([...ENTRIES, inside]), { reason: "unsafe_content", message: /in something that is no directory/ });
  });
});

describe("Sandbox image: safe modes and owners", () => {
  const header = (change: Partial<EntryHeader>): EntryHeader => ({
    name: "dir/x",
    type: "file",
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: new Date(0),
    linkname: "",
    ...change,
  });
  const root = header({ name: "dir", type: "directory", mode: 0o755 });
  const check = (change: Partial<EntryHeader>): void => assertSafeHeaders([root, header(change)]);

  it("accepts what root alone may write", () => {
    for (const mode of [0o644, 0o711, 0o755, 0o400]) check({ mode });
    check({ type: "symlink", mode: 0o777, linkname: "y" });
    check({ type: "symlink", mode: 0o777, linkname: "../dir/y" });
    check({ type: "symlink", mode: 0o777, linkname: "../etc/hosts" });
  });

  it("accepts another group than root's only on a program that is its own", () => {
    for (const gid of [60_706, 61_183]) for (const mode of [0o710, 0o750]) check({ gid, mode });
    for (const mode of [0o711, 0o755, 0o700, 0o770, 0o640, 0o2710, 0o4710])
      assert.throws(() => check({ gid: 60_706, mode }), { reason: "unsafe_content" });
    for (const gid of [1, 1000, 60_000, 65_000, 65_534]) assert.throws(() => check({ gid, mode: 0o710 }), { reason: "unsafe_content" });
    for (const type of ["directory", "symlink"] as const)
      assert.throws(() => check({ gid: 60_706, mode: 0o710, type, linkname: "y" }), { reason: "unsafe_content" });
  });

  const refused: Record<string, Partial<EntryHeader>> = {
    "set-uid": { mode: 0o4755 },
    "set-gid": { mode: 0o2755 },
    sticky: { type: "directory", mode: 0o1755 },
    "a set-uid directory": { type: "directory", mode: 0o4755 },
    "writable by others": { mode: 0o666 },
    "a directory writable by others": { type: "directory", mode: 0o777 },
    "writable by a group": { mode: 0o664 },
    "another owner": { uid: 65534 },
    "another group": { gid: 1 },
    "a device": { type: "character-device" },
    "a FIFO": { type: "fifo" },
    "a hard link": { type: "link", linkname: "dir/y" },
    "an absolute link": { type: "symlink", linkname: "/etc/passwd" },
    "a link out of the image": { type: "symlink", linkname: "../../etc/passwd" },
    "a link to everything": { type: "symlink", linkname: ".." },
    "a name that deletes another file": { name: "dir/.wh.x" },
    "a link to nothing": { type: "symlink", linkname: "" },
    "a path that leads up": { name: "dir/../x" },
    "an absolute path": { name: "/x" },
  };
  for (const [what, change] of Object.entries(refused)) {
    it(`refuses ${what}`, () => assert.throws(() => check(change), { name: "ImageBuildError", reason: "unsafe_content" }));
  }

  it("refuses every mode but those that only let root write", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0o7777 }), (mode) => {
        if ((mode & 0o7022) === 0) check({ mode });
        else assert.throws(() => check({ mode }), { reason: "unsafe_content" });
      }),
    );
  });
});
