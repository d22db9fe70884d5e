import assert from "node:assert/strict";

import { describeEnding, exitCodeOf, plainText } from "../../../src/cli/run/ending.ts";
import { escapeControls } from "../../../src/domain/escaped-json.ts";
import type { Execution } from "../../../src/domain/execution.ts";

const END: Execution = {
  id: "exe_0",
  runtime: "node",
  status: "completed",
  result: null,
  error: null,
  stdout: "",
  stderr: "",
  truncated: { stdout: false, stderr: false },
  exitCode: 0,
  signal: null,
  toolCalls: [],
  network: [],
  denials: [],
  files: [],
  persisted: null,
  usage: { queuedMs: 0, startMs: 0, runMs: 0, totalMs: 0, cpuMs: null, memoryPeakBytes: null },
  warm: false,
  degraded: false,
};
const TOLD = { printedBytes: { stdout: 10, stderr: 10 }, keptBytes: 100, timeoutMs: 500 };

describe("ending: the exit code of a program that was run", () => {
  const cases: readonly (readonly [string, Partial<Execution>, number])[] = [
    ["completed", {}, 0],
    ["failed with a code", { status: "failed", exitCode: 7 }, 7],
    ["failed with an error", { status: "failed", exitCode: 1 }, 1],
    ["failed without a code", { status: "failed", exitCode: null }, 1],
    ["failed though its code is 0", { status: "failed", exitCode: 0 }, 1],
    ["failed with a code that has no place in eight bits", { status: "failed", exitCode: 256 }, 1],
    ["failed with a negative code", { status: "failed", exitCode: -1 }, 255],
    ["ended by a signal", { status: "killed", exitCode: null, signal: "SIGTERM" }, 143],
    ["killed", { status: "killed", exitCode: null, signal: "SIGKILL" }, 137],
    ["printed too much", { status: "output_limit", exitCode: null, signal: "SIGKILL" }, 137],
    ["ended by a signal that this host does not know", { status: "killed", exitCode: null, signal: "SIGODD" }, 1],
    ["timed out", { status: "timed_out", exitCode: null, signal: "SIGKILL" }, 124],
    ["out of memory", { status: "out_of_memory", exitCode: null, signal: "SIGKILL" }, 137],
    ["out of memory by its own word", { status: "out_of_memory", exitCode: 134, signal: null }, 137],
  ];
  for (const [title, end, code] of cases) it(`is ${code} when it ${title}`, () => assert.equal(exitCodeOf({ ...END, ...end }), code));
});

describe("ending: what is told on stderr", () => {
  it("is nothing of a program that completed", () => {
    assert.deepEqual(describeEnding(END, TOLD), { error: undefined, notes: [] });
  });

  it("is the program's own error with its lines", () => {
    const error = { name: "TypeError", message: "no", stack: "TypeError: no\n    at main.ts:3:7" };
    assert.deepEqual(describeEnding({ ...END, status: "failed", error }, TOLD), { error: error.stack, notes: [] });
    const bare = { name: "Odd", message: "no stack", stack: "" };
    assert.equal(describeEnding({ ...END, status: "failed", error: bare }, TOLD).error, "Odd: no stack");
  });

  it("is why the service ended it, and what would help", () => {
    const error = { name: "ExecutionEnded", message: "Too much.", stack: "ExecutionEnded: Too much." };
    assert.deepEqual(describeEnding({ ...END, status: "output_limit", error }, TOLD), { error: undefined, notes: ["Too much."] });
    assert.match(describeEnding({ ...END, status: "timed_out", error }, TOLD).notes[0] ?? "", /longer than 500 ms.*--timeout/);
    assert.deepEqual(describeEnding({ ...END, status: "cancelled", error }, TOLD).notes, [], "who cancelled it knows");
  });

  it("is what was refused, with the setting that would allow it, ten at most", () => {
    const denial = { kind: "process", what: "start git", setting: "permissions.system.allowedCommands" } as const;
    const { notes } = describeEnding({ ...END, denials: Array.from({ length: 12 }, () => denial) }, TOLD);
    assert.equal(notes[0], "refused: start git; what would allow it: permissions.system.allowedCommands");
    assert.deepEqual([notes.length, notes[10]], [11, "refused: 2 more; --json lists them"]);
  });

  it("is which calls of tools failed or got a mock, those of a kind together; what a list refused is told as refused", () => {
    const call = { server: "memory", tool: "read", durationMs: 1 };
    const toolCalls: Execution["toolCalls"] = [
      { ...call, outcome: "ok" },
      { ...call, outcome: "error", errorCode: "TIMEOUT" },
      { ...call, outcome: "denied", errorCode: "TOOL_DENIED" },
      { ...call, outcome: "denied", errorCode: "RATE_LIMITED" },
      { ...call, outcome: "error", errorCode: "TIMEOUT", count: 4 },
      { ...call, tool: "\u001b[2J", outcome: "fallback" },
    ];
    assert.deepEqual(describeEnding({ ...END, toolCalls }, TOLD).notes, [
      "tool memory.read: TIMEOUT, 5 times",
      "tool memory.read: RATE_LIMITED",
      "tool memory.\uFFFD[2J: the server was down; the program got the configured answer, a mock",
    ]);
    const many = Array.from({ length: 12 }, (_, index) => ({
      ...call,
      tool: `t${index}`,
      outcome: "error" as const,
      errorCode: "TIMEOUT" as const,
    }));
    const { notes } = describeEnding({ ...END, toolCalls: many }, TOLD);
    assert.deepEqual([notes.length, notes[10]], [11, "tools: 2 more kinds of calls that failed; --json lists them"]);
  });

  it("is how often something was refused, if more than once", () => {
    const denials = [{ kind: "file", what: "/etc/x", setting: "none: it lies outside", count: 3 }] as const;
    assert.deepEqual(describeEnding({ ...END, denials: [...denials] }, TOLD).notes, [
      "refused: /etc/x, 3 times; what would allow it: none: it lies outside",
    ]);
  });

  it("is that output is missing, and not that an answer of the API would hold less of it", () => {
    const truncated = { stdout: true, stderr: false };
    assert.deepEqual(describeEnding({ ...END, truncated }, TOLD).notes, ["the end of stdout is missing"]);
    assert.deepEqual(describeEnding({ ...END, truncated }, { ...TOLD, printedBytes: { stdout: 101, stderr: 0 } }).notes, []);
  });

  it("never holds a control character of the program's", () => {
    const evil = "\u001b]0;title\u0007\r\u009b31m";
    const error = { name: "Error", message: evil, stack: `Error: ${evil}\n\tat x` };
    const denials = [{ kind: "file", what: evil, setting: evil }] as const;
    const ending = describeEnding({ ...END, status: "failed", error, denials: [...denials] }, TOLD);
    for (const text of [ending.error?.replaceAll(/[\n\t]/g, "") ?? "", ...ending.notes]) assert.doesNotMatch(text, /\p{Cc}/u);
    assert.equal(plainText("a\nb\tc\u2028"), "a\nb\tc\uFFFD");
  });

  it("is JSON without what a terminal obeys", () => {
    const evil = { "\u009b": ["\u001b[31m", "\u009b31m\u007f\u0085\u2028"] };
    const text = escapeControls(JSON.stringify(evil, undefined, 2));
    assert.doesNotMatch(text.replaceAll("\n", ""), /\p{Cc}|\u2028/u);
    assert.deepEqual(JSON.parse(text), evil);
  });
});
