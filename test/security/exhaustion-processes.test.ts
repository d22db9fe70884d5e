/**
 * Programs that start processes without end, leave them behind, or turn them against the runner: each gets its answer, and its
 * neighbours stay quick.
 */

import { buildImagesFor, IMAGE_TIMEOUT_MS, TOOLS } from "../helpers/images.ts";
import { besiege, NO_CONTROL } from "./support/siege.ts";
import type { HostileProgram } from "./support/siege.ts";

const PRELUDE = `const cp = require("node:child_process"), fs = require("node:fs"); process.chdir("temp");
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const shell = (script) => cp.spawn("sh", ["-c", script], { stdio: "ignore", detached: true });
  const processes = () => fs.readdirSync("/proc").filter((name) => /^\\d+$/.test(name)).length;`;

/** Well above what any of them needs, so that what takes too long is seen as such. */
const REQUEST = { timeoutMs: 20_000 };

const program = (name: string, code: string, gives: string | RegExp, layer = "pids"): HostileProgram => ({
  name,
  layer,
  without: NO_CONTROL,
  code: `${PRELUDE} ${code}`,
  request: REQUEST,
  gives,
});

const PROGRAMS: readonly HostileProgram[] = [
  program(
    "a fork bomb of shells",
    'fs.writeFileSync("bomb", "while :; do sh bomb & done"); shell("sh bomb"); while (processes() < 100) await wait(20); return "here";',
    'completed "here"',
  ),
  {
    ...program(
      "a fork bomb that the program does not outlive by itself",
      'fs.writeFileSync("bomb", "while :; do sh bomb & done"); shell("sh bomb"); await wait(60000);',
      /^timed_out /,
    ),
    request: { timeoutMs: 3000 },
  },
  // SIGUSR1 has Node start its inspector, which it cannot: the program can hold itself up with that, and nobody else.
  {
    ...program(
      "a child that wakes the runner without end",
      'shell("while :; do kill -USR1 1; done"); await wait(300); return "here";',
      /^(completed "here"|timed_out )/,
      "the deadline",
    ),
    request: { timeoutMs: 3000 },
  },
  program(
    "as many processes as there may be, none of them ever taken back",
    'let last; for (let i = 0; i < 300 && last === undefined; i++) last = cp.spawnSync("sh", ["-c", "(exit) & (exit) & exit"]).error?.code; return [processes() < 257, last ?? "enough"];',
    /^completed \[true,"(EAGAIN|enough)"\]/,
  ),
  program(
    "children that start children so that no signal finds all",
    'shell("while :; do (sleep 0.01 &) ; done"); shell("while :; do (sleep 0.01 &) ; done"); await wait(300); return "here";',
    'completed "here"',
  ),
  program(
    "a child that sends the runner signals, again and again",
    'shell("while :; do for s in 1 2 3 6 9 11 12 13 14 15 19 20 27; do kill -$s 1; done; done"); await wait(300); return "here";',
    'completed "here"',
    "the first process of a namespace takes no signal that it does not handle",
  ),
  program(
    "stopped children that hold the output open",
    'for (let i = 0; i < 5; i++) cp.spawn("sh", ["-c", "kill -STOP $$"], { stdio: "inherit", detached: true }).unref(); await wait(200); return "here";',
    'completed "here"',
    "all other processes end before the result is told",
  ),
  program(
    "a child, and no descriptor left",
    'shell("while :; do :; done"); await wait(100); try { for (;;) fs.openSync("/dev/null"); } catch (error) { return error.code; }',
    'completed "EMFILE"',
    "all other processes end before the result is told",
  ),
  program(
    "a child that floods both streams",
    'cp.spawn("sh", ["-c", "yes & yes >&2"], { stdio: "inherit", detached: true }).unref(); await wait(200); return "here";',
    /^completed "here"/,
    "all other processes end before the result is told",
  ),
  program(
    "children that take all memory",
    'const hog = ["-e", "const all = []; for (;;) all.push(Buffer.alloc(1e7, 1))"]; const ends = await Promise.all([1, 2].map(() => new Promise((resolve) => cp.spawn("node", hog, { stdio: "ignore" }).on("exit", (code, signal) => resolve(signal))))); return ends;',
    /^(completed \["SIGKILL","SIGKILL"\]|out_of_memory )/,
    "memory",
  ),
];

describe("Security: exhaustion, processes", function () {
  this.timeout(120_000);
  before(async function () {
    this.timeout(IMAGE_TIMEOUT_MS);
    await buildImagesFor({ tools: TOOLS });
  });

  describe("Security: many processes", () => {
    besiege({ runtimes: { tools: { ...TOOLS, memoryLimit: "256MB" } }, programs: PROGRAMS });
  });
});
