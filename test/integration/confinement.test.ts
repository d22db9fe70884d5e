/** What a program finds in its sandbox, and what it does not. The attacks on it are in test/security/. */

import assert from "node:assert/strict";

import { TestService } from "../helpers/service.ts";

const attempt = (expression: string): string =>
  `await (async () => { try { await (${expression}); return "ok" } catch (error) { return error.code ?? error.name } })()`;

describe("Confinement", () => {
  let service: TestService;

  before(async () => {
    service = await TestService.start({
      runtimes: {
        node: { permissions: { fileSystem: { read: ["./data"], write: ["./temp"] } } },
        serving: { permissions: { network: { loopback: true } } },
        forking: { permissions: { fileSystem: { write: ["./temp"] }, system: { maxProcesses: 3 } } },
      },
    });
  });
  after(() => service.close());

  it("starts no process, by any function of Node", async () => {
    const code = `const cp = require("node:child_process");
      const spawned = (child) => new Promise((resolve, reject) => child.on("error", reject).on("spawn", resolve));
      return {
        sync: cp.spawnSync(process.execPath, ["-v"]).error?.code, exec: ${attempt('new Promise((resolve, reject) => cp.exec("true", (error) => error ? reject(error) : resolve()))')},
        spawn: ${attempt("spawned(cp.spawn(process.execPath, ['-v']))")}, fork: ${attempt("spawned(cp.fork('/workspace/data/numbers.txt'))")},
        cluster: ${attempt("spawned(require('node:cluster').fork().process)")},
      };`;
    const outcomes = (await service.result(code)) as Record<string, string>;
    for (const [name, outcome] of Object.entries(outcomes)) assert.match(outcome, /^(EPERM|ENOENT)$/, `${name}: ${outcome}`);
    assert.equal(outcomes["sync"], "EPERM");
  });

  it("lets threads, workers and WebAssembly work", async () => {
    const code = `const { Worker } = require("node:worker_threads"); const crypto = require("node:crypto"); const zlib = require("node:zlib");
      const answer = await new Promise((resolve, reject) => new Worker('require("node:worker_threads").parentPort.postMessage(6 * 7)', { eval: true }).on("message", resolve).on("error", reject));
      const key = await new Promise((resolve, reject) => crypto.scrypt("a", "b", 16, (error, key) => error ? reject(error) : resolve(key.length)));
      const wasm = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array([0,97,115,109,1,0,0,0,1,5,1,96,0,1,127,3,2,1,0,7,5,1,1,102,0,0,10,6,1,4,0,65,42,11]))).exports.f();
      return [answer, key, wasm, zlib.gunzipSync(zlib.gzipSync("x")).toString()];`;
    assert.deepEqual(await service.result(code), [42, 16, 42, "x"]);
  });

  it("starts processes where the runtime allows them, within its number of tasks", async () => {
    const code = `const { spawnSync, spawn } = require("node:child_process");
      const one = spawnSync(process.execPath, ["-p", "6 * 7"]).stdout.toString().trim();
      let started = 0;
      const results = await Promise.all(Array.from({ length: 60 }, () => new Promise((resolve) => {
        const child = spawn(process.execPath, ["-e", "setTimeout(() => {}, 500)"], { stdio: "ignore" });
        child.on("error", (error) => resolve(error.code)).on("spawn", () => { started += 1; resolve("ok"); });
      })));
      return { one, failed: results.filter((result) => result !== "ok").length > 0 };`;
    const execution = await service.run(code, { runtime: "forking", timeoutMs: 20_000 });
    assert.notEqual(execution.status, "killed", JSON.stringify(execution));
    if (execution.status === "completed") assert.deepEqual(execution.result, { one: "42", failed: true });
  });

  it("has a loopback of its own, on which servers work where the runtime allows it", async () => {
    const code = `const http = require("node:http");
      const server = http.createServer((request, response) => response.end("own")).listen(0);
      const text = await (await fetch("http://localhost:" + server.address().port)).text();
      server.close();
      return text;`;
    assert.equal(await service.result(code, { runtime: "serving" }), "own");
  });

  for (const [title, request] of [
    ["where the runtime does not allow them", {}],
    ["where the request forgoes them", { runtime: "serving", permissions: { network: { loopback: false } } }],
  ] as const) {
    it(`has no TCP sockets ${title}, and says so by plain errors`, async () => {
      const code = `const http = require("node:http"), net = require("node:net");
        const errorOf = (emitter) => new Promise((resolve) => emitter.on("error", (error) => resolve([error.syscall, error.code])).on("listening", () => resolve("ok")).on("connect", () => resolve("ok")));
        const fetched = await fetch("http://127.0.0.1:8080").then(() => "ok", (error) => [error.name, error.message, error.cause?.code]);
        return [
          await errorOf(net.createServer().listen(0)), await errorOf(net.createServer().listen(0, "127.0.0.1")),
          await errorOf(net.connect(1, "127.0.0.1")), await errorOf(net.connect(1, "::1")), await errorOf(http.get("http://127.0.0.1:1")), fetched,
        ];`;
      const [listen, connect] = [
        ["listen", "EPERM"],
        ["connect", "EPERM"],
      ];
      assert.deepEqual(await service.result(code, request), [
        listen,
        listen,
        connect,
        connect,
        connect,
        ["TypeError", "fetch failed", "EPERM"],
      ]);
    });
  }

  it("has unix sockets and names of its own without TCP", async () => {
    const code = `const net = require("node:net"), os = require("node:os"), dns = require("node:dns").promises;
      const server = net.createServer((socket) => socket.end("own"));
      await new Promise((resolve, reject) => server.on("error", reject).listen("temp/socket", resolve));
      let text = "";
      for await (const chunk of net.connect("temp/socket")) text += chunk;
      server.close();
      return [text, (await dns.lookup("localhost", { family: 4 })).address, ${attempt('dns.lookup("example.com")')}, ${attempt("os.networkInterfaces()")}];`;
    assert.deepEqual(await service.result(code), ["own", "127.0.0.1", "EAI_AGAIN", "ERR_SYSTEM_ERROR"]);
  });

  it("knows nothing of the host: environment, processes, command line, users", async () => {
    process.env["CODE_MODE_TEST_SECRET_IN_HOST"] = "leaked";
    try {
      const code = `const fs = require("node:fs"); const os = require("node:os");
        const read = (file) => { try { return fs.readFileSync(file, "utf8"); } catch (error) { return error.code; } };
        return { env: process.env, pids: fs.readdirSync("/proc").filter((name) => /^\\d+$/.test(name)), hostname: os.hostname(), environ: read("/proc/1/environ"), kernelCommandLine: read("/proc/cmdline"), passwd: read("/etc/passwd"), shadow: read("/etc/shadow"), kcore: read("/proc/kcore").slice(0, 10) };`;
      const seen = (await service.result(code, { env: { GIVEN: "yes" } })) as Record<string, unknown>;
      assert.deepEqual(seen["env"], { HOME: "/workspace/temp", TMPDIR: "/workspace/temp", LANG: "C.UTF-8", GIVEN: "yes" });
      assert.deepEqual(seen["pids"], ["1"]);
      assert.equal(seen["hostname"], "sandbox");
      assert.equal(seen["environ"], "EACCES");
      assert.equal(seen["kernelCommandLine"], "");
      assert.equal(seen["shadow"], "ENOENT");
      assert.doesNotMatch(String(seen["passwd"]), /bash|\/bin\/sh\b/);
      assert.doesNotMatch(JSON.stringify(seen), /leaked/);
    } finally {
      delete process.env["CODE_MODE_TEST_SECRET_IN_HOST"];
    }
  });

  it("gives two live sandboxes different users, processes and workspaces", async () => {
    const code = `const fs = require("node:fs"); fs.writeFileSync("temp/mine", "x"); await new Promise((resolve) => setTimeout(resolve, 1500));
      return { uid: process.getuid(), gid: process.getgid(), files: fs.readdirSync("temp"), pids: fs.readdirSync("/proc").filter((name) => /^\\d+$/.test(name)) };`;
    const [one, two] = (await Promise.all([service.result(code), service.result(code)])) as {
      uid: number;
      gid: number;
      files: string[];
      pids: string[];
    }[];
    assert.ok(one !== undefined && two !== undefined);
    assert.notEqual(one.uid, two.uid);
    for (const { files, gid, pids, uid } of [one, two]) {
      assert.ok(uid >= 20_000 && uid < 65_536);
      assert.deepEqual([gid, files, pids], [uid, ["mine"], ["1"]]);
    }
  });

  it("runs each program in a container of its own, gone after it", async () => {
    assert.equal(await service.result("globalThis.left = 1; return typeof globalThis.before"), "undefined");
    assert.equal(await service.result("return typeof globalThis.left"), "undefined");
  });
});
