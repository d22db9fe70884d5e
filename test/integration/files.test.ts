/** Files across the border: what goes in, what the program can reach, what comes back. */

import assert from "node:assert/strict";
import { chmod, mkdir, symlink, writeFile } from "node:fs/promises";
import path from "node:path";

import type { Execution } from "../../src/domain/execution.ts";
import { TestService } from "../helpers/service.ts";
import type { ErrorBody } from "../helpers/service.ts";

/** Tries something in the sandbox and gives its error code, or "ok". */
const attempt = (statement: string): string => `(() => { try { ${statement}; return "ok" } catch (error) { return error.code } })()`;

describe("Files", () => {
  let service: TestService;

  before(async () => {
    service = await TestService.start({
      runtimes: {
        node: {
          permissions: {
            fileSystem: { read: ["./data", "./config/one.json", { path: "./shared", snapshot: true }], write: ["./temp", "./deep/out"] },
          },
          limits: { tempBytes: "1MB", tempInodes: 32, outputFiles: 10, outputFileBytes: "256KB", inputFiles: 20 },
        },
        bare: {},
      },
      prepare: async (workspace) => {
        await writeFile(path.join(workspace, "config", "one.json"), '{"one": 1}');
        await writeFile(path.join(workspace, "config", "two.json"), '{"two": 2}');
        await mkdir(path.join(workspace, "shared", "deep"), { recursive: true });
        await writeFile(path.join(workspace, "shared", "deep", "note.txt"), "shared");
        await symlink("/etc/passwd", path.join(workspace, "shared", "link"));
        await symlink("numbers.txt", path.join(workspace, "data", "alias.txt"));
        await symlink("/etc/hostname", path.join(workspace, "data", "outside.txt"));
      },
    });
  });
  after(() => service.close());

  it("gives the program its input files, wherever they are put", async () => {
    const files = [
      { path: "in/data.csv", content: "a,b\n1,2\n" },
      { path: "./in//deep/ünïcode name.txt", content: "ü" },
      { path: "temp/prepared.bin", content: Buffer.from([0, 255, 1]).toString("base64"), encoding: "base64" },
      { path: "empty", content: "" },
    ];
    const code = `import fs from "node:fs";
      return {
        csv: fs.readFileSync("in/data.csv", "utf8"), unicode: fs.readFileSync("in/deep/ünïcode name.txt", "utf8"),
        binary: [...fs.readFileSync("temp/prepared.bin")], empty: fs.readFileSync("empty", "utf8"),
      };`;
    assert.deepEqual(await service.result(code, { files }), { csv: "a,b\n1,2\n", unicode: "ü", binary: [0, 255, 1], empty: "" });
  });

  it("lets input files outside the writable folders be read only", async () => {
    const code = `import fs from "node:fs";
      return [
        ${attempt('fs.writeFileSync("in/data.csv", "x")')}, ${attempt('fs.unlinkSync("in/data.csv")')}, ${attempt('fs.chmodSync("in/data.csv", 0o777)')},
        ${attempt('fs.writeFileSync("in/new", "x")')}, ${attempt('fs.writeFileSync("new", "x")')},
      ];`;
    const result = (await service.result(code, { files: [{ path: "in/data.csv", content: "x" }] })) as string[];
    for (const outcome of result) assert.match(outcome, /^(EROFS|EACCES|EPERM)$/);
  });

  it("shows the readable folders, and nothing else of the workspace", async () => {
    const code = `import fs from "node:fs";
      return {
        root: fs.readdirSync(".").sort(), numbers: fs.readFileSync("data/numbers.txt", "utf8"), alias: fs.readFileSync("data/alias.txt", "utf8"),
        one: fs.readFileSync("config/one.json", "utf8"), config: fs.readdirSync("config"),
        outside: ${attempt('if (fs.readFileSync("data/outside.txt", "utf8") !== fs.readFileSync("/etc/hostname", "utf8")) throw { code: "leak" }')},
      };`;
    assert.deepEqual(await service.result(code), {
      root: ["config", "data", "deep", "shared", "temp"],
      numbers: "1\n2\n3\n",
      alias: "1\n2\n3\n",
      one: '{"one": 1}',
      config: ["one.json"],
      // The link leads to the sandbox's own file of that name, never to the host's.
      outside: "ok",
    });
  });

  it("mounts readable folders so that nothing can be written to or executed from them", async () => {
    const code = `import fs from "node:fs";
      const mount = fs.readFileSync("/proc/self/mounts", "utf8").split("\\n").find((line) => line.split(" ")[1] === "/workspace/data");
      return [${attempt('fs.writeFileSync("data/x", "x")')}, mount.split(" ")[3].split(",").filter((flag) => ["ro", "noexec", "nosuid", "nodev"].includes(flag)).sort()];`;
    assert.deepEqual(await service.result(code), ["EROFS", ["nodev", "noexec", "nosuid", "ro"]]);
  });

  it("copies a snapshot for each execution, without links", async () => {
    const code = `import fs from "node:fs"; return [fs.readFileSync("shared/deep/note.txt", "utf8"), fs.readdirSync("shared")];`;
    assert.deepEqual(await service.result(code), ["shared", ["deep"]]);
  });

  it("returns the output files that were asked for", async () => {
    const code = `import fs from "node:fs";
      fs.writeFileSync("temp/a.txt", "ä");
      fs.writeFileSync("temp/b.bin", Buffer.from([0xff, 0xfe]));
      fs.writeFileSync("temp/skip.log", "no");
      fs.mkdirSync("deep/out/x/y", { recursive: true });
      fs.writeFileSync("deep/out/x/y/c.txt", "");`;
    const { files } = await service.run(code, { outputFiles: ["temp/*.txt", "temp/*.bin", "deep/**"] });
    assert.deepEqual(byPath(files), {
      "temp/a.txt": { path: "temp/a.txt", content: "ä", encoding: "utf8", size: 2 },
      "temp/b.bin": { path: "temp/b.bin", content: "//4=", encoding: "base64", size: 2 },
      "deep/out/x/y/c.txt": { path: "deep/out/x/y/c.txt", content: "", encoding: "utf8", size: 0 },
    });
  });

  it("returns output files of a program that fails or exits by itself", async () => {
    const write = 'require("node:fs").writeFileSync("temp/a.txt", "kept");';
    for (const [code, status] of [
      [`${write} throw new Error("late")`, "failed"],
      [`${write} process.exit(3)`, "failed"],
      [`${write} process.exit(0)`, "completed"],
    ] as const) {
      const execution = await service.run(code, { outputFiles: ["temp/**"] });
      assert.equal(execution.status, status, code);
      assert.deepEqual(execution.files, [{ path: "temp/a.txt", content: "kept", encoding: "utf8", size: 4 }]);
    }
  });

  it("says that there are no output files after a kill", async () => {
    const execution = await service.run('require("node:fs").writeFileSync("temp/a.txt", "x"); for (;;);', {
      timeoutMs: 300,
      outputFiles: ["temp/**"],
    });
    assert.equal(execution.status, "timed_out");
    assert.equal(execution.files.length, 1);
    assert.ok("error" in (execution.files[0] ?? {}));
  });

  it("reports links, FIFOs and hostile names among the output files, and never follows or loses them", async () => {
    const code = `import fs from "node:fs"; import net from "node:net";
      fs.symlinkSync("/etc/passwd", "temp/link");
      fs.symlinkSync("/", "temp/root");
      fs.linkSync; fs.writeFileSync("temp/\\u001b[31mred\\n.txt", "x");
      fs.writeFileSync("temp/back\\\\slash", "x");
      await new Promise((resolve) => net.createServer().listen("temp/socket", resolve));
      fs.writeFileSync("temp/fine", "fine");
      return "done";`;
    const { files } = await service.run(code, { outputFiles: ["temp/**"] });
    const fine = files.filter((file) => "content" in file);
    assert.deepEqual(fine, [{ path: "temp/fine", content: "fine", encoding: "utf8", size: 4 }]);
    const refused = files.filter((file) => "error" in file);
    assert.equal(refused.length, 5, JSON.stringify(files));
    // eslint-disable-next-line no-control-regex -- that is what must not be there
    assert.doesNotMatch(refused.map((file) => file.path).join(""), /[\u0000-\u001f]/);
  });

  it("keeps output files within their number and size, and names what is left out", async () => {
    const many = await service.run('for (let i = 0; i < 15; i++) require("node:fs").writeFileSync("temp/f" + i, "x");', {
      outputFiles: ["temp/**"],
    });
    assert.equal(many.files.filter((file) => "content" in file).length, 10);
    assert.ok(many.files.length > 10);
    const large = await service.run('require("node:fs").writeFileSync("temp/large", Buffer.alloc(300 * 1024));', {
      outputFiles: ["temp/**"],
    });
    assert.deepEqual(
      large.files.map((file) => ["error" in file, file.size]),
      [[true, 300 * 1024]],
    );
  });

  it("caps bytes and inodes of a writable folder", async () => {
    const code = `import fs from "node:fs";
      const bytes = ${attempt('fs.writeFileSync("temp/big", Buffer.alloc(2 * 1024 * 1024))')};
      fs.rmSync("temp/big", { force: true });
      const inodes = ${attempt('for (let i = 0; i < 100; i++) fs.writeFileSync("temp/" + i, "")')};
      return { bytes, inodes };`;
    const result = (await service.result(code)) as { bytes: string; inodes: string };
    assert.match(result.bytes, /^(ENOSPC|EFBIG)$/);
    assert.equal(result.inodes, "ENOSPC");
  });

  it("starts every execution with empty writable folders", async () => {
    await service.result('require("node:fs").writeFileSync("temp/secret", "x")');
    assert.deepEqual(await service.result('return require("node:fs").readdirSync("temp")'), []);
  });

  it("refuses input files that would hide what the runtime makes readable, or take a folder's place", async () => {
    for (const [files, word] of [
      [[{ path: "data/numbers.txt", content: "x" }], "data"],
      [[{ path: "config", content: "x" }], "config"],
      [[{ path: "temp", content: "x" }], "temp"],
      [[{ path: "deep", content: "x" }], "deep"],
    ] as const) {
      const { body, status } = await service.post<ErrorBody>({ code: "1", files });
      assert.equal(status, 400);
      assert.equal(body.error.code, "INVALID_REQUEST");
      assert.match(body.error.message, new RegExp(word));
    }
  });

  it("refuses more input files than the runtime takes", async () => {
    const files = Array.from({ length: 21 }, (_, index) => ({ path: `f${index}`, content: "" }));
    const { body, status } = await service.post<ErrorBody>({ code: "1", files });
    assert.deepEqual([status, body.error.code], [400, "LIMIT_EXCEEDED"]);
  });

  it("narrows what can be read and written", async () => {
    const code = `import fs from "node:fs"; return [fs.readdirSync("."), ${attempt('fs.writeFileSync("temp/x", "x")')}, ${attempt('fs.readFileSync("data/numbers.txt")')}];`;
    assert.deepEqual(await service.result(code, { permissions: { fileSystem: { read: [], write: [] } } }), [[], "ENOENT", "ENOENT"]);
    const narrowed = await service.result('return require("node:fs").readdirSync("shared")', {
      permissions: { fileSystem: { read: ["shared/deep"], write: ["temp/sub"] } },
    });
    assert.deepEqual(narrowed, ["deep"]);
  });

  it("lets a runtime without permissions write nowhere at all", async () => {
    const code = `import fs from "node:fs"; import os from "node:os";
      const folders = ["/", "/workspace", "/tmp", "/run/code-mode", "/dev", "/dev/shm", "/dev/mqueue", "/proc", "/sys", "/etc", "/opt/code-mode", os.tmpdir(), os.homedir()];
      return folders.filter((folder) => ${attempt('fs.writeFileSync(folder + "/written-by-a-test", "x")')} === "ok");`;
    assert.deepEqual(await service.result(code, { runtime: "bare" }), []);
  });

  it("notices a readable folder that was swapped for a link after the start", async () => {
    const swapped = await TestService.start({
      runtimes: { node: { permissions: { fileSystem: { read: ["./data"] } } } },
    });
    try {
      await import("node:fs/promises").then(({ rm }) => rm(path.join(swapped.workspace, "data"), { recursive: true }));
      await symlink("/etc", path.join(swapped.workspace, "data"));
      const { body, status } = await swapped.post<ErrorBody>({ code: 'return require("node:fs").readdirSync("data")' });
      assert.equal(status, 503, JSON.stringify(body));
      assert.equal(body.error.code, "SANDBOX_UNAVAILABLE");
      assert.doesNotMatch(body.error.message, /\/etc/);
    } finally {
      await swapped.close();
    }
  });

  it("reads what the operator's modes let a stranger read, and no more", async () => {
    await writeFile(path.join(service.workspace, "data", "private.txt"), "private");
    await chmod(path.join(service.workspace, "data", "private.txt"), 0o600);
    const code = `import fs from "node:fs"; return ${attempt('fs.readFileSync("data/private.txt")')}`;
    assert.equal(await service.result(code), "EACCES");
    // What a request names is mounted by itself, past the modes of what is above it.
    await mkdir(path.join(service.workspace, "data", "closed", "open"), { recursive: true });
    await chmod(path.join(service.workspace, "data", "closed"), 0o700);
    const { body, status } = await service.post<ErrorBody>({ code, permissions: { fileSystem: { read: ["data/closed/open"] } } });
    assert.deepEqual([status, body.error.code], [503, "SANDBOX_UNAVAILABLE"]);
    // A single file is copied, by a service that may read more than a stranger.
    assert.equal(await service.result(code, { permissions: { fileSystem: { read: ["data/private.txt"] } } }), "EACCES");
    assert.equal(await service.result(code, { permissions: { fileSystem: { read: [{ path: "data", snapshot: true }] } } }), "EACCES");
  });
});

const byPath = (files: Execution["files"]): Record<string, Execution["files"][number]> =>
  Object.fromEntries(files.map((file) => [file.path, file]));
