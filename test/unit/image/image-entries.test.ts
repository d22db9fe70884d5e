import assert from "node:assert/strict";
import fc from "fast-check";
import { assertSafeHeaders, type EntryHeader, type ImageEntry, packContext } from "../../../src/sandbox/docker/image/image-entries.ts";
import { readTar } from "../../../src/sandbox/docker/image/read-tar.ts";

const DOCKERFILE = Buffer.from("FROM scratch\n");
const ENTRIES: readonly ImageEntry[] = [
  { type: "file", path: "usr/local/bin/node", mode: 0o711, content: Buffer.from("node") },
  { type: "file", path: "etc/hosts", mode: 0o644, content: Buffer.from("127.0.0.1 localhost\n") },
  { type: "directory", path: "run/code-mode", mode: 0o755 },
  { type: "symlink", path: "lib", target: "usr/lib" },
];

const packed = async (entries: readonly ImageEntry[]): Promise<Buffer> => Buffer.concat(await packContext(DOCKERFILE, entries).toArray());

describe("Sandbox image: build context", () => {
  it("holds the Dockerfile and the entries below rootfs, with the directories that they are in", async () => {
    const seen: string[] = [];
    await readTar(packContext(DOCKERFILE, ENTRIES), ({ name, type, mode, uid, gid }) => {
      assert.deepEqual([uid, gid], [0, 0]);
      seen.push(`${type} ${mode.toString(8)} ${name}`);
    });
    assert.deepEqual(seen, [
      "file 644 Dockerfile",
      "directory 755 rootfs",
      "directory 755 rootfs/etc",
      "file 644 rootfs/etc/hosts",
      "symlink 777 rootfs/lib",
      "directory 755 rootfs/run",
      "directory 755 rootfs/run/code-mode",
      "directory 755 rootfs/usr",
      "directory 755 rootfs/usr/local",
      "directory 755 rootfs/usr/local/bin",
      "file 711 rootfs/usr/local/bin/node",
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
    name: "rootfs/x",
    type: "file",
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: new Date(0),
    linkname: "",
    ...change,
  });
  const root = header({ name: "rootfs", type: "directory", mode: 0o755 });
  const check = (change: Partial<EntryHeader>): void => assertSafeHeaders([root, header(change)]);

  it("accepts what root alone may write", () => {
    for (const mode of [0o644, 0o711, 0o755, 0o400]) check({ mode });
    check({ type: "symlink", mode: 0o777, linkname: "y" });
    check({ type: "symlink", mode: 0o777, linkname: "../rootfs/y" });
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
    "a hard link": { type: "link", linkname: "rootfs/y" },
    "an absolute link": { type: "symlink", linkname: "/etc/passwd" },
    "a link out of the image": { type: "symlink", linkname: "../Dockerfile" },
    "a link to nothing": { type: "symlink", linkname: "" },
    "a path that leads up": { name: "rootfs/../x" },
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
