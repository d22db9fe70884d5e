/** What a program is refused stands in its result, with the setting that would allow it; the program itself notices nothing of that. */

import assert from "node:assert/strict";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import path from "node:path";

import type { Denial, Execution } from "../../src/domain/execution.ts";
import { buildImagesFor, IMAGE_TIMEOUT_MS, TOOLS } from "../helpers/images.ts";
import { TestService } from "../helpers/service.ts";

const FILES = { read: ["./data", "./config"], write: ["./temp"] };
const RUNTIMES = {
  node: { permissions: { fileSystem: FILES } },
  loopback: { permissions: { fileSystem: FILES, network: { loopback: true } } },
  processes: { permissions: { fileSystem: FILES, system: { maxProcesses: 4 } } },
  node22: { permissions: { fileSystem: FILES }, version: "22" },
  node26: { permissions: { fileSystem: FILES }, version: "26" },
  tools: TOOLS,
  guarded: { permissions: { fileSystem: FILES }, allowedModules: ["fs"], deniedOperations: ["eval"] },
};

const WRITE = "runtimes.node.permissions.fileSystem.write";
const READ = "runtimes.node.permissions.fileSystem.read";
const READ_ONLY = `${WRITE}, for a folder outside of those under fileSystem.read`;
const OUTSIDE = `none: outside of the workspace nothing can be written; ${WRITE} names folders in it`;
const IMAGE = "none: what is outside of the workspace belongs to the image or the kernel";
const HOST_MODE = "none: the file's mode on the host does not let strangers read it";
const NO_PROCESS = "runtimes.node.permissions.system.maxProcesses above 1, and allowedCommands for the commands";
const NETWORK = "runtimes.node.permissions.network.allowedHosts and allowedPorts";
const LOOPBACK =
  "runtimes.node.permissions.network.loopback, for a server of the program itself; network.allowedHosts and allowedPorts, for one of the host";

/** Runs each step of a program whatever comes of the others, and returns their errors' codes. */
const STEPS = `const codes = [];
async function step(body) { try { await body(); codes.push("ok"); } catch (error) { codes.push(error.code ?? error.name); } }
const emitted = (emitter, ...events) => new Promise((resolve, reject) => {
  emitter.on("error", reject);
  for (const event of events) emitter.on(event, resolve);
});
`;

const denied = (kind: Denial["kind"], setting: string, ...whats: string[]): Denial[] => whats.map((what) => ({ kind, what, setting }));

describe("Denials", () => {
  let service: TestService;
  const run = (code: string, request: object = {}): Promise<Execution> => service.run(code, { timeoutMs: 20_000, ...request });
  /** Runs steps; gives the codes and what was denied. */
  const steps = async (code: string, request: object = {}): Promise<{ codes: unknown; denials: Denial[] }> => {
    const execution = await run(`${STEPS}${code}\nreturn codes;`, request);
    assert.equal(execution.status, "completed", JSON.stringify(execution));
    return { codes: execution.result, denials: execution.denials };
  };

  before(async function () {
    this.timeout(IMAGE_TIMEOUT_MS);
    await buildImagesFor(RUNTIMES);
    service = await TestService.start({
      runtimes: RUNTIMES,
      prepare: async (workspace) => {
        await writeFile(path.join(workspace, "data", "private.txt"), "secret");
        await chmod(path.join(workspace, "data", "private.txt"), 0o600);
        await mkdir(path.join(workspace, "other"));
        await writeFile(path.join(workspace, "other", "a.txt"), "not granted");
      },
    });
  });
  after(() => service.close());

  describe("files", () => {
    it("by synchronous functions", async () => {
      const { codes, denials } = await steps(`import fs, { writeFileSync as write } from "node:fs";
        await step(() => write("result.txt", "x"));
        await step(() => fs.mkdirSync("made"));
        await step(() => fs.writeFileSync("new/result.txt", "x"));
        await step(() => fs.appendFileSync("data/numbers.txt", "x"));
        await step(() => fs.rmSync("data/numbers.txt"));
        await step(() => fs.copyFileSync("data/numbers.txt", "data/copy.txt"));
        await step(() => fs.writeFileSync("/tmp/result.txt", "x"));
        await step(() => fs.readFileSync("data/private.txt"));
        await step(() => fs.readFileSync(process.execPath));
        await step(() => fs.readFileSync("other/a.txt"));
        await step(() => fs.readFileSync("data/none.txt"));
        await step(() => fs.existsSync("other/a.txt") && fs.never());
        await step(() => fs.unlinkSync("old.txt"));`);
      const [readOnly, , , , removed, ...rest] = codes as string[];
      assert.equal(readOnly, "EROFS");
      assert.ok(removed === "EROFS" || removed === "", removed);
      assert.deepEqual(rest, ["EROFS", "EROFS", "EACCES", "EACCES", "ENOENT", "ENOENT", "ok", "EROFS"]);
      assert.deepEqual(denials, [
        ...denied("file", WRITE, "result.txt", "made", "new/result.txt"),
        { kind: "file", what: "data/numbers.txt", setting: READ_ONLY, count: 2 },
        ...denied("file", READ_ONLY, "data/copy.txt"),
        ...denied("file", OUTSIDE, "/tmp/result.txt"),
        ...denied("file", HOST_MODE, "data/private.txt"),
        ...denied("file", IMAGE, "/usr/local/bin/node"),
        ...denied("file", WRITE, "old.txt"),
      ]);
    });

    it("by functions with callbacks or promises, by streams and handles", async () => {
      const { codes, denials } = await steps(`import fs from "node:fs";
        import { open, readFile, writeFile } from "node:fs/promises";
        import { promisify } from "node:util";
        import { pipeline } from "node:stream/promises";
        await step(() => new Promise((resolve, reject) => fs.writeFile("callback", "x", (error) => error ? reject(error) : resolve())));
        await step(() => promisify(fs.mkdir)("promisified"));
        await step(() => writeFile("promise", "x"));
        await step(() => fs.promises.mkdir("made/deep", { recursive: true }));
        await step(() => open("handle", "w"));
        await step(() => open("data/numbers.txt", "r+"));
        await step(() => emitted(fs.createWriteStream("stream"), "open"));
        await step(() => emitted(fs.createReadStream("data/private.txt"), "open"));
        await step(() => pipeline(fs.createReadStream("data/numbers.txt"), fs.createWriteStream("data/copy.txt")));
        await step(() => readFile("data/none.txt"));
        await step(async () => { const handle = await open("data/numbers.txt"); await handle.close(); });
        await step(() => process.getBuiltinModule("fs").promises.rename("data/numbers.txt", "data/renamed.txt"));`);
      assert.deepEqual((codes as string[]).slice(6), ["EROFS", "EACCES", "EROFS", "ENOENT", "ok", "EROFS"]);
      const [made] = denials.splice(3, 1);
      assert.match(made?.what ?? "", /^made(?:\/deep)?$/);
      assert.deepEqual(denials, [
        ...denied("file", WRITE, "callback", "promisified", "promise", "handle"),
        { kind: "file", what: "data/numbers.txt", setting: READ_ONLY, count: 2 },
        ...denied("file", WRITE, "stream"),
        ...denied("file", HOST_MODE, "data/private.txt"),
        ...denied("file", READ_ONLY, "data/copy.txt"),
      ]);
    });

    it("that the request left out name the request", async () => {
      const code = `import fs from "node:fs";
        await step(() => fs.writeFileSync("temp/a", "x"));
        await step(() => fs.writeFileSync("data/a", "x"));`;
      const { denials } = await steps(code, { permissions: { fileSystem: { read: ["./config"], write: [] } } });
      assert.deepEqual(denials, [
        ...denied("file", "permissions.fileSystem.write of the request, which leaves it out", "temp/a"),
        ...denied("file", READ_ONLY, "data/a"),
      ]);
      const narrowed = await run('require("node:fs").readFileSync("data/numbers.txt")', {
        permissions: { fileSystem: { read: ["./config"] } },
      });
      assert.equal(narrowed.status, "failed");
      assert.deepEqual(
        narrowed.denials,
        denied("file", "permissions.fileSystem.read of the request, which leaves it out", "data/numbers.txt"),
      );
    });

    it("that are not there are told when that ends the program, and are not granted", async () => {
      for (const [code, denials] of [
        ['await require("fs").promises.readFile("other/a.txt")', denied("file", READ, "other/a.txt")],
        ['require("fs").createReadStream("other/a.txt")', denied("file", READ, "other/a.txt")],
        [
          'try { require("fs").readdirSync("other") } catch (cause) { throw new Error("no input", { cause }) }',
          denied("file", READ, "other"),
        ],
        ['require("fs").readFileSync("data/none.txt")', []],
        ['require("fs").readFileSync("/etc/shadow")', []],
      ] as const) {
        const { denials: found, status } = await run(code);
        assert.equal(status, "failed", code);
        assert.deepEqual(found, denials, code);
      }
    });
  });

  describe("processes", () => {
    it("where the runtime has one", async () => {
      const { codes, denials } =
        await steps(`import { exec, execFile, execFileSync, execSync, fork, spawn, spawnSync } from "node:child_process";
        import { promisify } from "node:util";
        await step(() => emitted(spawn("git", ["status"]), "exit"));
        await step(() => { const { error } = spawnSync("git", ["log"]); if (error) throw error; });
        await step(() => execFileSync("jq"));
        await step(() => execSync("ls -l"));
        await step(() => promisify(exec)("ls -l"));
        await step(() => promisify(execFile)("jq", ["."]));
        await step(() => emitted(fork("./other.js"), "exit"));
        await step(() => require("node:cluster").fork());`);
      assert.deepEqual(
        codes,
        Array.from({ length: 8 }, () => "EPERM"),
      );
      const twice = (what: string): Denial => ({ kind: "process", what, setting: NO_PROCESS, count: 2 });
      assert.deepEqual(denials, [twice("git"), twice("jq"), twice("/bin/sh -c ls -l"), twice("/usr/local/bin/node")]);
    });

    it("where the runtime has several, and not that command", async () => {
      const { codes, denials } = await steps(
        `import { spawn, spawnSync } from "node:child_process"; import fs from "node:fs";
        fs.writeFileSync("temp/tool", "#!/usr/local/bin/node", { mode: 0o755 });
        await step(() => emitted(spawn("git"), "exit"));
        await step(() => { const { error } = spawnSync("git log", { shell: true }); if (error) throw error; });
        await step(() => emitted(spawn("./tool", { cwd: "temp" }), "exit"));
        await step(() => emitted(spawn(process.execPath, { cwd: "none" }), "exit"));`,
        { runtime: "processes" },
      );
      assert.deepEqual(codes, ["ENOENT", "ENOENT", "EACCES", "ENOENT"]);
      assert.deepEqual(denials, [
        ...denied(
          "process",
          "runtimes.processes.permissions.system.allowedCommands, and packages for what the image does not have",
          "git",
          "/bin/sh -c git log",
        ),
        ...denied("process", "none: files of the workspace are never executed", "temp/tool"),
      ]);
      const narrowed = await run('require("node:child_process").spawnSync("git")', {
        runtime: "processes",
        permissions: { system: { maxProcesses: 1 } },
      });
      assert.deepEqual(narrowed.denials, denied("process", "permissions.system.maxProcesses of the request, which is 1", "git"));
    });
  });

  it("of commands that the image has name the request that left them out", async () => {
    const { codes, denials } = await steps(
      `import { execFileSync } from "node:child_process";
      for (const command of ["jq", "git", "/usr/bin/git", "vim"]) await step(() => execFileSync(command, ["--version"]));`,
      { runtime: "tools", permissions: { system: { allowedCommands: ["jq"] } } },
    );
    assert.deepEqual(codes, ["ok", "EACCES", "EACCES", "ENOENT"]);
    const request = "permissions.system.allowedCommands of the request, which leaves it out";
    const runtime = "runtimes.tools.permissions.system.allowedCommands, and packages for what the image does not have";
    assert.deepEqual(denials, [...denied("process", request, "git", "/usr/bin/git"), ...denied("process", runtime, "vim")]);
  });

  describe("network", () => {
    it("by fetch, http, https, net, tls and dns", async () => {
      const { codes, denials } = await steps(`import net from "node:net";
        const cause = (error) => { throw error.cause; };
        await step(() => fetch("http://example.com").catch(cause));
        await step(() => fetch("https://example.com/a?b").catch(cause));
        await step(() => fetch("http://127.0.0.1:8001").catch(cause));
        await step(() => emitted(require("node:http").get("http://example.org:8080"), "response"));
        await step(() => emitted(require("node:https").get("https://example.org"), "response"));
        await step(() => emitted(require("node:tls").connect(443, "example.org"), "secureConnect"));
        await step(() => emitted(net.connect(6379, "localhost"), "connect"));
        await step(() => emitted(net.connect({ host: "93.184.216.34", port: "80" }), "connect"));
        await step(() => emitted(new net.Socket().connect(80, "2001:db8::1"), "connect"));
        await step(() => require("node:dns/promises").lookup("example.net"));
        await step(() => new Promise((resolve, reject) => require("node:dns").resolve4("example.net", (error) => error ? reject(error) : resolve())));
        await step(() => new (require("node:dns").promises.Resolver)().resolveMx("example.net"));`);
      assert.equal((codes as string[]).includes("ok"), false);
      assert.deepEqual(denials, [
        ...denied("network", NETWORK, "example.com:80", "example.com:443"),
        ...denied("network", LOOPBACK, "127.0.0.1:8001"),
        ...denied("network", NETWORK, "example.org:8080"),
        { kind: "network", what: "example.org:443", setting: NETWORK, count: 2 },
        ...denied("network", LOOPBACK, "localhost:6379"),
        ...denied("network", NETWORK, "93.184.216.34:80", "[2001:db8::1]:80"),
        { kind: "network", what: "example.net", setting: NETWORK, count: 3 },
      ]);
    });

    it("by servers and UDP", async () => {
      const { codes, denials } = await steps(`import dgram from "node:dgram"; import net from "node:net";
        await step(() => emitted(net.createServer().listen(8080), "listening"));
        await step(() => emitted(require("node:http").createServer().listen(8081, "127.0.0.1"), "listening"));
        await step(() => emitted(net.createServer().listen("data/socket"), "listening"));
        await step(() => emitted(dgram.createSocket("udp4").bind(5000), "listening"));
        await step(() => { const socket = dgram.createSocket("udp4"); const failed = emitted(socket); socket.send("x", 53, "1.1.1.1"); return failed; });`);
      assert.deepEqual((codes as string[]).slice(0, 2), ["EPERM", "EPERM"]);
      const [server, ...more] = denials;
      assert.match(server?.what ?? "", /^(?:0\.0\.0\.0|\[::\]):8080$/);
      assert.deepEqual(more, [
        ...denied("network", "runtimes.node.permissions.network.loopback", "127.0.0.1:8081"),
        ...denied("file", READ_ONLY, "data/socket"),
        ...denied("network", "none: no sandbox has UDP", "udp 0.0.0.0:5000", "udp 0.0.0.0"),
      ]);
    });

    it("is no denial where a server is not there on the loopback that a program has", async () => {
      const { codes, denials } = await steps(
        `import net from "node:net";
        await step(() => emitted(net.connect(8001, "127.0.0.1"), "connect"));
        await step(() => emitted(net.connect(80, "93.184.216.34"), "connect"));
        const server = net.createServer((socket) => socket.end()).listen(0, "127.0.0.1");
        await step(() => emitted(server, "listening"));
        await step(() => emitted(net.connect(server.address().port, "127.0.0.1"), "connect"));`,
        { runtime: "loopback" },
      );
      assert.deepEqual(codes, ["ECONNREFUSED", "ENETUNREACH", "ok", "ok"]);
      assert.deepEqual(
        denials,
        denied("network", "runtimes.loopback.permissions.network.allowedHosts and allowedPorts", "93.184.216.34:80"),
      );
    });
  });

  describe("modules and code", () => {
    it("that the runtime does not list", async () => {
      const { codes, denials } = await steps(
        `await step(() => import("node:net")); await step(() => require("net")); await step(() => process.getBuiltinModule("http"));
        await step(() => process.binding("fs")); await step(() => process.dlopen({}, "/workspace/temp/a.node"));`,
        { runtime: "guarded" },
      );
      assert.deepEqual(
        codes,
        Array.from({ length: 5 }, () => "ERR_MODULE_NOT_ALLOWED"),
      );
      const setting = "runtimes.guarded.allowedModules";
      assert.deepEqual(denials, [
        { kind: "module", what: "net", setting, count: 2 },
        ...denied("module", setting, "http", "process.binding", "/workspace/temp/a.node"),
      ]);
      const { denials: linked, status } = await run('import net from "node:net"; return net;', { runtime: "guarded" });
      assert.equal(status, "failed");
      assert.deepEqual(linked, denied("module", setting, "net"));
    });

    it("that the image does not have, where that ends the program", async () => {
      const setting = "runtimes.node.modules, which the image build adds";
      for (const code of ['import _ from "lodash"; return _;', 'await import("lodash")', 'require("lodash")'])
        assert.deepEqual((await run(code)).denials, denied("module", setting, "lodash"), code);
      assert.deepEqual((await run('try { require("bufferutil"); } catch {}')).denials, []);
      assert.deepEqual((await run('import "./none.js";')).denials, []);
    });

    it("from strings, and native code, where that ends the program", async () => {
      for (const code of ['eval("1")', 'new Function("return 1")()', 'setTimeout(() => { eval("1"); })']) {
        const { denials, status } = await run(code, { runtime: "guarded" });
        assert.equal(status, "failed");
        assert.deepEqual(denials, denied("module", "runtimes.guarded.deniedOperations", "code from a string"), code);
      }
      const { denials } = await run('require("fs").writeFileSync("temp/a.node", "x"); require("./temp/a.node");');
      assert.deepEqual(
        denials.map(({ kind, what }) => [kind, what]),
        [["process", "a native add-on"]],
      );
    });

    it("and what no sandbox may do, where that ends the program", async () => {
      const { denials } = await run("process.setuid(0)");
      assert.deepEqual(denials, denied("process", "none: no sandbox has that right", "setuid"));
    });
  });

  describe("are not noticed by programs", () => {
    it("errors that nobody handles end them as ever", async () => {
      for (const [code, message] of [
        ['require("fs").writeFile("a", "x", (error) => { if (error) throw error; });', "EROFS: read-only file system, open 'a'"],
        [
          'void require("fs").promises.writeFile("a", "x"); setTimeout(() => console.log("went on"), 200);',
          "EROFS: read-only file system, open 'a'",
        ],
        ['require("net").connect(80, "127.0.0.1"); setTimeout(() => console.log("went on"), 200);', /^connect EPERM 127\.0\.0\.1:80/],
        ['require("net").createServer().listen(8080);', /^listen EPERM/],
        ['require("child_process").spawn("ls");', "spawn EPERM"],
        ['require("dgram").createSocket("udp4").bind(5000);', "bind EPERM 0.0.0.0:5000"],
      ] as const) {
        const { error, exitCode, stdout } = await run(code);
        assert.equal(exitCode, 1, code);
        assert.equal(stdout, "", code);
        if (typeof message === "string") assert.equal(error?.message, message);
        else assert.match(error?.message ?? "", message);
      }
    });

    it("functions look as they do in Node, can be replaced, and fail with the program's own frames", async () => {
      const execution =
        await run(`import fs, { readFile } from "node:fs"; import * as promises from "node:fs/promises"; import { promisify } from "node:util";
        const seen = {
          names: [readFile.name, readFile.length, fs.readFileSync.name, promises.readFile.name, fs.promises === promises.default, promises.readFile === fs.promises.readFile],
          native: typeof fs.realpath.native, same: fs.readFile === readFile && require("fs") === fs,
          custom: await promisify(fs.exists)("data"),
        };
        function inner() { try { fs.statSync("none"); } catch (error) { return error; } }
        const error = inner();
        seen.shown = error.stack.includes("/opt/");
        seen.frame = /at inner .*main/.test(error.stack);
        seen.fields = Object.keys(error);
        try { await promises.readFile("none"); } catch (error) { seen.async = /at async .*main/.test(error.stack) && !error.stack.includes("/opt/"); }
        const { readFileSync } = fs;
        fs.readFileSync = () => "patched";
        require("module").syncBuiltinESMExports();
        seen.patched = fs.readFileSync("data/numbers.txt");
        fs.readFileSync = readFileSync;
        function deep() { try { fs.statSync("none"); } catch {} return deep(); }
        try { deep(); } catch (error) { seen.deep = error.message; }
        return seen;`);
      assert.equal(execution.status, "completed", JSON.stringify(execution));
      assert.deepEqual(execution.result, {
        names: ["readFile", 3, "readFileSync", "readFile", true, true],
        native: "function",
        same: true,
        custom: true,
        shown: false,
        frame: true,
        fields: ["errno", "code", "syscall", "path"],
        async: true,
        patched: "patched",
        deep: "Maximum call stack size exceeded",
      });
      assert.deepEqual(execution.denials, []);
    });

    it("a flood of them is counted, and costs little", async () => {
      const execution = await run(
        `import fs from "node:fs";
        Error.stackTraceLimit = 0;
        const began = performance.now();
        for (let n = 0; n < 200_000; n += 1) try { fs.mkdirSync("made-" + n); } catch {}
        return performance.now() - began;`,
        { timeoutMs: 30_000, limits: { memory: "128MB" } },
      );
      assert.equal(execution.status, "completed", JSON.stringify(execution));
      assert.equal(execution.denials.length, 101);
      assert.deepEqual(execution.denials[0], { kind: "file", what: "made-0", setting: WRITE });
      assert.deepEqual(execution.denials[100], { kind: "file", what: "others", setting: OUTSIDE, count: 199_900 });
    });

    it("a program that patched what the notes stand on gets its modules and its result", async () => {
      const execution = await run(`const fail = () => { throw new Error("patched"); };
        for (const key of ["filter", "find", "map", "push"]) Array.prototype[key] = fail;
        WeakSet.prototype.has = WeakMap.prototype.get = WeakMap.prototype.set = fail;
        const fs = require("node:fs");
        let code; try { fs.mkdirSync("made"); } catch (error) { code = error.code; }
        return code;`);
      assert.equal(execution.result, "EROFS", JSON.stringify(execution));
    });
  });

  it("are the same on every line of Node", async () => {
    const code = `import fs, { writeFileSync } from "node:fs"; import { spawnSync, spawn } from "node:child_process";
      await step(() => writeFileSync("result.txt", "x"));
      await step(() => fs.rmSync("data/numbers.txt"));
      await step(() => fs.cpSync("data/numbers.txt", "data/copy.txt"));
      await step(() => fs.promises.rm("data/numbers.txt"));
      await step(() => fs.promises.mkdtemp("data/made-"));
      await step(() => emitted(fs.createWriteStream("stream.txt"), "open"));
      await step(() => emitted(fs.createReadStream("data/private.txt"), "open"));
      await step(() => spawnSync("git"));
      await step(() => emitted(spawn("jq"), "exit"));
      await step(() => fetch("https://example.com"));
      await step(() => emitted(require("node:http").createServer().listen(8081, "127.0.0.1"), "listening"));
      await step(() => emitted(require("node:dgram").createSocket("udp4").bind(5000), "listening"));
      await step(() => require("node:dns").promises.lookup("example.net"));`;
    for (const runtime of ["node", "node22", "node26"]) {
      const { denials } = await steps(code, { runtime });
      assert.deepEqual(
        denials.map(({ count = 1, kind, what }) => `${kind} ${what.replace(/made-.*/, "made")} ${count}`),
        [
          "file result.txt 1",
          "file data/numbers.txt 2",
          "file data/copy.txt 1",
          "file data/made 1",
          "file stream.txt 1",
          "file data/private.txt 1",
          "process git 1",
          "process jq 1",
          "network example.com:443 1",
          "network 127.0.0.1:8081 1",
          "network udp 0.0.0.0:5000 1",
          "network example.net 1",
        ],
        runtime,
      );
    }
  });

  it("come with what the program exits with, and are missing where it is killed", async () => {
    const code = 'try { require("fs").mkdirSync("made"); } catch {}';
    assert.deepEqual((await run(`${code} process.exit(3);`)).denials, denied("file", WRITE, "made"));
    const killed = await run(`${code} for (;;);`, { timeoutMs: 1000 });
    assert.equal(killed.status, "timed_out");
    assert.deepEqual(killed.denials, []);
  });
});
