/**
 * Files that a program brings along or writes, and every way of Node to run one as native code.
 *
 * That JavaScript can become native code without a file is no secret and no breach: the last part shows that it can, and that it
 * gains nothing. See "Native code" in docs/threat-model.md.
 */

import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import path from "node:path";

import { engineArchitecture } from "../../src/sandbox/docker/image/architecture.ts";
import type { Execution } from "../../src/domain/execution.ts";
import { docker, TestService } from "../helpers/service.ts";
import { attack } from "./support/attack.ts";
import { imageFile, tryWithin, tryWithout } from "./support/attempts.ts";
import type { Attempts, Outcomes } from "./support/attempts.ts";
import { runContainer, sandboxImageId, unrestrictedOptions } from "./support/container.ts";

const NODE = "/usr/local/bin/node";
const PLATFORM =
  (await engineArchitecture(docker)) === "amd64"
    ? { triplet: "x86_64-linux-gnu", loader: "/lib64/ld-linux-x86-64.so.2", isX64: true }
    : { triplet: "aarch64-linux-gnu", loader: "/lib/ld-linux-aarch64.so.1", isX64: false };
const LIBRARY = `/usr/lib/${PLATFORM.triplet}/libm.so.6`;

const MAPPED = /self-register|undefined symbol|mapped/;
const REFUSED = /failed to map segment from shared object/;

const load = (file: string, flags = ""): string => `process.dlopen({ exports: {} }, ${file}${flags}); return "mapped";`;
const copyTo = (file: string): string =>
  `fs.mkdirSync(path.dirname("${file}"), { recursive: true }); fs.copyFileSync("${LIBRARY}", "${file}");`;

/** A shared object where the program put it, and each function of Node that loads one. */
const LOADS: Attempts = {
  "process.dlopen of a written file": copyTo("temp/written.node") + load('path.resolve("temp/written.node")'),
  "process.dlopen of it through /proc/self/fd": load('"/proc/self/fd/" + fs.openSync("temp/written.node")'),
  "process.dlopen with RTLD_GLOBAL": load(
    'path.resolve("temp/written.node")',
    ", os.constants.dlopen.RTLD_NOW | os.constants.dlopen.RTLD_GLOBAL",
  ),
  "require of a written file": 'require(path.resolve("temp/written.node")); return "mapped";',
  "import of a link to it": 'fs.symlinkSync("written.node", "temp/link.node"); require(path.resolve("temp/link.node")); return "mapped";',
  "Worker with --require": 'return inWorker("", { execArgv: ["--require", path.resolve("temp/written.node")] });',
  "process.dlopen in a worker": `return inWorker('process.dlopen({ exports: {} }, "' + path.resolve("temp/written.node") + '")');`,
  "loadExtension of node:sqlite":
    copyTo("temp/extension.so") +
    'const { DatabaseSync } = require("node:sqlite"); const db = new DatabaseSync(":memory:", { allowExtension: true }); db.enableLoadExtension(true); try { db.loadExtension(path.resolve("temp/extension")); } catch (error) { throw new Error(error.message); } return "mapped";',
};

/** A shared object that came with the request or lies in a folder of the host; in the control it lies in an executable place. */
const GIVEN: Attempts = {
  "process.dlopen of an input file": load('"/workspace/temp/given.node"'),
  "process.dlopen of a file in a readable folder": load('"/workspace/data/given.node"'),
};

/** Where Node is started again, for runtimes with more than one process. */
const CHILDREN: Attempts = {
  "LD_PRELOAD of a child": `${copyTo("temp/preload.so")} const { stderr } = cp.spawnSync("${NODE}", ["-p", "1"], { env: { LD_PRELOAD: path.resolve("temp/preload.so") } }); return stderr.toString() || "mapped";`,
  "LD_LIBRARY_PATH of a child": `${copyTo("temp/libm.so.6")} const { stderr, stdout } = cp.spawnSync("${NODE}", ["-p", "1"], { env: { LD_LIBRARY_PATH: path.resolve("temp") } }); return stderr.toString() || "mapped";`,
  "a copy of the loader as a program": `fs.copyFileSync("${LIBRARY}", "temp/program"); fs.chmodSync("temp/program", 0o755); const { error } = cp.spawnSync(path.resolve("temp/program")); return error?.code ?? "started";`,
  "a script with the runtime as its interpreter": `fs.writeFileSync("temp/script", "#!${NODE}\\nconsole.log(1)", { mode: 0o755 }); const { error, stdout } = cp.spawnSync(path.resolve("temp/script")); return error?.code ?? "started";`,
};

/** Files outside of the writable folders, through parts of Node that write by themselves. */
const WRITES: Attempts = {
  "process.report": 'process.report.writeReport("/opt/report.json"); return fs.existsSync("/opt/report.json") ? "written" : "not there";',
  "a heap snapshot": 'v8.writeHeapSnapshot("/opt/heap"); return "written";',
  "ATTACH of node:sqlite": `const { DatabaseSync } = require("node:sqlite"); new DatabaseSync(":memory:").exec("ATTACH '/opt/a.db' AS a; CREATE TABLE a.t(x)"); return "written";`,
  "the file system of node:wasi": `const { WASI } = require("node:wasi"); const wasi = new WASI({ version: "preview1", preopens: { "/": "/opt" } });
    const memory = new WebAssembly.Memory({ initial: 1 }); new Uint8Array(memory.buffer).set(Buffer.from("wasi-file"), 64);
    wasi.finalizeBindings({ exports: { memory } }, { memory });
    const errno = wasi.wasiImport.path_open(3, 0, 64, 9, 1 | 8, 64n, 64n, 0, 128); return errno === 0 ? "written" : "errno " + errno;`,
};

/** Ways to the native function behind process.execve, with \`FILE\` and \`ARGUMENTS\` for its arguments. */
const REPLACEMENTS: Readonly<Record<string, string>> = {
  "process.execve": "process.execve(FILE, ARGUMENTS, {});",
  "internalBinding in a worker with --expose-internals": `new (require("node:worker_threads").Worker)(
      'const { internalBinding } = require("internal/test/binding"); internalBinding("process_methods").execve(' + JSON.stringify(FILE) + ', ' + JSON.stringify(ARGUMENTS) + ', [])',
      { eval: true, execArgv: ["--expose-internals"], stderr: true });`,
  "a closure of Node's, through the inspector": `const { Session } = require("node:inspector"); const session = new Session(); session.connect();
    const ask = (method, parameters) => { let answer; session.post(method, parameters, (error, result) => { if (error) throw new Error(error.message); answer = result; }); return answer; };
    const properties = (objectId) => ask("Runtime.getProperties", { objectId, ownProperties: true });
    const cwd = ask("Runtime.evaluate", { expression: "process.cwd" }).result.objectId;
    const scopes = properties(cwd).internalProperties.find(({ name }) => name === "[[Scopes]]").value.objectId;
    const closures = properties(scopes).result.map(({ value }) => value.objectId).flatMap((id) => properties(id).result);
    const bindings = closures.find(({ name }) => name === "rawMethods").value.objectId;
    ask("Runtime.callFunctionOn", { objectId: bindings, functionDeclaration: "function () { this.execve(" + JSON.stringify(FILE) + ", " + JSON.stringify(ARGUMENTS) + ", []) }" });`,
};

/**
 * Machine code in place of a constant in a function of WebAssembly: V8's checks are turned off, /proc/self/maps tells where generated
 * code lies, and a module with 64-bit memory writes there. Gives what the system call with this number, and no arguments, answers.
 */
const SYSTEM_CALL = `const MARK = 0x1337133713371337n;
  const leb = []; for (let rest = MARK; ; rest >>= 7n) { const low = Number(rest & 0x7fn); if (rest < 64n) { leb.push(low); break; } leb.push(low | 0x80); }
  const constant = [0, 0x42, ...leb, 0x0b];
  const bodies = [3, 7, 0, 0x20, 0, 0x29, 3, 0, 0x0b, 9, 0, 0x20, 0, 0x20, 1, 0x37, 3, 0, 0x0b, constant.length, ...constant];
  const module = [0, 97, 115, 109, 1, 0, 0, 0, 1, 15, 3, 0x60, 1, 0x7e, 1, 0x7e, 0x60, 2, 0x7e, 0x7e, 0, 0x60, 0, 1, 0x7e, 3, 4, 3, 0, 1, 2,
    5, 3, 1, 4, 1, 7, 13, 3, 1, 114, 0, 0, 1, 119, 0, 1, 1, 99, 0, 2, 10, bodies.length, ...bodies];
  v8.setFlagsFromString("--no-wasm-bounds-checks");
  const { r: readAt, w: writeAt, c: call } = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(module))).exports;
  call();
  const maps = [...fs.readFileSync("/proc/self/maps", "utf8").matchAll(/^(\\w+)-(\\w+) (\\S+)/gm)].map(([, from, to, mode]) => ({ from: BigInt("0x" + from), to: BigInt("0x" + to), mode }));
  const base = maps.find(({ from, to, mode }) => mode === "---p" && to - from > 2n ** 33n).from - 65536n;
  const offset = (address) => BigInt.asIntN(64, address - base);
  const places = [];
  for (const { from, to, mode } of maps) if (/x/.test(mode) && /w/.test(mode) && to - from < 2n ** 22n)
    for (let at = from; at < to - 8n; at += 1n) if (readAt(offset(at)) === MARK) places.push(at);
  if (places.length === 0) throw new Error("no generated code was found");
  const systemCall = (number) => {
    const code = Buffer.from([0xb8, number & 255, number >> 8, 0, 0, 0x0f, 0x05, 0x90, 0x90, 0x90]);
    for (const place of places) { writeAt(offset(place - 2n), code.readBigInt64LE(0)); writeAt(offset(place), code.readBigInt64LE(2)); }
    return String(call());
  };`;
/** getpid is allowed; munlockall is not, and does nothing without locked memory. */
const MACHINE_CODE: Attempts = {
  getpid: `${SYSTEM_CALL} globalThis.systemCall = systemCall; return systemCall(39);`,
  munlockall: "return globalThis.systemCall(152);",
};

describe("Security: native code", () => {
  let service: TestService;
  let within: Outcomes;
  let without: Outcomes;

  before(async () => {
    const library = await imageFile(LIBRARY);
    const permissions = { fileSystem: { read: ["./data"], write: ["./temp"] } };
    service = await TestService.start({
      runtimes: { node: { permissions }, forking: { permissions: { ...permissions, system: { maxProcesses: 3 } } } },
      prepare: async (workspace) => {
        await writeFile(path.join(workspace, "data", "given.node"), library, { mode: 0o755 });
        await writeFile(path.join(workspace, "data", "hook.cjs"), "globalThis.hooked = true; console.log('hooked');");
      },
    });
    const files = [{ path: "temp/given.node", content: library.toString("base64"), encoding: "base64" }];
    const place = (folder: string): string =>
      `fs.mkdirSync("/workspace/${folder}", { recursive: true }); fs.copyFileSync("${LIBRARY}", "/workspace/${folder}/given.node");`;
    const set = { ...LOADS, ...GIVEN, ...WRITES };
    [within, without] = await Promise.all([
      tryWithin(service, set, { files }).then(async (outcomes) => ({
        ...outcomes,
        ...(await tryWithin(service, CHILDREN, { runtime: "forking" })),
      })),
      tryWithout({ prepare: `process.chdir("/workspace"); ${place("temp")} ${place("data")}`, ...set, ...CHILDREN }),
    ]);
  });
  after(() => service.close());

  const table = (attempts: Attempts, layer: string, shows: string | RegExp, gives: string | RegExp): void => {
    for (const name of Object.keys(attempts))
      attack({ name, layer, without: { run: () => without[name] ?? "", shows }, within: { run: () => within[name] ?? "", gives } });
  };

  describe("Security: native code from a file", () => {
    table({ ...LOADS, ...GIVEN }, "noexec", MAPPED, REFUSED);
    table(CHILDREN, "noexec", /^(mapped|started)$/, /failed to map segment|^EACCES$/);
  });

  describe("Security: files written by parts of Node", () => {
    table(WRITES, "read-only-root", "written", /^(not there|EROFS|EACCES|ERR_\w+|errno \d+)$/);
  });

  describe("Security: variables that change Node's start", () => {
    const env = {
      NODE_OPTIONS: "--require /workspace/data/hook.cjs",
      LD_PRELOAD: "/workspace/data/given.node",
      LD_DEBUG: "libs",
      NODE_V8_COVERAGE: "/workspace/temp",
    };
    attack({
      name: "NODE_OPTIONS, LD_PRELOAD and LD_DEBUG in the request reach the runner",
      layer: "variables are set once Node runs",
      without: {
        shows: /hooked/,
        run: async () =>
          (
            await tryWithout({
              run: `fs.writeFileSync("/opt/hook.cjs", "console.log('hooked')"); return cp.spawnSync("${NODE}", ["-p", "1"], { env: { NODE_OPTIONS: "--require /opt/hook.cjs" } }).stdout;`,
            })
          )["run"] ?? "",
      },
      within: {
        gives: "undefined, nothing printed, variables as given",
        run: async () => {
          const { result, stderr, stdout } = await service.run(
            "return [typeof globalThis.hooked, process.env.NODE_OPTIONS !== undefined]",
            { env },
          );
          const [hooked, given] = result as [string, boolean];
          return `${hooked}, ${stdout + stderr === "" ? "nothing printed" : "printed"}, variables ${given ? "as given" : "lost"}`;
        },
      },
    });
  });

  describe("Security: another program in place of the runtime", () => {
    const program = (way: string, file: string, args: readonly string[]): string =>
      `const FILE = ${JSON.stringify(file)}, ARGUMENTS = ${JSON.stringify(args)}; ${way}`;
    const printed = ({ stderr, stdout }: Pick<Execution, "stderr" | "stdout">): string => `${stdout} ${stderr}`.replace(/\s+/g, " ").trim();

    for (const [name, way] of Object.entries(REPLACEMENTS)) {
      attack({
        name: `the loader, with a file that was brought along, by ${name}`,
        layer: "noexec",
        without: {
          shows: /libc\.so\.6/,
          run: async () => {
            const code = `fs.copyFileSync("${LIBRARY}", "/opt/brought.so"); ${program(way, PLATFORM.loader, ["ld.so", "--list", "/opt/brought.so"])}`;
            return printed(await runContainer(unrestrictedOptions([NODE, "-e", code], await sandboxImageId())));
          },
        },
        within: {
          gives: REFUSED,
          run: async () =>
            printed(
              await service.run(
                `${program(way, PLATFORM.loader, ["ld.so", "--list", "/workspace/data/given.node"])} await new Promise(() => setInterval(() => {}, 1000));`,
              ),
            ),
        },
      });

      attack({
        name: `the runtime again, without the runner, by ${name}`,
        layer: "what the container was started with outlives every program",
        without: {
          shows: /^Seccomp 0, NoNewPrivs 0, CapEff [0-9a-f]*[1-9a-f][0-9a-f]*, mem open$/,
          run: async () =>
            printed(
              await runContainer(
                unrestrictedOptions([NODE, "-e", program(way, NODE, ["node", "-p", LOOK_AROUND])], await sandboxImageId()),
              ),
            ),
        },
        within: {
          gives: "Seccomp 2, NoNewPrivs 1, CapEff 0000000000000000, mem EACCES",
          run: async () =>
            printed(
              await service.run(`${program(way, NODE, ["node", "-p", LOOK_AROUND])} await new Promise(() => setInterval(() => {}, 1000));`),
            ),
        },
      });
    }
  });

  // The machine code is x86-64, and memory protection keys would keep it out of V8's generated code; other ways in would have to be found.
  const canShow = PLATFORM.isX64 && !/\bpku\b/.test(readFileSync("/proc/cpuinfo", "utf8"));
  (canShow ? describe : describe.skip)("Security: machine code that JavaScript writes", () => {
    let inSandbox: Outcomes;
    let inBareNode: Outcomes;
    before(async () => {
      [inSandbox, inBareNode] = await Promise.all([tryWithin(service, MACHINE_CODE), tryWithout(MACHINE_CODE)]);
    });
    for (const [name, call, layer, shows, gives] of [
      ["a system call that is allowed (documented: the language is no boundary)", "getpid", "none", "1", "1"],
      ["a system call that is not in the allowlist", "munlockall", "seccomp", "0", "-1"],
    ] as const) {
      attack({
        name,
        layer,
        without: { run: () => inBareNode[call] ?? "", shows },
        within: { run: () => inSandbox[call] ?? "", gives },
      });
    }
  });
});

/** What a program that took the runtime's place finds. */
const LOOK_AROUND = `const status = require("fs").readFileSync("/proc/self/status", "utf8");
  const field = (name) => name + " " + new RegExp("^" + name + ":\\\\s*(\\\\w+)", "m").exec(status)[1];
  let mem = "open"; try { require("fs").openSync("/proc/self/mem", "r+"); } catch (error) { mem = error.code; }
  [field("Seccomp"), field("NoNewPrivs"), field("CapEff"), "mem " + mem].join(", ")`;
