/** Files that outlive their execution: what is kept on the host, with which modes, and when nothing is. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, lstat, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import path from "node:path";

import { StartupError } from "../../src/domain/errors.ts";
import type { Execution } from "../../src/domain/execution.ts";
import { TestService } from "../helpers/service.ts";
import type { ErrorBody } from "../helpers/service.ts";

const OUT = { path: "./out", persist: true };
const NOTHING_ELSE = { errors: [] };

describe("Files that are kept", () => {
  let service: TestService;
  const out = (...names: string[]): string => path.join(service.workspace, "out", ...names);
  const errorsOf = ({ persisted }: Execution): string =>
    persisted?.errors.map(({ error, path: at }) => `${at}: ${error}`).join(" | ") ?? "none";

  before(async () => {
    service = await TestService.start({
      runtimes: {
        node: {
          permissions: { fileSystem: { read: ["./data"], write: ["./temp", OUT] } },
          limits: { persistFiles: 50, persistBytes: "1MB", tempBytes: "4MB" },
        },
        reader: { permissions: { fileSystem: { read: ["./out"] } } },
        plain: { permissions: { fileSystem: { write: ["./out"] } } },
      },
      prepare: async (workspace) => {
        await mkdir(path.join(workspace, "out"));
      },
    });
  });
  after(() => service.close());
  beforeEach(async () => {
    await rm(out(), { recursive: true });
    await mkdir(out());
  });
  // Nothing that the service needed on the way is ever left.
  afterEach(async () => {
    const names = await readdir(out(), { recursive: true });
    assert.deepEqual(
      names.filter((name) => name.includes(".code-mode-")),
      [],
    );
  });

  it("are copied to their folder: folders, empty ones and empty files too, with plain modes", async () => {
    const code = `import fs from "node:fs";
      fs.mkdirSync("out/a/b", { recursive: true }); fs.mkdirSync("out/empty", { mode: 0o700 });
      fs.writeFileSync("out/a/b/text", "ä"); fs.writeFileSync("out/none", "");
      fs.writeFileSync("out/run.sh", "#!/bin/sh\\n", { mode: 0o777 }); fs.chmodSync("out/run.sh", 0o777); fs.chmodSync("out/none", 0o600);
      fs.writeFileSync("temp/not-kept", "x");
      return fs.readdirSync("out").length;`;
    const execution = await service.run(code);
    assert.deepEqual(execution.persisted, { files: 3, bytes: 2 + 0 + 10, ...NOTHING_ELSE });
    assert.deepEqual((await readdir(out(), { recursive: true })).sort(), ["a", "a/b", "a/b/text", "empty", "none", "run.sh"]);
    assert.equal(await readFile(out("a/b/text"), "utf8"), "ä");
    const mode = async (name: string): Promise<string> => ((await stat(out(name))).mode & 0o7777).toString(8);
    assert.deepEqual(await Promise.all(["none", "run.sh", "a/b/text", "a", "empty"].map(mode)), ["644", "644", "644", "755", "755"]);
    assert.deepEqual(await readdir(path.join(service.workspace)), ["config", "data", "out"]);
  });

  it("start empty for each execution, replace what has their name, and delete nothing", async () => {
    await writeFile(out("old"), "old");
    await writeFile(out("same"), "a longer text than the new one");
    const before = await stat(out("same"));
    const code = 'const fs = require("node:fs"); fs.writeFileSync("out/same", "new"); return fs.readdirSync("out");';
    const execution = await service.run(code);
    assert.deepEqual(execution.result, ["same"]);
    assert.deepEqual([await readFile(out("old"), "utf8"), await readFile(out("same"), "utf8")], ["old", "new"]);
    assert.notEqual((await stat(out("same"))).ino, before.ino, "replaced by a rename, not written over");
    assert.deepEqual((await service.run("return 1")).persisted, { files: 0, bytes: 0, ...NOTHING_ELSE });
    assert.equal(await readFile(out("old"), "utf8"), "old");
  });

  it("are there for programs of a runtime that may read the folder", async () => {
    await service.run('require("node:fs").writeFileSync("out/note", "for you");');
    assert.equal(await service.result('return require("node:fs").readFileSync("out/note", "utf8")', { runtime: "reader" }), "for you");
  });

  it("are kept of a program that fails by itself, and returned as output files too", async () => {
    const execution = await service.run('require("node:fs").writeFileSync("out/a", "kept"); throw new Error("late")', {
      outputFiles: ["out/**"],
    });
    assert.equal(execution.status, "failed");
    assert.deepEqual(execution.files, [{ path: "out/a", content: "kept", encoding: "utf8", size: 4 }]);
    assert.deepEqual(execution.persisted, { files: 1, bytes: 4, ...NOTHING_ELSE });
    assert.equal(await readFile(out("a"), "utf8"), "kept");
  });

  it("are not kept of a program that is killed, and the result says so", async () => {
    const write = 'require("node:fs").writeFileSync("out/a", "x");';
    for (const [code, status] of [
      [`${write} for (;;);`, "timed_out"],
      [`${write} const all = []; for (;;) all.push(Buffer.alloc(1 << 24, 1));`, "out_of_memory"],
      [`${write} process.abort();`, "killed"],
    ] as const) {
      const execution = await service.run(code, { timeoutMs: status === "timed_out" ? 500 : 20_000, limits: { memory: "128MB" } });
      assert.equal(execution.status, status);
      assert.deepEqual([execution.persisted?.files, execution.persisted?.errors[0]?.path], [0, "out"]);
      assert.match(errorsOf(execution), /nothing was kept: the program did not end by itself/);
    }
    assert.deepEqual(await readdir(out()), []);
  });

  it("are none at all where one is over a cap, and the result says so", async () => {
    const many = await service.run('for (let i = 0; i < 60; i++) require("node:fs").writeFileSync("out/" + i, "x");');
    assert.equal(many.status, "completed");
    assert.match(errorsOf(many), /^\*: nothing was kept: 10 files and folders are over this runtime's limit of 50/);
    const large = await service.run(
      'const fs = require("node:fs"); fs.writeFileSync("out/a", "x"); fs.writeFileSync("out/large", Buffer.alloc(2 ** 20));',
    );
    assert.match(errorsOf(large), /^\*: nothing was kept: 1 files and folders are over/);
    assert.deepEqual([many.persisted?.files, large.persisted?.files, await readdir(out())], [0, 0, []]);
  });

  it("leave out links and the like, which the result names", async () => {
    const code = `import fs from "node:fs"; import net from "node:net";
      fs.symlinkSync("/etc/passwd", "out/link"); await new Promise((resolve) => net.createServer().listen("out/socket", resolve));
      fs.writeFileSync("out/line\\nbreak", "x"); fs.writeFileSync("out/.code-mode-mine", "x"); fs.writeFileSync("out/fine", "x"); fs.writeFileSync("out/Fine", "y");
      return 1;`;
    const execution = await service.run(code);
    assert.deepEqual([execution.persisted?.files, execution.persisted?.errors.length], [1, 5]);
    for (const part of [/^.*link: is no regular file/, /socket: is no regular file/, /"out\/line\\nbreak": the name holds a control/])
      assert.match(errorsOf(execution), part);
    assert.match(
      errorsOf(execution),
      /\.code-mode-mine: has a name that begins with .*(Fine|fine): has a name that differs from "out\/(fine|Fine)" in case only/s,
    );
    assert.equal((await readdir(out())).length, 1);
  });

  it("are as their request narrows: not kept, or those of a folder below only", async () => {
    const code =
      'const fs = require("node:fs"); fs.mkdirSync("out/sub", { recursive: true }); fs.writeFileSync("out/sub/a", "x"); return 1;';
    const fileSystem = (write: unknown): object => ({ permissions: { fileSystem: { write: [write] } } });
    assert.equal((await service.run(code, fileSystem("out"))).persisted, null);
    assert.deepEqual(await readdir(out()), []);
    const narrowed = await service.run(code, fileSystem({ path: "out/sub/deep", persist: true }));
    assert.equal(narrowed.status, "failed");
    assert.deepEqual([narrowed.persisted, await readdir(out())], [{ files: 0, bytes: 0, ...NOTHING_ELSE }, []]);
    const below = await service.run(code.replaceAll("out/sub", "out/sub/deep"), fileSystem({ path: "out/sub/deep", persist: true }));
    assert.deepEqual(below.persisted, { files: 1, bytes: 1, ...NOTHING_ELSE });
    assert.ok(existsSync(out("sub/deep/a")));
  });

  it("cannot be asked for where the runtime does not keep them", async () => {
    for (const request of [
      { runtime: "plain", permissions: { fileSystem: { write: [OUT] } } },
      { permissions: { fileSystem: { write: [{ path: "./temp", persist: true }] } } },
    ]) {
      const { body, status } = await service.post<ErrorBody>({ code: "1", ...request });
      assert.deepEqual([status, body.error.code], [403, "PERMISSION_WIDENING"]);
    }
    assert.equal((await service.run('require("node:fs").writeFileSync("out/a", "x")', { runtime: "plain" })).persisted, null);
    assert.deepEqual(await readdir(out()), []);
  });

  it("are whole when two executions keep the same ones at once: the last one wins", async () => {
    const code = (letter: string): string =>
      `const fs = require("node:fs"); for (let i = 0; i < 20; i++) fs.writeFileSync("out/f" + i, "${letter}".repeat(40_000));`;
    const executions = await Promise.all([service.run(code("a")), service.run(code("b"))]);
    for (const { persisted } of executions) assert.deepEqual(persisted, { files: 20, bytes: 800_000, ...NOTHING_ELSE });
    for (let index = 0; index < 20; index += 1) assert.match(await readFile(out(`f${index}`), "utf8"), /^(a{40000}|b{40000})$/);
  });

  it("are refused one by one where something else stands on the host, which stays", async () => {
    await symlink("/etc/passwd", out("link"));
    await mkdir(out("folder"));
    execFileSync("mkfifo", [out("fifo")]);
    await writeFile(out("file"), "a file");
    await symlink("/etc", out("folder-link"));
    const names = ["link", "folder", "fifo", "file/below", "folder-link/below", "fine"];
    const code = `const fs = require("node:fs"); for (const name of ${JSON.stringify(names)}) {
      if (name.includes("/")) fs.mkdirSync("out/" + name.split("/")[0]); fs.writeFileSync("out/" + name, "new"); }`;
    const execution = await service.run(code);
    assert.deepEqual([execution.persisted?.files, execution.persisted?.errors.length], [1, 5], errorsOf(execution));
    assert.deepEqual([(await lstat(out("link"))).isSymbolicLink(), (await lstat(out("fifo"))).isFIFO()], [true, true]);
    assert.deepEqual([await readFile(out("file"), "utf8"), await readFile(out("fine"), "utf8")], ["a file", "new"]);
    assert.equal(existsSync("/etc/below"), false);
  });

  it("need a folder that is there, real, and none of the service's own, when it starts", async () => {
    const startWith = async (write: string, prepare: (workspace: string) => Promise<unknown>): Promise<string> => {
      try {
        const started = await TestService.start({
          runtimes: { node: { permissions: { fileSystem: { write: [{ path: write, persist: true }] } } } },
          prepare: async (workspace) => {
            await prepare(workspace);
          },
        });
        await started.close();
        return "started";
      } catch (error) {
        assert.ok(error instanceof StartupError, String(error));
        return error.problems.join(" | ");
      }
    };
    assert.match(
      await startWith("./out", () => Promise.resolve()),
      /runtimes\.node\.permissions\.fileSystem\.write: "out" .* does not exist; make the folder/,
    );
    assert.match(await startWith("./out", (workspace) => symlink("data", path.join(workspace, "out"))), /is a link or no folder/);
    assert.match(await startWith("./out", (workspace) => writeFile(path.join(workspace, "out"), "")), /is a link or no folder/);
    assert.equal(await startWith("./out", (workspace) => mkdir(path.join(workspace, "out"))), "started");
  });
});

describe("Files that are kept, where the service may not write", () => {
  it("are refused with a reason, and leave nothing", async function () {
    // Root may write everywhere but where the file system itself says no.
    const service = await TestService.start({
      runtimes: { node: { permissions: { fileSystem: { write: [OUT] } } } },
      prepare: async (workspace) => {
        await mkdir(path.join(workspace, "out"));
      },
    });
    const out = path.join(service.workspace, "out");
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k,nr_inodes=100", "tmpfs", out]);
    } catch {
      // Only root can mount the small disk.
      await service.close();
      this.skip();
    }
    try {
      const full = await service.run('require("node:fs").writeFileSync("out/large", Buffer.alloc(2 ** 20))');
      assert.deepEqual(full.persisted, {
        files: 0,
        bytes: 0,
        errors: [{ path: "*", error: "nothing was kept: the disk of the workspace is full" }],
      });
      assert.deepEqual(await readdir(out), []);
      execFileSync("mount", ["-o", "remount,ro", out]);
      const readOnly = await service.run('require("node:fs").writeFileSync("out/a", "x")');
      assert.match(readOnly.persisted?.errors[0]?.error ?? "", /nothing was kept: the service may not write there/);
      await chmod(service.workspace, 0o755);
    } finally {
      execFileSync("umount", [out]);
      await service.close();
    }
  });
});
