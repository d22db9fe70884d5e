import assert from "node:assert/strict";

import { judge, Termination } from "../../../src/execution/termination.ts";
import type { Verdict } from "../../../src/execution/termination.ts";
import type { SandboxEnd } from "../../../src/sandbox/ports.ts";
import { exits, finishes, STOPPED, violates } from "../support/fake-sandboxes.ts";

const HEAP_FULL =
  "<--- Last few GCs --->\n\nFATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n----- Native stack trace -----\n";

const finishesWith = (more: { error?: Verdict["error"]; exitCode?: number; result?: unknown }): SandboxEnd => {
  const end = finishes();
  return end.kind === "finished" ? { ...end, finished: { ...end.finished, ...more } } : end;
};

const outline = ({ error, exitCode, result, signal, status }: Verdict): unknown => ({
  status,
  result,
  error: error?.name ?? null,
  exitCode,
  signal,
});

describe("termination: what an end means", () => {
  const THROWN = { name: "TypeError", message: "no", stack: "TypeError: no" };

  for (const [title, end, stderr, expected] of [
    ["a program that returns", finishes({ a: 1 }), "", { status: "completed", result: { a: 1 }, error: null, exitCode: 0, signal: null }],
    [
      "a program that returns nothing",
      finishesWith({ result: undefined }),
      "",
      { status: "completed", result: null, error: null, exitCode: 0, signal: null },
    ],
    [
      "a program that throws",
      finishesWith({ error: THROWN, exitCode: 1 }),
      "",
      { status: "failed", result: null, error: "TypeError", exitCode: 1, signal: null },
    ],
    [
      "a program that throws with exit code 0",
      finishesWith({ error: THROWN }),
      "",
      { status: "failed", result: null, error: "TypeError", exitCode: 0, signal: null },
    ],
    [
      "a program that ends with a code",
      finishesWith({ exitCode: 3 }),
      "",
      { status: "failed", result: null, error: null, exitCode: 3, signal: null },
    ],
    [
      "a broken protocol",
      violates("it lied"),
      "",
      { status: "killed", result: null, error: "SandboxViolation", exitCode: null, signal: "SIGKILL" },
    ],
    ["a process that exits by itself", exits(0), "", { status: "completed", result: null, error: null, exitCode: 0, signal: null }],
    [
      "a process that exits with a code",
      exits(7),
      "",
      { status: "failed", result: null, error: "ProcessExited", exitCode: 7, signal: null },
    ],
    [
      "a process that was killed",
      exits(137),
      "",
      { status: "killed", result: null, error: "ProcessKilled", exitCode: null, signal: "SIGKILL" },
    ],
    [
      "a process that crashed",
      exits(139),
      "",
      { status: "killed", result: null, error: "ProcessKilled", exitCode: null, signal: "SIGSEGV" },
    ],
    [
      "a process that aborted",
      exits(134),
      "",
      { status: "killed", result: null, error: "ProcessKilled", exitCode: null, signal: "SIGABRT" },
    ],
    [
      "a process whose system call was forbidden to death",
      exits(159),
      "",
      { status: "killed", result: null, error: "ProcessKilled", exitCode: null, signal: "SIGSYS" },
    ],
    ["an exit code of no signal", exits(200), "", { status: "failed", result: null, error: "ProcessExited", exitCode: 200, signal: null }],
    [
      "the kernel's kill for memory",
      exits(137, true),
      "",
      { status: "out_of_memory", result: null, error: "OutOfMemory", exitCode: null, signal: "SIGKILL" },
    ],
    [
      "a full heap, by SIGABRT",
      exits(134),
      HEAP_FULL,
      { status: "out_of_memory", result: null, error: "OutOfMemory", exitCode: null, signal: "SIGABRT" },
    ],
    [
      "a full heap, by SIGTRAP",
      exits(133),
      HEAP_FULL,
      { status: "out_of_memory", result: null, error: "OutOfMemory", exitCode: null, signal: "SIGTRAP" },
    ],
    [
      "a full heap, by SIGSEGV",
      exits(139),
      HEAP_FULL,
      { status: "out_of_memory", result: null, error: "OutOfMemory", exitCode: null, signal: "SIGSEGV" },
    ],
    [
      "a program that only prints what a full heap does",
      exits(1),
      HEAP_FULL,
      { status: "failed", result: null, error: "ProcessExited", exitCode: 1, signal: null },
    ],
    [
      "a crash after a line that mentions memory",
      exits(134),
      "warning: JavaScript heap out of memory",
      { status: "killed", result: null, error: "ProcessKilled", exitCode: null, signal: "SIGABRT" },
    ],
  ] as const) {
    it(`${title} is ${expected.status}`, () => {
      assert.deepEqual(outline(judge(end, undefined, stderr)), expected);
    });
  }

  for (const status of ["timed_out", "output_limit", "cancelled"] as const) {
    it(`the service's own stop is ${status}, with its message`, () => {
      const verdict = judge(STOPPED, new Termination(status, "Because."), "");
      assert.deepEqual(verdict, {
        status,
        result: null,
        error: { name: "ExecutionEnded", message: "Because.", stack: "ExecutionEnded: Because." },
        exitCode: null,
        signal: "SIGKILL",
      });
    });
  }

  it("a program that finished before the stop reached it has finished", () => {
    assert.equal(judge(finishes(1), new Termination("timed_out", "late"), "").status, "completed");
  });

  it("a violation says what was wrong, in a sentence", () => {
    assert.equal(
      judge(violates("the sandbox sent more bytes than an execution may"), undefined, "").error?.message,
      "The sandbox was ended: the sandbox sent more bytes than an execution may.",
    );
  });
});
