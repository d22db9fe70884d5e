/** Programs that print or send without end: they are ended at the ceiling, and the service keeps what it may and no more. */

import { besiege, NO_CONTROL } from "./support/siege.ts";
import type { HostileProgram } from "./support/siege.ts";

const TIMEOUT_MS = 20_000;

/** What prints `pieces` of 64 KiB; without end where that is left out. */
const OUTPUT: Readonly<Record<string, (pieces?: number) => string>> = {
  "stdout in blocks": (pieces = Infinity) =>
    `const block = "x".repeat(1 << 16); for (let i = 0; i < ${pieces}; i++) process.stdout.write(block);`,
  "stderr in blocks": (pieces = Infinity) =>
    `const block = "x".repeat(1 << 16); for (let i = 0; i < ${pieces}; i++) process.stderr.write(block);`,
  "one line without an end": (pieces = Infinity) =>
    `const fs = require("node:fs"), block = Buffer.alloc(1 << 20, 120); for (let i = 0; i < ${pieces} / 16; i++) fs.writeSync(1, block);`,
  "bytes that are no text": (pieces = Infinity) =>
    `const fs = require("node:fs"), block = require("node:crypto").randomBytes(1 << 16); for (let i = 0; i < ${pieces}; i++) fs.writeSync(1, block);`,
  "lines from workers": (pieces = Infinity) =>
    `const { Worker } = require("node:worker_threads"); for (let i = 0; i < 3; i++) new Worker('const fs = require("node:fs"), block = "line\\\\n".repeat(12000); for (let i = 0; i < ${pieces} / 3; i++) fs.writeSync(1, block);', { eval: true });`,
};

const FLOODS: readonly HostileProgram[] = Object.entries(OUTPUT).map(([name, print]) => ({
  name,
  layer: "outputCeilingBytes",
  code: print(),
  request: { timeoutMs: TIMEOUT_MS },
  gives: /^output_limit SIGKILL ExecutionEnded: The program printed more than 16777216 bytes to std(out|err)\./,
  without: { code: print(320), request: { runtime: "talkative", timeoutMs: TIMEOUT_MS }, shows: /^completed null/ },
}));

const OTHERS: readonly HostileProgram[] = [
  {
    name: "100 MB in a single write",
    layer: "outputCeilingBytes",
    code: 'process.stdout.write(Buffer.alloc(1e8, 120)); return "written";',
    request: { timeoutMs: TIMEOUT_MS },
    gives: /^output_limit SIGKILL/,
    without: NO_CONTROL,
  },
  {
    name: "more than is kept, then a result",
    layer: "outputBytes",
    code: 'process.stdout.write("x".repeat(8 << 20)); return "after";',
    request: { timeoutMs: TIMEOUT_MS, limits: { outputBytes: 4 } },
    gives: 'completed "after"; printed xxxx',
    without: NO_CONTROL,
  },
  {
    name: "a worker that prints on after the result",
    layer: "outputCeilingBytes",
    code: 'const { Worker } = require("node:worker_threads"); new Worker(\'const fs = require("node:fs"); for (;;) fs.writeSync(1, "more ");\', { eval: true }); await new Promise((resolve) => setTimeout(resolve, 300)); return "result";',
    request: { timeoutMs: 5000 },
    gives: /^(completed "result"|timed_out|output_limit)/,
    without: NO_CONTROL,
  },
  {
    name: "frames for the service that trickle in",
    layer: "deadline",
    code: 'const fs = require("node:fs"); let fd = 3; for (; ; fd++) try { if (fs.fstatSync(fd).isSocket()) break; } catch {} fs.writeSync(fd, Buffer.from([0, 0, 16, 0, 1])); setInterval(() => fs.writeSync(fd, "x"), 20);',
    gives: /^timed_out SIGKILL/,
    without: NO_CONTROL,
  },
  {
    name: "a way to the service that is never read",
    layer: "deadline",
    code: "const handle = process._getActiveHandles().find((handle) => handle._handle?.readStop && handle !== process.stdout && handle !== process.stderr); handle?._handle.readStop(); for (;;);",
    gives: /^timed_out SIGKILL/,
    without: NO_CONTROL,
  },
];

describe("Security: exhaustion by output", () => {
  besiege({
    runtimes: {
      node: { memoryLimit: "256MB", limits: { outputCeilingBytes: "16MB" } },
      talkative: { memoryLimit: "256MB", limits: { outputCeilingBytes: "64MB" } },
    },
    programs: [...FLOODS, ...OTHERS],
  });
});
