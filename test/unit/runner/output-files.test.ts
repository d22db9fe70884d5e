/** Which files are sent after a run, on a real folder. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

import { extract } from "tar-stream";

import { archiveOutputFiles } from "../../../sandbox-image/runner/output-files.ts";
import type { Archived, CollectParams } from "../../../src/bridge/protocol.ts";

const MIB = 1 << 20;
const NOTHING_SKIPPED = { not_a_file: 0, over_limit: 0, unreadable: 0 };

describe("Runner: output files", () => {
  let workspace: string;
  beforeEach(() => {
    workspace = mkdtempSync(path.join(tmpdir(), "code-mode-test-"));
    mkdirSync(path.join(workspace, "temp/deep"), { recursive: true });
  });
  afterEach(() => rmSync(workspace, { recursive: true }));

  const write = (file: string, content: string | Buffer): void => writeFileSync(path.join(workspace, file), content);

  async function collect(
    options: Partial<CollectParams> = {},
    onPiece: () => void = () => undefined,
  ): Promise<Archived & { files: Record<string, string>; pieces: number[] }> {
    const pieces: Buffer[] = [];
    const collected = { roots: ["temp"], patterns: ["**"], folders: false, maxFiles: 100, maxBytes: 10 * MIB, ...options };
    const report = archiveOutputFiles(workspace, collected, {
      write: (piece) => {
        pieces.push(Buffer.from(piece));
        onPiece();
      },
    });
    const files: Record<string, string> = {};
    const reader = extract();
    reader.end(Buffer.concat(pieces));
    for await (const entry of reader) {
      const chunks: Buffer[] = [];
      for await (const chunk of entry) chunks.push(chunk as Buffer);
      files[entry.header.name] = Buffer.concat(chunks).toString();
    }
    return { ...report, files, pieces: pieces.map((piece) => piece.byteLength) };
  }

  it("sends what matches, and nothing else", async () => {
    write("temp/a.txt", "a");
    write("temp/b.log", "b");
    write("temp/deep/ü.txt", "c");
    write("outside.txt", "d");
    const { files, skipped } = await collect({ patterns: ["temp/*.txt", "temp/deep/**", "outside.txt"] });
    assert.deepEqual(files, { "temp/a.txt": "a", "temp/deep/ü.txt": "c" });
    assert.deepEqual(skipped, []);
  });

  it("sends nothing where there is nothing", async () => {
    assert.deepEqual(await collect({ roots: ["temp/none", "temp"] }), { files: {}, skipped: [], counts: NOTHING_SKIPPED, pieces: [1024] });
  });

  it("takes each file once where roots overlap, and the workspace as a root", async () => {
    write("temp/deep/a", "a");
    assert.deepEqual((await collect({ roots: ["temp/deep", "temp", "temp", "."] })).files, { "temp/deep/a": "a" });
  });

  it("packs small files into few pieces, and large ones into pieces of 256 KiB", async () => {
    for (let index = 0; index < 90; index += 1) write(`temp/${index}`, "x");
    assert.equal((await collect()).pieces.length, 1);
    write("temp/large", Buffer.alloc(MIB, "l"));
    const { files, pieces } = await collect();
    assert.equal(files["temp/large"], "l".repeat(MIB));
    assert.equal(pieces.length, 5);
    assert.ok(pieces.every((bytes) => bytes <= 262_144));
  });

  it("reports links, sockets and FIFOs that match, and follows none", async () => {
    write("secret", "s");
    symlinkSync("../secret", path.join(workspace, "temp/link"));
    symlinkSync("..", path.join(workspace, "temp/folder-link"));
    execFileSync("mkfifo", [path.join(workspace, "temp/fifo")]);
    const server = createServer();
    await new Promise<void>((done) => server.listen(path.join(workspace, "temp/socket"), done));
    const { files, skipped } = await collect();
    server.close();
    assert.deepEqual(files, {});
    assert.deepEqual(
      skipped.map(({ path: name, reason }) => [name, reason]),
      ["fifo", "folder-link", "link", "socket"].map((name) => [`temp/${name}`, "not_a_file"]),
    );
    assert.deepEqual((await collect({ patterns: ["temp/*.txt"] })).skipped, []);
  });

  it("does not walk a root that has become a link", async () => {
    mkdirSync(path.join(workspace, "other"));
    write("other/secret", "s");
    rmSync(path.join(workspace, "temp"), { recursive: true });
    symlinkSync("other", path.join(workspace, "temp"));
    assert.deepEqual((await collect()).files, {});
    mkdirSync(path.join(workspace, "temporary"));
  });

  it("keeps to the limits, and says what was left out", async () => {
    for (const name of ["a", "b", "c"]) write(`temp/${name}`, name.repeat(10));
    const byCount = await collect({ maxFiles: 2 });
    assert.deepEqual(Object.keys(byCount.files), ["temp/a", "temp/b"]);
    assert.deepEqual(byCount.skipped, [{ path: "temp/c", sizeBytes: 10, reason: "over_limit" }]);
    const byBytes = await collect({ maxBytes: 15 });
    assert.deepEqual(Object.keys(byBytes.files), ["temp/a"]);
    assert.equal(byBytes.skipped.length, 2);
  });

  it("bounds the report of what was left out, but not the number", async () => {
    for (let index = 0; index < 1100; index += 1) write(`temp/${"n".repeat(150)}${index}`, "");
    symlinkSync("x", path.join(workspace, "temp/z"));
    const { counts, skipped } = await collect({ maxFiles: 0 });
    assert.equal(skipped.length, 1000);
    assert.deepEqual(counts, { not_a_file: 1, over_limit: 1100, unreadable: 0 });
    const long = await collect({ maxFiles: 0, patterns: ["temp/**"] });
    assert.ok(JSON.stringify(long.skipped).length < 400_000);
  });

  it("walks as deep as a path can be, and says where it cannot go on", async () => {
    const deep = Array.from({ length: 500 }, () => "d").join("/");
    mkdirSync(path.join(workspace, "temp", deep), { recursive: true });
    write(`temp/${deep}/file`, "deep");
    assert.deepEqual((await collect()).files, { [`temp/${deep}/file`]: "deep" });
    // Longer than any system call takes: made step by step, as a program can make it. The child process is in no other's way.
    const make = `process.chdir(${JSON.stringify(path.join(workspace, "temp"))});
      for (let level = 0; level < 20; level++) { require("fs").mkdirSync("e".repeat(250)); process.chdir("e".repeat(250)); }`;
    execFileSync(process.execPath, ["-e", make]);
    const { counts, files, skipped } = await collect();
    assert.deepEqual([Object.keys(files).length, counts.unreadable], [1, 1]);
    assert.match(skipped[0]?.path ?? "", /^temp\/eee/);
    // Node's own way of removing a tree takes paths as long as this one for an error.
    execFileSync("rm", ["-r", path.join(workspace, "temp")]);
  });

  it("sends folders as entries of their own where these are asked for, empty ones too", async () => {
    mkdirSync(path.join(workspace, "temp/empty"));
    write("temp/deep/a", "a");
    assert.deepEqual((await collect({ folders: true })).files, { "temp/deep/": "", "temp/deep/a": "a", "temp/empty/": "" });
    const { counts, files } = await collect({ folders: true, maxFiles: 2 });
    assert.deepEqual([Object.keys(files), counts.over_limit], [["temp/deep/", "temp/deep/a"], 1]);
  });

  it("reports a name that is no UTF-8", async () => {
    writeFileSync(Buffer.concat([Buffer.from(path.join(workspace, "temp/")), Buffer.from([0xff])]), "x");
    assert.deepEqual((await collect()).skipped, [{ path: "temp/\ufffd", sizeBytes: 0, reason: "unreadable" }]);
  });

  it("sends the size it has stated, though the file shrinks or grows meanwhile", async () => {
    const file = path.join(workspace, "temp/a");
    write("temp/a", Buffer.alloc(MIB, "a"));
    write("temp/b", "b");
    let isFirst = true;
    const once = (change: () => void) => () => {
      if (isFirst) change();
      isFirst = false;
    };
    const shrunk = await collect(
      {},
      once(() => truncateSync(file, 500_000)),
    );
    assert.equal(shrunk.files["temp/a"]?.length, MIB);
    assert.match(shrunk.files["temp/a"], /^a{262144,500000}\0+$/);
    assert.equal(shrunk.files["temp/b"], "b");

    isFirst = true;
    const grown = await collect(
      {},
      once(() => appendFileSync(file, Buffer.alloc(MIB, "x"))),
    );
    assert.equal(grown.files["temp/a"]?.length, 500_000);
    assert.equal(grown.files["temp/b"], "b");
  });
});
