/**
 * Programs that speak of tools on the runner's socket themselves, as native code would: they are ended or slowed down, a call is made
 * once, and nobody else notices.
 */

import assert from "node:assert/strict";

import type { Execution } from "../../src/domain/execution.ts";
import { TablePort, ToolSandboxes } from "../helpers/tool-sandboxes.ts";
import { attack, isTried, recordAttack } from "./support/attack.ts";
import { RAW_SOCKET } from "./support/raw-socket.ts";

const TIMEOUT_MS = 2500;
const ANSWER_BYTES = 500_000;
const NO_DEFENCE = { cannotShow: "how the program's end is reported; no defence to turn off" } as const;

const TOOLS = `${RAW_SOCKET}
  const call = (id, fields = {}, method = "tool.call") =>
    message({ jsonrpc: "2.0", id, method, params: { server: "s", tool: "echo", arguments: '{"positional":[]}', ...fields } });
  const cancel = (id) => rpc("tool.cancel", { id });
  const positional = (value) => JSON.stringify({ positional: [[value]] });
`;

const portOf = (): TablePort =>
  new TablePort({
    s: {
      echo: () => "here",
      large: () => "x".repeat(ANSWER_BYTES),
      never: () => new Promise(() => undefined),
    },
  });

const endOf = ({ error, result, status }: Execution): string => `${status}: ${error?.message ?? JSON.stringify(result)}`;

describe("Security: tools", () => {
  let sandboxes: ToolSandboxes;
  before(async () => {
    sandboxes = await ToolSandboxes.open();
  });
  after(() => sandboxes.close());

  const run = (code: string, port = portOf()): Promise<Execution> =>
    sandboxes.run(`${TOOLS}\n${code}`, port, { timeoutMs: TIMEOUT_MS, limits: { cpus: 0.5 } });

  describe("Security: messages of tools", () => {
    const WRONG_FORM = /^killed: .*of the wrong form/;
    const NOT_ALLOWED = /^killed: .*"tool\.\w+" where it must not/;
    const forgingWorks = {
      run: async () => endOf(await run("write(call(1)); const { result } = readMessage(); write(finished(result.value)); leave();")),
      shows: 'completed: "here"',
    };

    const attacks: readonly [name: string, code: string, gives: string | RegExp][] = [
      ["an id twice", "write(call(1)); write(call(1)); for (;;);", /^killed: .*two tool calls with one id/],
      ["an id that falls", "write(call(2)); write(call(1)); for (;;);", /^killed: .*two tool calls with one id/],
      [
        "the id of the service's own request, as an answer",
        'write(message({ jsonrpc: "2.0", id: 2, result: { ok: true } })); for (;;);',
        /^killed: .*not made/,
      ],
      ["an id that is no number", 'write(call("1")); for (;;);', /^killed: .*a message that is none/],
      ["an id beyond all", "write(call(2 ** 53)); for (;;);", /^killed: .*a message that is none/],
      ["a call without an id", "write(call(undefined)); for (;;);", /^killed: .*in the wrong form/],
      ["a call for another execution", 'write(call(1, { execution: "exe_0" })); for (;;);', WRONG_FORM],
      ["a name without an end", 'write(call(1, { tool: "t".repeat(100_000) })); for (;;);', WRONG_FORM],
      ["arguments that are no text", "write(call(1, { arguments: { positional: [] } })); for (;;);", WRONG_FORM],
      ["arguments of the wrong form", 'write(call(1, { arguments: "[]" })); for (;;);', WRONG_FORM],
      ["a time limit before now", "write(call(1, { timeoutMs: -1 })); for (;;);", WRONG_FORM],
      ["progress of its own", 'write(rpc("tool.progress", { id: 1, progress: 1 })); for (;;);', NOT_ALLOWED],
      ["a call after its result", "write(finished(1)); write(call(1)); leave();", "completed: 1"],
      [
        "an answer that is awaited twice",
        "write(call(1)); readMessage(); write(cancel(1)); write(cancel(1)); write(finished(1)); leave();",
        "completed: 1",
      ],
      [
        "arguments over the cap",
        "write(call(1, { arguments: positional('x'.repeat(4 << 20)) })); const { result } = readMessage(); write(finished(result.error.code)); leave();",
        'completed: "PAYLOAD_TOO_LARGE"',
      ],
      ["a frame over the cap", "write(call(1, { arguments: positional('\"'.repeat(5 << 20)) })); for (;;);", /^killed: .*over the cap/],
      [
        "a million values",
        "write(call(1, { arguments: positional(Array(1_000_000).fill(1)) })); const { result } = readMessage(); write(finished(result.error.code)); leave();",
        'completed: "PAYLOAD_TOO_LARGE"',
      ],
    ];
    for (const [name, code, gives] of attacks) {
      attack({ name, layer: "checks of each message", without: forgingWorks, within: { run: async () => endOf(await run(code)), gives } });
    }
  });

  describe("Security: a call is made once", () => {
    for (const [name, code] of [
      ["sent again, byte for byte", "const one = call(1); write(one); readMessage(); write(one); for (;;);"],
      ["sent again while it is under way", 'const one = call(1, { tool: "never" }); write(one); write(one); for (;;);'],
    ] as const) {
      attack({
        name,
        layer: "ids rise",
        without: {
          run: async () => {
            const port = portOf();
            await run("write(call(1)); write(call(2)); readMessage(); readMessage(); write(finished(1)); leave();", port);
            return `${port.requests.length} calls`;
          },
          shows: "2 calls",
        },
        within: {
          run: async () => {
            const port = portOf();
            await run(code, port);
            return `${port.requests.length} calls`;
          },
          gives: "1 calls",
        },
      });
    }
  });

  describe("Security: floods of calls", () => {
    /** How many calls of a program the tools were to carry out. */
    const asked = async (code: string): Promise<number> => {
      const port = portOf();
      await run(code, port);
      assert.equal(port.answered, port.requests.length, "each call has come to an end");
      return port.requests.length - port.neverBegun;
    };
    const reads = (tool: string, count: number): string =>
      `for (let id = 1; id <= ${count}; id++) { write(call(id, { tool: ${JSON.stringify(tool)} })); readMessage(); } write(finished(1)); leave();`;
    const neverReads = (fields: string): string => `for (let id = 1; ; id++) write(call(id, ${fields}));`;

    attack({
      name: "answers that are never read",
      layer: "nothing is begun while answers wait",
      without: { run: async () => `${await asked(reads("large", 200))} answers`, shows: "200 answers" },
      within: {
        // Those that came before enough answers waited, what the socket itself takes, and the 64 that may be under way then.
        run: async () => ((await asked(neverReads('{ tool: "large" }'))) <= 100 ? "at most 100 answers" : "more"),
        gives: "at most 100 answers",
      },
    });

    attack({
      name: "calls that never end",
      layer: "calls at once",
      without: { run: async () => `${await asked(reads("echo", 1500))} calls`, shows: "1500 calls" },
      within: {
        run: async () => ((await asked(neverReads('{ tool: "never" }'))) <= 1000 ? "at most 1000 calls" : "more"),
        gives: "at most 1000 calls",
      },
    });

    attack({
      name: "arguments of megabytes that pile up",
      layer: "bytes of arguments at once",
      without: NO_DEFENCE,
      within: {
        run: async () =>
          (await asked(`const text = positional("x".repeat(2 << 20)); ${neverReads('{ tool: "never", arguments: text }')}`)) <= 8
            ? "at most 8 calls of 2 MiB"
            : "more",
        gives: "at most 8 calls of 2 MiB",
      },
    });
  });

  const floods: readonly [name: string, code: string][] = [
    ["calls", "for (let id = 1; ; id++) write(call(id));"],
    [
      "calls whose answers are read",
      "for (let id = 1; ; id += 100) { write(Buffer.concat(Array.from({ length: 100 }, (_, n) => call(id + n)))); for (let n = 0; n < 100; n++) readMessage(); }",
    ],
    ["calls that are cancelled at once", 'for (let id = 1; ; id++) write(Buffer.concat([call(id, { tool: "never" }), cancel(id)]));'],
    ["cancellations of nothing", "const many = Buffer.concat(Array.from({ length: 500 }, (_, id) => cancel(id))); for (;;) write(many);"],
    [
      "large cancellations",
      'const one = message(JSON.stringify({ jsonrpc: "2.0", method: "tool.cancel", params: { id: 1 } }) + " ".repeat(1 << 20)); for (;;) write(one);',
    ],
    [
      "arguments of a great many values",
      "const text = positional(Array(200_000).fill([])); for (let id = 1; ; id++) { write(call(id, { arguments: text })); readMessage(); }",
    ],
    [
      "arguments over the cap",
      'const text = "x".repeat(5 << 20); for (let id = 1; ; id++) { write(call(id, { arguments: text })); readMessage(); }',
    ],
  ];

  describe("Security: a neighbour of a flood", () => {
    for (const [name, code] of floods) {
      // The others vary these two, and are tried for the security report.
      if (!isTried({ variation: !["calls", "arguments of a great many values"].includes(name) })) continue;
      it(`${name}: stays quick, and the service small`, async function () {
        this.timeout(60_000);
        const rssBefore = process.memoryUsage().rss;
        let outcome = "";
        // On a shared machine one measurement can be spoilt by others; a service that floods do slow down spoils all three.
        for (let round = 1; round <= 3; round += 1) {
          const flooding = Promise.all([run(code), run(code)]);
          const delays = await delaysDuring(flooding);
          for (const { status } of await flooding) assert.match(status, /^(timed_out|killed)$/);
          const grownMib = (process.memoryUsage().rss - rssBefore) / 2 ** 20;
          outcome = `p95 ${delays.p95Ms.toFixed(0)} ms, grew ${grownMib.toFixed(0)} MiB`;
          if (delays.p95Ms < 50 && grownMib < 250) break;
          assert.ok(round < 3, outcome);
        }
        await recordAttack({
          area: "Security: a neighbour of a flood",
          attack: name,
          layer: "budgets of the connection",
          without: "cannot be shown: the budgets are part of the connection",
          expected: "p95 of the service's turns below 50 ms, growth below 250 MiB",
          within: outcome,
          passed: true,
        });
      });
    }
  });
});

/** How late timers of the service's process fire until something is over. */
async function delaysDuring(over: Promise<unknown>): Promise<{ p95Ms: number }> {
  const late: number[] = [];
  let isOver = false as boolean;
  void over.finally(() => (isOver = true));
  while (!isOver) {
    const began = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 10));
    late.push(performance.now() - began - 10);
  }
  late.sort((a, b) => a - b);
  return { p95Ms: late[Math.floor(late.length * 0.95)] ?? Number.NaN };
}
