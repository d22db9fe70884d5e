/** Tools as programs call them, in real sandboxes. The tools themselves are the test's own. */

import assert from "node:assert/strict";

import type { Execution } from "../../src/domain/execution.ts";
import { eventually } from "../helpers/service.ts";
import { TablePort, ToolSandboxes } from "../helpers/tool-sandboxes.ts";
import type { Tool } from "../helpers/tool-sandboxes.ts";

/** Gives what it was called with. */
const echo: Tool = ({ arguments: values }) => values;
const fail: Tool = () => {
  throw new Error("no such memory");
};
const never: Tool = () => new Promise(() => undefined);

describe("Tool bridge", () => {
  let sandboxes: ToolSandboxes;
  before(async () => {
    sandboxes = await ToolSandboxes.open();
  });
  after(() => sandboxes.close());

  const portOf = (functions: Readonly<Record<string, Tool>>): TablePort => new TablePort({ automem: functions });

  function completed(execution: Execution): unknown {
    assert.equal(execution.status, "completed", JSON.stringify(execution));
    return execution.result;
  }

  /** The result of a program that must complete; its server `automem` has these functions. */
  const resultOf = async (code: string, functions: Readonly<Record<string, Tool>> = { echo }, request: object = {}): Promise<unknown> =>
    completed(await sandboxes.run(code, portOf(functions), request));

  describe("arguments", () => {
    it("go as they are by position, falsy ones too; those left out at the end are cut", async () => {
      assert.deepEqual(
        await resultOf('return await automem.echo("q", 0, false, "", null, undefined, { query: "x" }, [1], undefined, undefined);'),
        { positional: [["q"], [0], [false], [""], [null], [], [{ query: "x" }], [[1]]] },
      );
    });

    it("are named where callTool gets an object, and positional where it gets a list or nothing", async () => {
      const code = `const all = [{ query: "q", limit: 0, tag: undefined }, ["q", 0], [], undefined, new Map([["query", 1]])];
        return await Promise.all(all.map((given) => callTool("automem", "echo", given)));`;
      assert.deepEqual(await resultOf(code), [
        { named: { query: "q", limit: 0 } },
        { positional: [["q"], [0]] },
        { positional: [] },
        { positional: [] },
        { named: { query: 1 } },
      ]);
    });

    it("are converted as results are", async () => {
      const code =
        'return await automem.echo(10n, new Date(0), new Set([1]), Buffer.from("hi"), { when: new Date(0) }, /x/, new URL("http://a/"));';
      const epoch = "1970-01-01T00:00:00.000Z";
      assert.deepEqual(await resultOf(code), {
        positional: [["10"], [epoch], [[1]], ["aGk="], [{ when: epoch }], ["/x/"], ["http://a/"]],
      });
    });

    it("keep keys and characters that others stumble over", async () => {
      const text = '__proto__ \u0000 \u2028 \ud83d\ude00 " \\ </script> data:';
      const code = `return await automem.echo(JSON.parse('{"__proto__":{"a":1},"constructor":2}'), ${JSON.stringify(text)});`;
      const port = portOf({ echo });
      completed(await sandboxes.run(code, port));
      const { arguments: values } = port.requests[0]!;
      assert.equal(JSON.stringify(values), JSON.stringify({ positional: [[JSON.parse('{"__proto__":{"a":1},"constructor":2}')], [text]] }));
    });

    it("that cannot be sent are refused before anything is", async () => {
      const port = portOf({ echo });
      const code = `const loop = {}; loop.self = loop;
        let deep = []; for (let n = 0; n < 200; n++) deep = [deep];
        const attempts = [
          () => automem.echo({ list: [() => 1] }), () => automem.echo(1, Promise.resolve()), () => automem.echo(Number.NaN), () => automem.echo(loop),
          () => automem.echo(Symbol("s")), () => automem.echo(deep), () => automem.echo({ get a() { throw new Error("no"); } }),
          () => automem.echo(...Array(65).fill(1)), () => automem.echo("x".repeat(4 << 20)), () => callTool("automem", "echo", "text"),
          () => callTool("automem", "echo", null), () => callTool("automem"), () => callTool("s".repeat(257), "echo"),
          () => callTool("automem", "echo", {}, { signal: 1 }), () => callTool("automem", "echo", {}, { timeoutMs: -1 }),
        ];
        return await Promise.all(attempts.map((attempt) => attempt().catch((error) => [error instanceof ToolError, error.code, error.message.slice(0, 60)].join(" "))));`;
      assert.deepEqual(completed(await sandboxes.run(code, port)), [
        "true INVALID_ARGUMENTS arguments[0].list[0] is a function, which JSON cannot carry.",
        "true INVALID_ARGUMENTS arguments[1] is a promise, which JSON cannot carry. Await it",
        "true INVALID_ARGUMENTS arguments[0] is NaN, which JSON cannot carry.",
        "true INVALID_ARGUMENTS arguments[0].self is an object inside itself, which JSON can",
        "true INVALID_ARGUMENTS arguments[0] is a symbol, which JSON cannot carry.",
        "true INVALID_ARGUMENTS The value arguments[0] is nested more than 100 levels deep, ",
        "true INVALID_ARGUMENTS The value at arguments[0].a cannot be read: no",
        "true INVALID_ARGUMENTS A tool takes at most 64 arguments, and got 65.",
        "true PAYLOAD_TOO_LARGE The arguments are larger than 4194304 bytes of JSON. Send le",
        "true INVALID_ARGUMENTS callTool takes the arguments as an object, by name, or as a ",
        "true INVALID_ARGUMENTS callTool takes the arguments as an object, by name, or as a ",
        "true INVALID_ARGUMENTS The name of the tool must be a string.",
        "true TOOL_NOT_FOUND No server has a name of more than 256 characters.",
        "true INVALID_ARGUMENTS options.signal must be an AbortSignal.",
        "true INVALID_ARGUMENTS options.timeoutMs must be a number of milliseconds above 0.",
      ]);
      assert.equal(port.requests.length, 0);
    });

    it("may be megabytes, of quotation marks too", async () => {
      const size: Tool = ({ sizeBytes }) => sizeBytes;
      assert.equal(
        await resultOf("return await automem.size('\"'.repeat(2_000_000));", { size }),
        4_000_000 + '{"positional":[[""]]}'.length,
      );
    });
  });

  describe("namespaces", () => {
    it("are globals and below tools; names that are there are listed, all others are functions too", async () => {
      const code = `const shown = require("node:util").inspect(automem);
        const unknown = await automem.recal(1).catch(({ name, code, server, tool, data }) => ({ name, code, server, tool, data }));
        return [Object.keys(automem), Object.keys(tools), tools.automem === automem, "echo" in automem, "recal" in automem, typeof automem.recal,
          automem.recal === automem.recal, automem.echo.name, await automem === automem, JSON.stringify({ automem }), String(automem), shown, unknown];`;
      assert.deepEqual(await resultOf(code, { echo, recall: echo }), [
        ["echo", "recall"],
        ["automem"],
        true,
        true,
        false,
        "function",
        true,
        "echo",
        true,
        '{"automem":{}}',
        "[object automem]",
        "Object [automem] { echo: [Function: echo], recall: [Function: recall] }",
        { name: "ToolError", code: "TOOL_NOT_FOUND", server: "automem", tool: "recal", data: { alike: [] } },
      ]);
    });

    it("can be shadowed and patched, and reach imported modules", async () => {
      const code = `import { ask } from "./temp/ask.ts";
        const before = await ask();
        automem.echo = () => "mine";
        { const automem = 1; if (automem !== 1) throw new Error(); }
        return [before, automem.echo(), Object.keys(globalThis).filter((name) => ["automem", "tools", "callTool", "ToolError"].includes(name))];`;
      const files = [
        { path: "temp/ask.ts", content: 'export const ask = (): Promise<unknown> => (globalThis as any).automem.echo("from a module");' },
      ];
      assert.deepEqual(await resultOf(code, { echo }, { files }), [{ positional: [["from a module"]] }, "mine", []]);
    });

    it("leave names alone that are taken", async () => {
      const port = new TablePort({ process: { echo }, require: { echo } });
      const code = "return [typeof process.exit, typeof require, await tools.process.echo(1), await tools.require.echo(2)];";
      assert.deepEqual(completed(await sandboxes.run(code, port)), ["function", "function", { positional: [[1]] }, { positional: [[2]] }]);
    });

    it("are none where no tools are configured, and callTool says so", async () => {
      const { NO_TOOLS } = await import("../../src/sandbox/ports.ts");
      const code = 'return [tools, typeof automem, await callTool("automem", "echo").catch(({ code }) => code)];';
      assert.deepEqual(completed(await sandboxes.run(code, NO_TOOLS)), [{}, "undefined", "TOOL_NOT_FOUND"]);
    });
  });

  describe("answers", () => {
    it("are values of any kind", async () => {
      const values = [0, false, "", null, "text", [1, { a: [] }], undefined];
      let next = 0;
      const give: Tool = () => values[next++];
      const code = "const all = []; for (let n = 0; n < 7; n++) all.push(await automem.give()); return [all, all[6] === undefined];";
      assert.deepEqual(await resultOf(code, { give }), [[0, false, "", null, "text", [1, { a: [] }], null], true]);
    });

    it("that are errors have the program's own line, whatever became of it", async () => {
      const code = `
async function ask(): Promise<unknown> {
  return await automem.fail("x");
}
try { await ask(); } catch (error) { return { stack: error.stack, text: String(error), json: JSON.stringify(error), keys: Object.keys(error), shown: [error] }; }`;
      const got = (await resultOf(code, { fail })) as Record<string, string>;
      assert.match(got["stack"]!, /^ToolError: no such memory\n {4}at ask \(file:\/\/\/workspace\/main\.ts:3:24\)\n/);
      assert.equal(got["text"], "ToolError: no such memory");
      const fields = { name: "ToolError", code: "TOOL_FAILED", message: "no such memory", server: "automem", tool: "fail" };
      assert.deepEqual(JSON.parse(got["json"]!), fields);
      assert.deepEqual(got["keys"], ["code", "server", "tool"]);
      assert.deepEqual(got["shown"], [fields]);
    });

    it("that are errors end a program that does not catch them, with its line", async () => {
      const { error, exitCode, status } = await sandboxes.run(
        'const a = 1;\nnamespace N { export const b = 2; }\nawait automem.fail("x");',
        portOf({ fail }),
      );
      assert.deepEqual([status, exitCode, error?.name, error?.message], ["failed", 1, "ToolError", "no such memory"]);
      assert.match(error!.stack, /^ToolError: no such memory\n {4}at .*main\.ts:3:15\)?$/m);
    });

    it("that nobody awaits are unhandled rejections while the program runs", async () => {
      const { error, status } = await sandboxes.run(
        'automem.fail(); await new Promise((done) => setTimeout(done, 5000)); return "late";',
        portOf({ fail }),
      );
      assert.deepEqual([status, error?.message], ["failed", "no such memory"]);
    });

    it("come in any order", async () => {
      const later: Tool = async ({ arguments: given }) => {
        const [[delayMs]] = (given as { positional: [[number]] }).positional;
        await new Promise((resolve) => setTimeout(resolve, delayMs));
        return delayMs;
      };
      const code = "const order = []; await Promise.all([60, 5, 30].map(async (ms) => order.push(await automem.later(ms)))); return order;";
      assert.deepEqual(await resultOf(code, { later }), [5, 30, 60]);
    });
  });

  describe("a program that waits for an answer", () => {
    it("is alive meanwhile, and ends by itself after it", async () => {
      const slow: Tool = () => new Promise((resolve) => setTimeout(resolve, 300, "there"));
      assert.equal(await resultOf("export default automem.slow();", { slow }), "there");
      assert.equal(await resultOf("await automem.slow();", { slow }), null);
    });

    it("is told when it waits for what can never come, once it has its answers", async () => {
      const { error, exitCode } = await sandboxes.run("await automem.echo(); await new Promise(() => {});", portOf({ echo }));
      assert.equal(exitCode, 13);
      assert.match(error!.message, /never settle/);
    });

    it("gets through though it patches the ground it stands on", async () => {
      const code = `JSON.stringify = () => "{}"; JSON.parse = () => ({}); Promise.prototype.then = undefined; Object.prototype.toJSON = () => 1;
        Array.prototype.toJSON = () => 2; globalThis.Promise = class {}; globalThis.setTimeout = () => {}; Map.prototype.get = () => 3; Reflect.apply = null;
        const got = await automem.echo("text");
        delete Object.prototype.toJSON; delete Array.prototype.toJSON;
        return got;`;
      assert.deepEqual(await resultOf(code), { positional: [["text"]] });
    });
  });

  describe("a cancelled call", () => {
    it("rejects at once, is told to the tool, and lets the signal go", async () => {
      const port = portOf({ never, echo });
      const code = `const controller = new AbortController(), { signal } = controller;
        const listeners = () => require("node:events").getEventListeners(signal, "abort").length;
        await callTool("automem", "echo", {}, { signal });
        const before = listeners();
        const call = callTool("automem", "never", {}, { signal }).catch((error) => [error instanceof ToolError, error.code, error.cause]);
        const during = listeners();
        setTimeout(() => controller.abort("enough"), 50);
        return [before, during, await call, listeners()];`;
      assert.deepEqual(completed(await sandboxes.run(code, port)), [0, 1, [true, "CANCELLED", "enough"], 0]);
      await eventually("the tool is told", () => port.aborted === 1);
    });

    it("is not sent where the signal is aborted already", async () => {
      const port = portOf({ echo });
      const code =
        'return await callTool("automem", "echo", {}, { signal: AbortSignal.abort() }).catch((error) => [error.code, error.cause.name]);';
      assert.deepEqual(completed(await sandboxes.run(code, port)), ["CANCELLED", "AbortError"]);
      assert.equal(port.requests.length, 0);
    });
  });

  it("passes progress on, in order and before the answer, to whoever asks for it", async () => {
    const steps: Tool = async (_request, { onProgress }) => {
      for (let progress = 1; progress <= 5; progress += 1) {
        onProgress?.({ progress, total: 5, message: "m".repeat(2000) });
        await new Promise((resolve) => setTimeout(resolve, 60));
      }
      return onProgress === undefined ? "nobody asked" : "told";
    };
    const code = `const seen = [];
      const answer = await callTool("automem", "steps", {}, { onProgress: ({ progress, total, message }) => seen.push([progress, total, message.length]) });
      const count = seen.length;
      await new Promise((done) => setTimeout(done, 100));
      return [answer, seen.length === count, seen, await automem.steps()];`;
    const [answer, isComplete, seen, unasked] = (await resultOf(code, { steps })) as [string, boolean, number[][], string];
    assert.deepEqual([answer, isComplete, unasked], ["told", true, "nobody asked"]);
    assert.ok(seen.length >= 2, JSON.stringify(seen));
    assert.deepEqual(
      seen,
      [...seen].sort((a, b) => a[0]! - b[0]!),
    );
    assert.deepEqual(seen[0], [1, 5, 1024]);
  });

  it("passes the program's own time limit on", async () => {
    const port = portOf({ echo });
    const code = 'for (const timeoutMs of [1, 2.5, 1e12, undefined]) await callTool("automem", "echo", {}, { timeoutMs });';
    completed(await sandboxes.run(code, port));
    assert.deepEqual(
      port.requests.map(({ timeoutMs }) => timeoutMs),
      [1, 3, 2 ** 31 - 1, undefined],
    );
  });

  it("takes 500 calls at once, and thousands one after the other", async function () {
    this.timeout(60_000);
    const port = portOf({ echo });
    const code = `const all = await Promise.all(Array.from({ length: 500 }, (_, n) => automem.echo(n)));
      for (let n = 0; n < 3000; n++) { const { positional: [[got]] } = await automem.echo(n); if (got !== n) throw new Error(n + " became " + got); }
      for (let round = 0; round < 4; round++) await Promise.all(Array.from({ length: 2500 }, (_, n) => automem.echo(n)));
      return all.every(({ positional: [[got]] }, n) => got === n);`;
    assert.equal(completed(await sandboxes.run(code, port, { timeoutMs: 50_000 })), true);
    assert.equal(port.requests.length, 13_500);
  });

  it("moves large answers and large arguments past each other", async () => {
    const large: Tool = () => "x".repeat(500_000);
    const code =
      'const text = "y".repeat(500_000); return (await Promise.all(Array.from({ length: 60 }, () => automem.large(text)))).length;';
    assert.equal(await resultOf(code, { large }, { timeoutMs: 20_000, limits: {} }), 60);
  });

  describe("calls that the program does not wait for", () => {
    it("are finished after its end, within a grace", async () => {
      const stored: unknown[] = [];
      const port = portOf({
        store: async ({ arguments: given }) => {
          await new Promise((resolve) => setTimeout(resolve, 300));
          stored.push(given);
        },
      });
      const code = "for (let n = 0; n < 100; n++) automem.store(n); return 1;";
      assert.equal(completed(await sandboxes.run(code, port)), 1);
      assert.deepEqual([stored.length, port.answered, port.aborted], [100, 100, 0]);
      assert.ok(port.answeredAtEnd! < 100, "the program had ended before");
    });

    for (const [how, code] of [
      ["process.exit", "automem.store(1); process.exit(0);"],
      ["an exit handler", 'process.on("exit", () => automem.store(1)); return 1;'],
      ["an error", 'automem.store(1); throw new Error("later");'],
    ] as const) {
      it(`are made though it ends by ${how}`, async () => {
        const port = portOf({ store: () => 1 });
        await sandboxes.run(code, port);
        assert.deepEqual([port.requests.length, port.answered], [1, 1]);
      });
    }

    it("are all sent first, however many, and however large", async () => {
      const port = portOf({ store: () => new Promise((resolve) => setTimeout(resolve, 5, "y".repeat(50_000))) });
      const code = 'for (let n = 0; n < 3000; n++) automem.store(n, "x".repeat(5000)); return 1;';
      assert.equal(completed(await sandboxes.run(code, port, { timeoutMs: 30_000 })), 1);
      assert.deepEqual([port.requests.length, port.answered], [3000, 3000]);
      assert.deepEqual(
        port.requests.map(({ arguments: given }) => (given as { positional: [[number]] }).positional[0][0]),
        Array.from({ length: 3000 }, (_, n) => n),
      );
    });

    it("are cancelled when the grace is over", async () => {
      const port = portOf({ never });
      const { result, status, usage } = await sandboxes.run("for (let n = 0; n < 70; n++) automem.never(); return 1;", port, {
        timeoutMs: 20_000,
      });
      assert.deepEqual([status, result], ["completed", 1]);
      assert.deepEqual([port.requests.length, port.answered, port.aborted], [70, 70, 70]);
      assert.ok(usage.runMs > 4900 && usage.runMs < 8000, `ran ${usage.runMs} ms`);
      assert.ok(usage.memoryPeakBytes! > 0);
    });

    it("are cancelled by the deadline before that", async () => {
      const port = portOf({ never });
      const { result, usage } = await sandboxes.run("automem.never(); return 1;", port, { timeoutMs: 1500 });
      assert.equal(result, 1);
      assert.equal(port.aborted, 1);
      assert.ok(usage.runMs < 4000, `ran ${usage.runMs} ms`);
    });
  });

  describe("an execution that ends cancels its calls", () => {
    for (const [how, code, status] of [
      ["its deadline", "await automem.never();", "timed_out"],
      ["a crash", "automem.never(); setTimeout(() => process.abort(), 100); await automem.never();", "killed"],
      [
        "a crash while nothing more is read of it",
        "for (let n = 0; n < 1500; n++) automem.never(); setTimeout(() => process.abort(), 300); await automem.never();",
        "killed",
      ],
    ] as const) {
      it(how, async () => {
        const port = portOf({ never });
        const began = performance.now();
        const execution = await sandboxes.run(code, port, { timeoutMs: how === "its deadline" ? 1000 : 15_000 });
        assert.equal(execution.status, status);
        assert.ok(performance.now() - began < 8000);
        await eventually("all are cancelled", () => port.requests.length > 0 && port.aborted === port.requests.length);
      });
    }

    it("its caller", async () => {
      const port = portOf({ never });
      const controller = new AbortController();
      const running = sandboxes.run("await automem.never();", port, {}, controller.signal);
      await eventually("the call is made", () => port.requests.length === 1);
      controller.abort();
      await running.catch(() => undefined);
      assert.equal(port.aborted, 1);
    });
  });

  it("has no tools in worker threads", async () => {
    const code = `const { Worker } = require("node:worker_threads");
      return await new Promise((resolve) => new Worker('require("node:worker_threads").parentPort.postMessage(typeof callTool)', { eval: true }).on("message", resolve));`;
    assert.equal(await resultOf(code), "undefined");
  });
});
