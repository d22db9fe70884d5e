/** Programs that take time, threads and processes: each is ended at its deadline, whatever it is busy with. */

import { besiege, runUnrestricted } from "./support/siege.ts";
import type { HostileProgram } from "./support/siege.ts";

const WORKERS = 'const { Worker } = require("node:worker_threads");';
/** Runs for ever in a WebAssembly module: (func (export "f") (loop (br 0))). */
const WASM_LOOP =
  "new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 9, 1, 7, 0, 3, 64, 12, 0, 11, 11]))).exports.f();";

/** What runs past any deadline. */
const ENDLESS: Readonly<Record<string, string>> = {
  "a busy loop": "for (;;);",
  "busy loops in workers": `${WORKERS} for (let i = 0; i < 8; i++) new Worker("for (;;);", { eval: true }); for (;;);`,
  "key derivation in native code": 'require("node:crypto").pbkdf2Sync("a", "b", 2 ** 31 - 1, 64, "sha512");',
  "key derivation on the thread pool":
    'for (let i = 0; i < 4; i++) require("node:crypto").pbkdf2("a", "b", 2 ** 31 - 1, 64, "sha512", () => {});',
  "a regular expression that backtracks": '/^(a+)+$/.test("a".repeat(60) + "!");',
  "a loop in WebAssembly": WASM_LOOP,
  "a wait that nobody ends": "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);",
  "arithmetic of huge numbers": "let n = 3n; for (;;) n = (n * n) % (2n ** 4000000n) + 3n;",
  "microtasks without end": "const again = () => Promise.resolve().then(again); again();",
  "process.nextTick without end": "const again = () => process.nextTick(again); again();",
  "setImmediate without end": "const again = () => setImmediate(again); again();",
  "a thenable that resolves to itself": "Promise.resolve({ then(resolve) { resolve(this); } });",
  "signals that are ignored":
    'for (const name of ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR2", "SIGXCPU", "SIGALRM"]) process.on(name, () => {}); for (;;);',
  "an exit handler that never returns": 'process.on("exit", () => { for (;;); });',
  "a beforeExit handler that goes on": 'process.on("beforeExit", () => setTimeout(() => {}, 1));',
  "an error handler that throws again, later":
    'process.on("uncaughtException", () => setImmediate(() => { throw new Error("again"); })); setImmediate(() => { throw new Error("first"); });',
  "sleep in a worker that outlives the main thread": `${WORKERS} new Worker("setInterval(() => {}, 1000)", { eval: true });`,
};

/** Other ways to keep the event loop or a thread busy than those that are always tried. */
const VARIATIONS = new Set([
  "key derivation on the thread pool",
  "a loop in WebAssembly",
  "arithmetic of huge numbers",
  "process.nextTick without end",
  "setImmediate without end",
  "a thenable that resolves to itself",
  "a beforeExit handler that goes on",
  "sleep in a worker that outlives the main thread",
]);

/** Longer than the deadline of the programs. */
const CONTROL_MS = 2500;

/** Runs all of them in one container with no deadline, and tells for each whether it still runs after a while. */
const runEndlessUnrestricted = async (): Promise<Record<string, boolean>> => {
  const script = `
    const { spawn } = require("node:child_process");
    const children = Object.entries(${JSON.stringify(ENDLESS)}).map(([name, code]) => [name, spawn(process.execPath, ["-e", code], { stdio: "ignore" })]);
    setTimeout(() => {
      console.log(JSON.stringify(Object.fromEntries(children.map(([name, child]) => [name, child.exitCode === null && child.signalCode === null]))));
      process.exit();
    }, ${CONTROL_MS});
  `;
  return JSON.parse(await runUnrestricted(script)) as Record<string, boolean>;
};
let unrestricted: Promise<Record<string, boolean>> | undefined;

const endless: readonly HostileProgram[] = Object.entries(ENDLESS).map(([name, code]) => ({
  name,
  layer: "deadline",
  variation: VARIATIONS.has(name),
  code,
  gives: /^timed_out SIGKILL ExecutionEnded: The program ran longer than 1500 ms/,
  without: {
    run: async () => ((await (unrestricted ??= runEndlessUnrestricted()))[name] === true ? "runs on" : "has ended"),
    shows: "runs on",
  },
}));

/** Starts workers until one cannot be started, or there are a hundred. */
const MANY_WORKERS = `
  ${WORKERS}
  const fs = require("node:fs"), tasks = () => fs.readdirSync("/proc/self/task").length;
  let up = 0;
  const start = () => new Promise((resolve) => {
    try { new Worker("setInterval(() => {}, 1e6)", { eval: true }).on("online", () => resolve(true)).on("error", () => resolve(false)); } catch { resolve(false); }
  });
  while (up < 100 && (await start())) up++;
`;

/** Starts a hundred processes that stay; `codes` counts what came of each. */
const MANY_PROCESSES = `
  const { spawn } = require("node:child_process"), codes = {};
  for (let i = 0; i < 100; i++) {
    let code;
    try { code = await new Promise((resolve) => spawn(process.execPath, ["-e", "setInterval(() => {}, 1e6)"], { stdio: "ignore" }).on("error", (error) => resolve(error.code)).on("spawn", () => resolve("ok"))); } catch (error) { code = error.code; }
    codes[code] = (codes[code] ?? 0) + 1;
  }
`;

const spawnUnrestricted = (): Promise<string> =>
  runUnrestricted(`(async () => { ${MANY_PROCESSES} console.log(codes.ok + " processes"); process.exit(); })();`);

const PILES: readonly HostileProgram[] = [
  {
    name: "millions of timers",
    layer: "deadline, memory",
    code: `for (;;) setTimeout(() => {}, 1e9);`,
    gives: /^(timed_out|out_of_memory) /,
    without: {
      run: () => runUnrestricted('for (let i = 0; i < 3e6; i++) setTimeout(() => {}, 1e9); console.log("set 3000000"); process.exit();'),
      shows: "set 3000000",
    },
  },
  {
    name: "millions of promises",
    layer: "deadline, memory",
    code: `const all = []; for (;;) all.push(new Promise(() => {}).then(() => {}));`,
    gives: /^(timed_out|out_of_memory) /,
    without: {
      run: () =>
        runUnrestricted(
          'const all = []; for (let i = 0; i < 3e6; i++) all.push(new Promise(() => {}).then()); console.log("made 3000000");',
        ),
      shows: "made 3000000",
    },
  },
  {
    name: "threads without end",
    layer: "pids",
    code: `${MANY_WORKERS} return { stopped: up < 100, tasks: tasks() <= 64 ? "at most 64" : tasks() };`,
    request: { runtime: "threads", timeoutMs: 15_000 },
    gives: 'completed {"stopped":true,"tasks":"at most 64"}',
    without: {
      run: () => runUnrestricted(`(async () => { ${MANY_WORKERS} console.log(up + " workers"); process.exit(); })();`),
      shows: "100 workers",
    },
  },
  {
    name: "processes without end, where there may be one",
    layer: "one-process",
    code: `${MANY_PROCESSES} return codes;`,
    gives: 'completed {"EPERM":100}',
    without: { run: spawnUnrestricted, shows: "100 processes" },
  },
  {
    name: "processes without end, where there may be three",
    layer: "pids",
    code: `${MANY_PROCESSES} return { spawned: codes.ok > 0 && codes.ok < 100, refused: codes.EAGAIN > 0 };`,
    request: { runtime: "three", timeoutMs: 10_000 },
    gives: 'completed {"spawned":true,"refused":true}',
    without: { run: spawnUnrestricted, shows: "100 processes" },
  },
];

describe("Security: exhaustion of time and threads", () => {
  besiege({
    runtimes: {
      node: { memoryLimit: "256MB" },
      threads: { memoryLimit: "1GB" },
      three: { memoryLimit: "1GB", permissions: { system: { maxProcesses: 3 } } },
    },
    programs: [...endless, ...PILES],
  });
});
