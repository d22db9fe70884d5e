/** Programs that take memory: all of it is counted to them, whichever way it is taken, and only they are ended. */

import { besiege, runUnrestricted } from "./support/siege.ts";
import type { HostileProgram } from "./support/siege.ts";

const MIB = 2 ** 20;
/** Long enough that the limit is reached first. */
const TIMEOUT_MS = 20_000;
/** Far above the limit of the runtimes below. */
const CONTROL_MIB = 300;

/** What takes a MiB or so at each call of `grow`, and `held()` says how much. */
const GROWTH: Readonly<Record<string, string>> = {
  "objects of the JavaScript heap": "const all = []; const grow = () => { for (let i = 0; i < 20000; i++) all.push({ i, a: [i] }); };",
  "text in the JavaScript heap":
    'const all = []; const grow = () => all.push(("" + all.length + Math.random()).repeat(1 << 16).slice(1).toUpperCase());',
  "text outside the heap": 'const all = []; const grow = () => all.push(Buffer.alloc(2 << 20, 65 + (all.length % 26)).toString("latin1"));',
  buffers: "const all = []; const grow = () => all.push(Buffer.alloc(1 << 20, 1));",
  "millions of tiny buffers":
    "const all = []; const grow = () => { for (let i = 0; i < 4096; i++) all.push(new Uint8Array(100).fill(1)); };",
  "a resizable ArrayBuffer":
    "const all = []; let at = 64; const grow = () => { if (at === 64) { all.push(new ArrayBuffer(0, { maxByteLength: 64 << 20 })); at = 0; } const last = all.at(-1); last.resize(++at << 20); new Uint8Array(last, (at - 1) << 20).fill(1); };",
  "a growable SharedArrayBuffer":
    "const all = []; let at = 64; const grow = () => { if (at === 64) { all.push(new SharedArrayBuffer(0, { maxByteLength: 64 << 20 })); at = 0; } const last = all.at(-1); last.grow(++at << 20); new Uint8Array(last, (at - 1) << 20).fill(1); };",
  "WebAssembly memory":
    "const memory = new WebAssembly.Memory({ initial: 0 }); const grow = () => { const from = memory.grow(16) << 16; new Uint8Array(memory.buffer, from).fill(1); };",
  "messages that nobody receives":
    'const { MessageChannel } = require("node:worker_threads"); const { port1 } = new MessageChannel(); const grow = () => port1.postMessage(new Uint8Array(1 << 20).fill(1));',
  "what a small compressed text becomes":
    'const zlib = require("node:zlib"); const bomb = zlib.brotliCompressSync(Buffer.alloc(32 << 20, 7)); const all = []; const grow = () => all.push(zlib.brotliDecompressSync(bomb));',
};

/** Of memory outside the heap, these stand for the rest; all are attacked for the security report. */
const MAIN = new Set(["objects of the JavaScript heap", "buffers", "WebAssembly memory", "messages that nobody receives"]);

const untilTheEnd = (growth: string): string => `${growth} for (;;) grow();`;
const underControl = (growth: string): string =>
  `${growth} while (process.memoryUsage().rss < ${CONTROL_MIB} * ${MIB}) grow(); console.log("took " + ${CONTROL_MIB} + " MiB");`;

const GROWING: readonly HostileProgram[] = Object.entries(GROWTH).map(([name, growth]) => ({
  name,
  layer: "memory",
  variation: !MAIN.has(name),
  code: untilTheEnd(growth),
  request: { timeoutMs: TIMEOUT_MS },
  gives: /^out_of_memory SIG(KILL|ABRT|SEGV|TRAP) OutOfMemory/,
  without: { run: () => runUnrestricted(underControl(growth)), shows: `took ${CONTROL_MIB} MiB` },
}));

const OTHERS: readonly HostileProgram[] = [
  {
    name: "a heap that V8 is asked to let grow",
    layer: "memory",
    code: `require("node:v8").setFlagsFromString("--max-old-space-size=8192"); ${untilTheEnd(GROWTH["objects of the JavaScript heap"]!)}`,
    request: { timeoutMs: TIMEOUT_MS },
    gives: /^out_of_memory/,
    without: { run: () => runUnrestricted(underControl(GROWTH["objects of the JavaScript heap"]!)), shows: /^took/ },
  },
  {
    name: "a heap for each of many workers",
    layer: "memory",
    variation: true,
    code: 'const { Worker } = require("node:worker_threads"); for (let i = 0; i < 6; i++) new Worker("const all = []; for (;;) all.push({ a: [all.length] })", { eval: true, resourceLimits: { maxOldGenerationSizeMb: 4096 } }); await new Promise(() => {});',
    request: { timeoutMs: TIMEOUT_MS },
    gives: /^out_of_memory/,
    without: {
      run: () =>
        runUnrestricted(
          `const { Worker } = require("node:worker_threads"); for (let i = 0; i < 6; i++) new Worker("const all = []; for (;;) all.push({ a: [all.length] })", { eval: true, resourceLimits: { maxOldGenerationSizeMb: 4096 } }); setInterval(() => { if (process.memoryUsage().rss > ${CONTROL_MIB} * ${MIB}) { console.log("took"); process.exit(); } }, 20);`,
        ),
      shows: "took",
    },
  },
  {
    name: "files in the writable folder, which has room for more than the memory limit",
    layer: "memory",
    code: 'const fs = require("node:fs"); for (let i = 0; ; i++) fs.writeFileSync("temp/" + i, Buffer.alloc(8 << 20));',
    request: { runtime: "roomy", timeoutMs: TIMEOUT_MS },
    gives: /^out_of_memory SIGKILL/,
    without: {
      run: () =>
        runUnrestricted(
          'const fs = require("node:fs"); for (let i = 0; i < 40; i++) fs.writeFileSync("/mnt/" + i, Buffer.alloc(8 << 20)); console.log("wrote 320 MiB");',
          { Tmpfs: { "/mnt": "rw,size=512m" } },
        ),
      shows: "wrote 320 MiB",
    },
  },
  {
    name: "more bytes in the writable folder than tempBytes",
    layer: "tempBytes",
    code: 'const fs = require("node:fs"); let written = 0; try { for (;;) { fs.appendFileSync("temp/a" + (written >> 23), Buffer.alloc(1 << 20)); written += 1 << 20; } } catch (error) { return [error.code, written >> 20]; }',
    request: { timeoutMs: TIMEOUT_MS },
    gives: 'completed ["ENOSPC",16]',
    without: {
      run: () =>
        runUnrestricted(
          'const fs = require("node:fs"); for (let i = 0; i < 64; i++) fs.appendFileSync("/mnt/a", Buffer.alloc(1 << 20)); console.log("wrote 64 MiB");',
          { Tmpfs: { "/mnt": "rw" } },
        ),
      shows: "wrote 64 MiB",
    },
  },
  {
    name: "more files in the writable folder than tempInodes",
    layer: "tempInodes",
    code: 'const fs = require("node:fs"); let made = 0; try { for (;;) { fs.writeFileSync("temp/" + made, ""); made++; } } catch (error) { return [error.code, made]; }',
    request: { timeoutMs: TIMEOUT_MS },
    gives: /^completed \["ENOSPC",99\d\]$/,
    without: {
      run: () =>
        runUnrestricted(
          'const fs = require("node:fs"); for (let i = 0; i < 5000; i++) fs.writeFileSync("/mnt/" + i, ""); console.log("made 5000");',
          { Tmpfs: { "/mnt": "rw" } },
        ),
      shows: "made 5000",
    },
  },
  {
    name: "a file with a hole that claims a terabyte",
    layer: "tempBytes",
    code: 'const fs = require("node:fs"); const fd = fs.openSync("temp/a", "w"); try { fs.ftruncateSync(fd, 2 ** 40); return "made"; } catch (error) { return error.code; }',
    request: { timeoutMs: TIMEOUT_MS },
    gives: /^(completed "EFBIG"|killed SIGXFSZ.*)$/,
    without: {
      run: () =>
        runUnrestricted('const fs = require("node:fs"); fs.ftruncateSync(fs.openSync("/tmp/a", "w"), 2 ** 40); console.log("made");'),
      shows: "made",
    },
  },
];

describe("Security: exhaustion of memory", () => {
  besiege({
    runtimes: {
      node: {
        memoryLimit: "128MB",
        permissions: { fileSystem: { write: ["./temp"] } },
        limits: { tempBytes: "16MB", tempInodes: 1000 },
      },
      roomy: {
        memoryLimit: "128MB",
        permissions: { fileSystem: { write: ["./temp"] } },
        limits: { tempBytes: "512MB" },
      },
    },
    programs: [...GROWING, ...OTHERS],
  });
});
