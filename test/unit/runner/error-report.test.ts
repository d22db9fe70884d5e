/** What is sent of what a program threw. */

import assert from "node:assert/strict";

import fc from "fast-check";

import { ErrorReporter } from "../../../sandbox-image/runner/error-report.ts";
import { finishedSchema } from "../../../src/bridge/protocol.ts";

const reporter = (): ErrorReporter => new ErrorReporter({ workspace: "/workspace", runnerDirectory: "/opt/code-mode" });

function withStack(error: Error, stack: string): Error {
  error.stack = stack;
  return error;
}

describe("Runner: error report", () => {
  it("shows the program's own frames, with files relative to the workspace", () => {
    const stack = [
      "TypeError: x",
      "    at f (file:///workspace/main.ts:3:7)",
      "    at Object.<anonymous> (/workspace/temp/lib.cjs:1:2)",
      "    at Object.readFileSync (node:fs:441:20)",
      "    at new Promise (<anonymous>)",
      "    at async file:///workspace/main.ts:9:1",
      "    at ModuleJob.run (node:internal/modules/esm/module_job:1:1)",
      "    at TracingChannel.tracePromise (node:diagnostics_channel:362:14)",
      "    at Program.run (/opt/code-mode/runner.cjs:1:200)",
    ].join("\n");
    assert.deepEqual(reporter().report(withStack(new TypeError("x"), stack)), {
      name: "TypeError",
      message: "x",
      stack:
        "TypeError: x\n    at f (main.ts:3:7)\n    at Object.<anonymous> (temp/lib.cjs:1:2)\n" +
        "    at Object.readFileSync (node:fs:441:20)\n    at new Promise (<anonymous>)\n    at async main.ts:9:1",
    });
  });

  it("takes the columns in front of line 1 off again", () => {
    const shifted = reporter();
    shifted.shiftFirstLine("main.ts", 40);
    const stack =
      "Error: x\n    at f (file:///workspace/main.ts:1:65)\n    at file:///workspace/main.ts:1:41\n    at file:///workspace/main.ts:2:50";
    assert.equal(
      shifted.report(withStack(new Error("x"), stack)).stack,
      "Error: x\n    at f (main.ts:1:25)\n    at main.ts:1:1\n    at main.ts:2:50",
    );
  });

  it("keeps the place in front of a linking error, but not the line that the runner wrote", () => {
    const stack =
      "file:///workspace/main.ts:1\nimport { a } from 'fs';\n         ^\nSyntaxError: no export\n    at x (node:internal/a:1:1)";
    assert.equal(
      reporter().report(withStack(new SyntaxError("no export"), stack)).stack,
      "main.ts:1\nimport { a } from 'fs';\n         ^\nSyntaxError: no export",
    );
    const wrapped = reporter();
    wrapped.shiftFirstLine("main.ts", 40);
    assert.equal(wrapped.report(withStack(new SyntaxError("no export"), stack)).stack, "SyntaxError: no export");
  });

  it("appends causes and the errors of an AggregateError, each once", () => {
    const inner = new RangeError("inner");
    inner.cause = "the root";
    const outer = new AggregateError([new Error("one"), "two"], "outer", { cause: inner });
    const { stack } = reporter().report(outer);
    assert.match(
      stack,
      /^AggregateError: outer\n[\s\S]*\nOne of its errors: Error: one\n[\s\S]*\nOne of its errors: 'two'\nCaused by: RangeError: inner\n/,
    );
    assert.match(stack, /\nCaused by: 'the root'$/);

    const loop = new Error("loop");
    loop.cause = new Error("other", { cause: loop });
    assert.equal(reporter().report(loop).stack.split("Caused by").length, 2);
  });

  const thrown: [title: string, value: unknown, message: string][] = [
    ["null", null, "null"],
    ["undefined", undefined, "undefined"],
    ["a text", "just text", "just text"],
    ["a number", 5, "5"],
    ["a symbol", Symbol("s"), "Symbol(s)"],
    ["an object", { code: 5 }, "{ code: 5 }"],
    ["an object with a message", { message: "like an error" }, "like an error"],
  ];
  for (const [title, value, message] of thrown) {
    it(`takes ${title} that was thrown`, () => {
      const report = reporter().report(value);
      assert.equal(report.name, "Error");
      assert.equal(report.message, message);
    });
  }

  it("survives getters and proxies that throw", () => {
    const trap = (): never => {
      throw new Error("trap");
    };
    const hostile = new Proxy(new Error("x"), {
      get: trap,
      has: trap,
      getPrototypeOf: trap,
      ownKeys: trap,
      getOwnPropertyDescriptor: trap,
    });
    const getters = Object.defineProperties(new Error("x"), { stack: { get: trap }, name: { get: trap }, cause: { get: trap } });
    assert.equal(reporter().report(hostile).name, "Error");
    assert.deepEqual(reporter().report(getters), { name: "Error", message: "x", stack: "Error: x" });
  });

  it("keeps to the protocol's caps, whatever is thrown", () => {
    const huge = withStack(new Error("m".repeat(1e6)), `Error\n${"    at f (x:1:1)\n".repeat(1e5)}`);
    huge.name = "n".repeat(1e5);
    huge.cause = withStack(new Error("c"), "c".repeat(1e6));
    const check = (value: unknown): void => void finishedSchema.parse({ result: null, exitCode: 1, error: reporter().report(value) });
    check(huge);
    fc.assert(fc.property(fc.anything({ withBoxedValues: true, withNullPrototype: true, withMap: true }), check));
  });

  it("does without a stack that is none", () => {
    const structured = Object.assign(new Error("x"), { stack: [1, 2] });
    assert.equal(reporter().report(structured).stack, "Error: x");
  });
});
