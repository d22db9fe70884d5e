import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { link, lstat, mkdir, readdir, readFile, rename, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import path from "node:path";

import { resolveReadable } from "../../../../src/sandbox/docker/readable-paths.ts";
import { copySnapshot } from "../../../../src/sandbox/docker/snapshot.ts";
import { useTempFolder } from "../../support/temp-folder.ts";

/** What a snapshot may hold. */
const CAPS = { entries: 10_000, bytes: 256 * 2 ** 20, depth: 64 };

describe("snapshot: a copy of what a program may read", () => {
  const folder = useTempFolder();
  let source: string;
  let target: string;
  /** Resolves a path below the test's folder, as a policy's is, and copies it. */
  const copy = async (workspacePath: string, to = target): Promise<void> =>
    copySnapshot(await resolveReadable(folder(), workspacePath), to);
  const copied = async (): Promise<string[]> => (await readdir(target, { recursive: true })).sort();

  beforeEach(async () => {
    source = path.join(folder(), "source");
    target = path.join(folder(), "target");
    await mkdir(path.join(source, "a", "b"), { recursive: true });
  });

  it("has the files and folders, byte for byte, as readable for a stranger as they were, and with nothing to execute", async () => {
    const bytes = Buffer.from([0, 255, 10, 13]);
    await writeFile(path.join(source, "a", "b", "bytes"), bytes, { mode: 0o755 });
    await writeFile(path.join(source, "empty"), "", { mode: 0o600 });
    await mkdir(path.join(source, "private"), { mode: 0o700 });
    await copy("source");
    assert.deepEqual(await copied(), ["a", "a/b", "a/b/bytes", "empty", "private"]);
    assert.deepEqual(await readFile(path.join(target, "a", "b", "bytes")), bytes);
    const modes = await Promise.all(
      ["a/b/bytes", "empty", "private"].map(async (name) => ((await stat(path.join(target, name))).mode & 0o777).toString(8)),
    );
    assert.deepEqual(modes, ["644", "600", "700"]);
  });

  it("of a single file is that file", async () => {
    await writeFile(path.join(source, "one"), "1");
    await copy("source/one");
    assert.equal(await readFile(target, "utf8"), "1");
  });

  it("is not touched by what happens to the source later, nor the other way round", async () => {
    await writeFile(path.join(source, "f"), "before");
    await copy("source");
    await writeFile(path.join(source, "f"), "after");
    assert.equal(await readFile(path.join(target, "f"), "utf8"), "before");
    assert.notEqual((await stat(path.join(target, "f"))).ino, (await stat(path.join(source, "f"))).ino);
  });

  it("leaves out links, FIFOs and sockets, and waits for none of them", async () => {
    await writeFile(path.join(folder(), "secret"), "secret");
    await symlink("../secret", path.join(source, "file-link"));
    await symlink("/etc", path.join(source, "folder-link"));
    await symlink("nowhere", path.join(source, "broken-link"));
    execFileSync("mkfifo", [path.join(source, "fifo")]);
    const server = createServer().listen(path.join(source, "s.sock"));
    await new Promise((resolve) => server.once("listening", resolve));
    await writeFile(path.join(source, "kept"), "kept");
    await copy("source");
    server.close();
    assert.deepEqual(await copied(), ["a", "a/b", "kept"]);
  });

  for (const [title, replace] of [
    ["a link", (place: string) => symlink("outside", place)],
    ["another folder", (place: string) => mkdir(place)],
    ["a file", (place: string) => writeFile(place, "x")],
    ["a FIFO", (place: string) => Promise.resolve(void execFileSync("mkfifo", [place]))],
    ["nothing", () => Promise.resolve()],
  ] as const) {
    it(`of a folder whose place ${title} has taken since is refused, and nothing is followed`, async () => {
      await mkdir(path.join(folder(), "outside"));
      await writeFile(path.join(folder(), "outside", "secret"), "s");
      const resolved = await resolveReadable(folder(), "source");
      await rename(source, path.join(folder(), "moved"));
      await replace(source);
      await assert.rejects(copySnapshot(resolved, target), {
        name: "ReadablePathError",
        message: /^"source" (is gone|changed meanwhile)$/,
      });
      await assert.rejects(lstat(target), { code: "ENOENT" });
    });
  }

  it("of a file whose place another has taken since is refused", async () => {
    await writeFile(path.join(source, "one"), "1");
    await writeFile(path.join(source, "two"), "2");
    const resolved = await resolveReadable(source, "one");
    await rename(path.join(source, "two"), path.join(source, "one"));
    await assert.rejects(copySnapshot(resolved, target), { name: "ReadablePathError", message: '"one" changed meanwhile' });
  });

  it("overwrites nothing that is there", async () => {
    await writeFile(path.join(source, "f"), "new");
    await mkdir(target);
    await symlink(path.join(folder(), "elsewhere"), path.join(target, "f"));
    await assert.rejects(copy("source"), { code: "EEXIST" });
    await assert.rejects(lstat(path.join(folder(), "elsewhere")), { code: "ENOENT" });
  });

  it("is taken, as far as it goes, while its files are swapped for links and FIFOs; none is followed or waited for", async () => {
    const [secret, fifo] = [path.join(folder(), "secret"), path.join(folder(), "fifo")];
    await writeFile(secret, "secret");
    execFileSync("mkfifo", [fifo]);
    const names = Array.from({ length: 200 }, (_, index) => path.join(source, `f${index}`));
    for (const name of names) await writeFile(name, "x");
    const over = new AbortController();
    const swapping = (async () => {
      const spare = path.join(folder(), "spare");
      for (let turn = 0; !over.signal.aborted; turn += 1) {
        if (turn % 3 === 0) await symlink(secret, spare);
        else if (turn % 3 === 1) await writeFile(spare, "y");
        else await link(fifo, spare);
        await rename(spare, names[(turn * 7) % names.length]!);
      }
    })();
    for (let round = 0; round < 5; round += 1) {
      await copy("source", `${target}${round}`);
      for (const entry of await readdir(`${target}${round}`, { withFileTypes: true })) {
        assert.ok(entry.isFile() || entry.isDirectory(), entry.name);
        if (entry.isFile()) assert.match(await readFile(path.join(`${target}${round}`, entry.name), "utf8"), /^[xy]?$/);
      }
    }
    over.abort();
    await swapping;
  });

  it("that would be too large is refused, and is never in memory as a whole", async () => {
    await writeFile(path.join(source, "a", "one"), "");
    await writeFile(path.join(source, "a", "two"), "");
    await truncate(path.join(source, "a", "two"), CAPS.bytes + 1);
    const before = process.memoryUsage().rss;
    await assert.rejects(copy("source"), {
      name: "ReadablePathError",
      message: `a snapshot is larger than ${CAPS.bytes} bytes`,
    });
    assert.ok(process.memoryUsage().rss - before < CAPS.bytes / 2);
  });

  it("that would have too many entries is refused", async () => {
    await mkdir(path.join(source, "many"));
    for (let start = 0; start <= CAPS.entries; start += 500) {
      await Promise.all(Array.from({ length: 500 }, (_, index) => symlink("x", path.join(source, "many", `${start + index}`))));
    }
    await assert.rejects(copy("source"), { name: "ReadablePathError", message: "a snapshot holds more than 10000 entries" });
  });

  it("that would be too deep is refused", async () => {
    await mkdir(path.join(source, ...Array.from({ length: CAPS.depth + 1 }, () => "d")), { recursive: true });
    await assert.rejects(copy("source"), { name: "ReadablePathError", message: "a snapshot is deeper than 64 folders" });
  });
});
