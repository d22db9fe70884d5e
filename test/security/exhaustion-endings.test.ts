/**
 * Programs that end in odd ways, or hand over odd results and errors: each gets an answer with the right status, and what they hand
 * over costs the service little.
 *
 * Some of it surprises. Of a process that ends by itself only the exit code is known: one that closes its way to the service, or calls
 * the real exit past the runner, has `completed` with code 0, and no result. As PID 1 a process gets from itself only the signals that
 * it has a handler for, so that killing itself does nothing. A program that deletes every global has deleted where its result goes.
 */

import { besiege, NO_CONTROL } from "./support/siege.ts";
import type { HostileProgram } from "./support/siege.ts";

type Row = readonly [name: string, code: string, gives: string | RegExp];

const ENDINGS: readonly Row[] = [
  ["process.abort", "process.abort();", /^killed SIG(ABRT|SEGV|TRAP|ILL) ProcessKilled/],
  ["the real exit, past the runner", "process.reallyExit(0);", "completed null"],
  ["the real exit with a code", "process.reallyExit(7);", /^failed 7 /],
  ["an exit code that is none", "process.exitCode = {};", /^failed 1 TypeError: /],
  ["an exit code of a million", "process.exit(1000000);", /^failed 64 /],
  ["a negative exit code", "process.exit(-1);", /^failed 255 /],
  [
    "process.exit in a worker",
    'const { Worker } = require("node:worker_threads"); return await new Promise((resolve) => new Worker("process.exit(9)", { eval: true }).on("exit", resolve));',
    "completed 9",
  ],
  [
    "signals to itself",
    'for (const name of ["SIGKILL", "SIGTERM", "SIGINT", "SIGSTOP", "SIGHUP", "SIGUSR2", "SIGPIPE"]) try { process.kill(process.pid, name); } catch {} await new Promise((resolve) => setTimeout(resolve, 100)); return "still here";',
    'completed "still here"',
  ],
  [
    "signals to everybody",
    'const codes = []; for (const pid of [-1, 0, 2, 7]) try { process.kill(pid, "SIGKILL"); codes.push("sent"); } catch (error) { codes.push(error.code); } return codes;',
    /^(completed|killed) /,
  ],
  [
    "closed stdin, stdout and stderr",
    'const fs = require("node:fs"); for (const fd of [0, 1, 2]) try { fs.closeSync(fd); } catch {} return "closed";',
    'completed "closed"',
  ],
  ["a stack without end", "const f = () => f(); f();", /^failed 1 RangeError: Maximum call stack/],
  [
    "a working directory that is gone",
    'const fs = require("node:fs"); fs.mkdirSync("temp/a"); process.chdir("temp/a"); fs.rmdirSync("../a"); return 1;',
    "completed 1",
  ],
  [
    "a capture callback for every error",
    'process.setUncaughtExceptionCaptureCallback(() => {}); setImmediate(() => { throw new Error("x"); }); await new Promise((resolve) => setTimeout(resolve, 100)); return "went on";',
    'completed "went on"',
  ],
  [
    "errors inside a domain",
    'const d = require("node:domain").create(); d.on("error", () => {}); d.run(() => setImmediate(() => { throw new Error("x"); })); await new Promise((resolve) => setTimeout(resolve, 100)); return "went on";',
    'completed "went on"',
  ],
  [
    "every global deleted",
    "for (const name of Object.getOwnPropertyNames(globalThis)) try { delete globalThis[name]; } catch {} return 1;",
    /^completed (1|null)/,
  ],
  [
    "built-in prototypes emptied",
    "for (const proto of [Object.prototype, Array.prototype, Function.prototype, Buffer.prototype, String.prototype]) for (const name of Object.getOwnPropertyNames(proto)) try { delete proto[name]; } catch {} return 1;",
    /^(completed 1|failed|killed|completed null)/,
  ],
  [
    "a promise that never settles",
    "await new Promise(() => {});",
    /^failed 13 Error: The program waits for a promise that can never settle/,
  ],
  ["an exit handler that throws", 'process.on("exit", () => { throw new Error("in exit"); }); return 1;', /^failed \d+ Error: in exit/],
  [
    "an error handler that throws",
    'process.on("uncaughtException", () => { throw new Error("in handler"); }); throw new Error("first");',
    /^failed 7 Error: in handler/,
  ],
  ["exit inside exit handlers", 'process.on("exit", () => process.exit(4)); process.exit(3);', /^failed 4 /],
];

const RESULTS: readonly Row[] = [
  [
    "a result nested a million deep",
    "let value = {}; for (let i = 0; i < 1e6; i++) value = { value }; return value;",
    /^failed 1 ResultError: The result is nested more than 100 levels/,
  ],
  ["a result of ten million items", "return new Array(1e7).fill(0);", /^failed 1 ResultError/],
  ["a result that claims four billion items", "return new Array(2 ** 32 - 1);", /^failed 1 ResultError/],
  [
    "a result of hundreds of thousands of keys",
    "const value = {}; for (let i = 0; i < 4e5; i++) value[`key ${i}`] = i; return value;",
    /^failed 1 ResultError/,
  ],
  ["a result of 100 MB of text", 'return "x".repeat(1e8);', /^failed 1 ResultError/],
  ["a result of text that JSON makes six times as long", 'return "\\0".repeat(1e6);', /^failed 1 ResultError/],
  [
    "a result with a getter that throws",
    "return { get a() { throw new Error('mine'); } };",
    /^failed 1 ResultError: The value at result\.a cannot be read: mine/,
  ],
  ["a result with a toJSON of its own", "const value = { toJSON: () => ({ toJSON: () => value }) }; return value;", /^completed /],
  [
    "a result that is revoked",
    "const { proxy, revoke } = Proxy.revocable({}, {}); setTimeout(revoke); revoke(); return { proxy };",
    /^failed 1 /,
  ],
];

const ERRORS: readonly Row[] = [
  ["an error with a message of 50 MB", 'throw new Error("x".repeat(5e7));', /^failed 1 Error: x+/],
  [
    "an error with a stack of 50 MB",
    'const error = new Error("m"); error.stack = "at x\\n".repeat(1e7); throw error;',
    /^failed 1 Error: m/,
  ],
  ["an error with a hostile name", 'const error = new Error("m"); error.name = "\\u0000\\ud800".repeat(1e6); throw error;', /^failed 1 /],
  [
    "an error with getters that throw",
    'throw Object.defineProperties(new Error("m"), Object.fromEntries(["name", "message", "stack", "cause"].map((key) => [key, { get() { throw new Error("again"); } }])));',
    /^failed 1 /,
  ],
  [
    "a thrown proxy",
    'throw new Proxy(new Error("m"), { get() { throw 1; }, getPrototypeOf() { throw 2; }, ownKeys() { throw 3; } });',
    /^failed 1 /,
  ],
  ["a cause of itself", 'const error = new Error("m"); error.cause = error; throw error;', "failed 1 Error: m"],
  [
    "a chain of a million causes",
    'let error = new Error("first"); for (let i = 0; i < 1e6; i++) error = Object.assign(Object.create(Error.prototype), { message: "m", cause: error }); throw error;',
    /^failed 1 Error: m/,
  ],
  [
    "an AggregateError of a million",
    'const one = new Error("one"); throw new AggregateError(new Array(1e6).fill(one), "many");',
    "failed 1 AggregateError: many",
  ],
  ["a thrown symbol, undefined and null", "process.on('exit', () => { throw null; }); throw Symbol('s');", /^failed \d+ /],
  ["an inspect method that never returns", 'throw { [Symbol.for("nodejs.util.inspect.custom")]() { for (;;); } };', /^failed 1 /],
];

/** What may go on until the deadline. */
const UNTIL_THE_DEADLINE: readonly Row[] = [
  [
    "every descriptor closed",
    'const fs = require("node:fs"); for (let fd = 0; fd < 1000; fd++) try { fs.closeSync(fd); } catch {} for (;;);',
    /^(timed_out|killed|failed) /,
  ],
  [
    "every descriptor closed, and a result",
    'const fs = require("node:fs"); for (let fd = 0; fd < 1000; fd++) try { fs.closeSync(fd); } catch {} return 1;',
    /^(completed null|killed|failed|timed_out)/,
  ],
  [
    "its way to the service closed for writing",
    "for (const handle of process._getActiveHandles()) handle.end?.(); await new Promise((resolve) => setTimeout(resolve, 300)); for (;;);",
    /^(completed|killed|failed|timed_out) /,
  ],
  ["a result with a getter that never returns", "return { get a() { for (;;); } };", /^timed_out /],
  ["a result with a toJSON that never returns", "return { toJSON() { for (;;); } };", /^timed_out /],
  [
    "a proxy that lies about its keys",
    'return new Proxy({}, { ownKeys: () => { const all = []; for (let i = 0; i < 1e6; i++) all.push("k" + i); return all; }, getOwnPropertyDescriptor: () => ({ configurable: true, enumerable: true, value: 1 }), get: () => new Proxy({}, {}) });',
    /^(failed|timed_out) /,
  ],
  [
    "an array-like proxy of huge length",
    "return new Proxy([], { get: (target, key) => (key === 'length' ? 1e9 : 1) });",
    /^(failed 1 ResultError|timed_out)/,
  ],
  ["an error with a getter that never returns", "throw { get message() { for (;;); } };", /^timed_out /],
  [
    "a prepareStackTrace that never returns",
    'Error.prepareStackTrace = () => { for (;;); }; throw new Error("m");',
    /^(timed_out|failed) /,
  ],
];

const toProgram = ([name, code, gives]: Row): HostileProgram => ({
  name,
  layer: "every end is a status",
  code,
  gives,
  without: NO_CONTROL,
});

const programs = [
  ...[...ENDINGS, ...RESULTS, ...ERRORS].map((row) => ({ ...toProgram(row), request: { timeoutMs: 20_000 } })),
  ...UNTIL_THE_DEADLINE.map(toProgram),
];

describe("Security: exhaustion by endings", () => {
  besiege({ runtimes: { node: { memoryLimit: "512MB", permissions: { fileSystem: { write: ["./temp"] } } } }, programs });
});
