/** Calls of tools as a runner may send them, and some that none does. The port and the runner's end are played here. */

import assert from "node:assert/strict";
import { setImmediate as nextTurn } from "node:timers/promises";

import fc from "fast-check";

import { FrameError } from "../../../src/bridge/frames.ts";
import { TOOL_CAPS } from "../../../src/bridge/protocol.ts";
import { TOOL_CALL_LIMITS, ToolCalls } from "../../../src/bridge/tool-calls.ts";
import type { ToolCallLimits } from "../../../src/bridge/tool-calls.ts";
import type { ToolAnswer, ToolCallRequest, ToolProgress } from "../../../src/domain/tool-call.ts";
import type { ToolPort } from "../../../src/sandbox/ports.ts";
import { eventually } from "../support/eventually.ts";

const OK: ToolAnswer = { ok: true, value: 1 };
const CANCELLED: ToolAnswer = { ok: false, error: { code: "CANCELLED", server: "s", tool: "t", message: "cancelled" } };
const NO_ARGUMENTS = '{"positional":[]}';

/** A call that the port has. It is answered by the test, or when it is aborted. */
interface Asked {
  readonly request: ToolCallRequest;
  readonly signal: AbortSignal;
  readonly progress: ((progress: ToolProgress) => void) | undefined;
  answer(answer?: ToolAnswer): void;
  fail(error: Error): void;
}

class HandPort implements ToolPort {
  readonly namespaces = [];
  readonly asked: Asked[] = [];

  call(
    request: ToolCallRequest,
    { onProgress, signal }: { signal: AbortSignal; onProgress?: (progress: ToolProgress) => void },
  ): Promise<ToolAnswer> {
    return new Promise((resolve, reject) => {
      const answer = (given = OK): void => {
        resolve(given);
      };
      this.asked.push({ request, signal, progress: onProgress, answer, fail: reject });
      if (signal.aborted) answer(CANCELLED);
      signal.addEventListener("abort", () => {
        answer(CANCELLED);
      });
    });
  }

  programEnded(): void {
    assert.fail("the session is told by the sandbox");
  }
}

/** The runner's end: what it was sent, and what it has not read. */
class Peer {
  readonly answers: { id: number; result: ToolAnswer }[] = [];
  readonly notes: { method: string; params: object }[] = [];
  unsentBytes = 0;

  respond(id: number, result: unknown): void {
    JSON.stringify(result);
    this.answers.push({ id, result: result as ToolAnswer });
  }

  notify(method: string, params: object): void {
    this.notes.push({ method, params });
  }

  get ids(): number[] {
    return this.answers.map(({ id }) => id);
  }
}

function play(limits: Partial<ToolCallLimits> = {}): {
  calls: ToolCalls;
  port: HandPort;
  peer: Peer;
  call: (id: number, fields?: object, sizeBytes?: number) => Promise<void> | undefined;
  cancel: (id: unknown) => Promise<void> | undefined;
} {
  const port = new HandPort();
  const peer = new Peer();
  const calls = new ToolCalls({ port, connection: peer, limits: { ...TOOL_CALL_LIMITS, ...limits } });
  return {
    calls,
    port,
    peer,
    call: (id, fields = {}, sizeBytes = 100) =>
      calls.message({ id, method: "tool.call", params: { server: "s", tool: "t", arguments: NO_ARGUMENTS, ...fields }, sizeBytes }),
    cancel: (id) => calls.message({ method: "tool.cancel", params: { id }, sizeBytes: 50 }),
  };
}

const isSettled = async (promise: Promise<void> | undefined): Promise<boolean> => {
  let settled = false;
  void promise?.then(() => (settled = true));
  await nextTurn();
  return settled;
};

describe("tool-calls: what a runner asks of tools", () => {
  describe("an honest call", () => {
    it("reaches the port as it was made, and is answered with its id", async () => {
      const { call, peer, port } = play();
      assert.equal(call(7, { arguments: '{"positional":[["é"],[],[null]]}', timeoutMs: 5 }), undefined);
      assert.deepEqual(port.asked[0]?.request, {
        server: "s",
        tool: "t",
        arguments: { positional: [["é"], [], [null]] },
        sizeBytes: 33,
        timeoutMs: 5,
      });
      port.asked[0].answer();
      await nextTurn();
      assert.deepEqual(peer.answers, [{ id: 7, result: OK }]);
    });

    it("keeps the keys of named arguments, whatever they are", () => {
      const { call, port } = play();
      void call(1, { arguments: '{"named":{"__proto__":{"a":1},"constructor":2}}' });
      assert.equal(JSON.stringify(port.asked[0]?.request.arguments), '{"named":{"__proto__":{"a":1},"constructor":2}}');
      assert.equal(({} as { a?: unknown }).a, undefined);
    });

    it("has an answer even where the port fails, or gives what JSON cannot carry", async () => {
      const { call, peer, port } = play();
      for (const id of [1, 2]) void call(id);
      port.asked[0]?.fail(new Error("secret"));
      port.asked[1]?.answer({ ok: true, value: 10n });
      await nextTurn();
      assert.deepEqual(
        peer.answers.map(({ id, result }) => [id, !result.ok && result.error.code]),
        [
          [1, "INTERNAL"],
          [2, "INTERNAL"],
        ],
      );
      assert.doesNotMatch(JSON.stringify(peer.answers), /secret/);
    });
  });

  describe("what no runner sends ends the connection", () => {
    const base = { server: "s", tool: "t", arguments: NO_ARGUMENTS };
    for (const [title, params] of [
      ["no params", undefined],
      ["a list", []],
      ["a field too many", { ...base, execution: "exe_0" }],
      ["a name that is no text", { ...base, tool: 1 }],
      ["a name beyond all", { ...base, server: "s".repeat(TOOL_CAPS.nameChars + 1) }],
      ["no arguments", { server: "s", tool: "t" }],
      ["arguments that are no text", { ...base, arguments: { positional: [] } }],
      ["arguments that are no JSON", { ...base, arguments: "{" }],
      ["arguments that are neither", { ...base, arguments: '{"other":1}' }],
      ["arguments that are both", { ...base, arguments: '{"positional":[],"named":{}}' }],
      ["named arguments that are a list", { ...base, arguments: '{"named":[]}' }],
      ["two values in one place", { ...base, arguments: '{"positional":[[1,2]]}' }],
      ["more arguments than there can be", { ...base, arguments: JSON.stringify({ positional: Array<unknown>(65).fill([1]) }) }],
      ["a time limit that is none", { ...base, timeoutMs: 0 }],
      ["a time limit beyond all timers", { ...base, timeoutMs: 2 ** 31 }],
    ] as const) {
      it(title, () => {
        const { calls, port } = play();
        assert.throws(() => calls.message({ id: 1, method: "tool.call", params, sizeBytes: 10 }), FrameError);
        assert.equal(port.asked.length, 0);
      });
    }

    it("a call without an id, a cancellation with one, or of no id", () => {
      const { calls, cancel } = play();
      assert.throws(() => calls.message({ method: "tool.call", params: base, sizeBytes: 10 }), FrameError);
      assert.throws(() => calls.message({ id: 1, method: "tool.cancel", params: { id: 1 }, sizeBytes: 10 }), FrameError);
      assert.throws(() => cancel("1"), FrameError);
    });

    it("an id for the second time, or below one that was there: the port is asked once for each", async () => {
      const { call, port } = play();
      void call(5);
      port.asked[0]?.answer();
      await nextTurn();
      for (const id of [5, 4, 0]) assert.throws(() => call(id), /two tool calls with one id/);
      assert.equal(port.asked.length, 1);
    });
  });

  it("answers arguments that are too large, too many or too deep without parsing them", () => {
    const { call, peer, port } = play();
    const large = `{"positional":[["${"x".repeat(TOOL_CAPS.argumentBytes)}"]]}`;
    const many = `{"positional":[[[${"1,".repeat(TOOL_CAPS.argumentParts)}1]]]}`;
    const deep = `{"positional":[[${"[".repeat(200)}${"]".repeat(200)}]]}`;
    [large, many, deep, `${"[".repeat(200)} no JSON at all`].forEach((text, index) => void call(index, { arguments: text }));
    assert.deepEqual(
      peer.answers.map(({ result }) => !result.ok && result.error.code),
      ["PAYLOAD_TOO_LARGE", "PAYLOAD_TOO_LARGE", "INVALID_ARGUMENTS", "INVALID_ARGUMENTS"],
    );
    assert.equal(port.asked.length, 0);
  });

  describe("cancellation", () => {
    it("aborts one call, which is still answered once; of a call that is over or never was it is nothing", async () => {
      const { call, cancel, peer, port } = play();
      void call(1);
      void call(2);
      for (const id of [1, 1, 99]) void cancel(id);
      await nextTurn();
      void cancel(1);
      assert.deepEqual([port.asked[0]?.signal.aborted, port.asked[1]?.signal.aborted], [true, false]);
      assert.deepEqual(peer.answers, [{ id: 1, result: CANCELLED }]);
    });

    it("of a call that waits hands it to the port as cancelled: it is accounted for, and never begun", async () => {
      const { call, cancel, peer, port } = play({ underWay: 1 });
      void call(1);
      void call(2);
      assert.equal(port.asked.length, 1);
      void cancel(2);
      assert.equal(port.asked[1]?.signal.aborted, true);
      await nextTurn();
      assert.deepEqual(peer.ids, [2]);
    });
  });

  describe("bounds", () => {
    it("no more calls are begun at once than may be; the next in line when one ends", async () => {
      const { call, port } = play({ underWay: 2 });
      for (const id of [1, 2, 3, 4]) void call(id);
      assert.equal(port.asked.length, 2);
      port.asked[1]?.answer();
      await nextTurn();
      assert.equal(port.asked.length, 3);
    });

    it("nothing more is read while too many calls wait, and again when one ends", async () => {
      const { call, port } = play({ pendingCalls: 2, underWay: 1 });
      assert.equal(call(1), undefined);
      const full = call(2);
      assert.equal(await isSettled(full), false);
      port.asked[0]?.answer();
      assert.equal(await isSettled(full), true);
    });

    it("nothing more is read while the arguments of calls take too much, by their bytes or by their parts", async () => {
      for (const text of [`{"positional":[["${"x".repeat(2000)}"]]}`, `{"positional":[[[${"1,".repeat(50)}1]]]}`]) {
        const { call, port } = play({ pendingBytes: 2000 });
        const full = call(1, { arguments: text });
        assert.equal(await isSettled(full), false);
        port.asked[0]?.answer();
        assert.equal(await isSettled(full), true);
      }
    });

    it("no call is begun while the runner does not read, nor progress told", async () => {
      const { call, calls, peer, port } = play();
      void call(1, { progress: true });
      peer.unsentBytes = TOOL_CALL_LIMITS.unsentBytes + 1;
      port.asked[0]?.progress?.({ progress: 1 });
      void call(2);
      port.asked[0]?.answer();
      await nextTurn();
      assert.deepEqual([port.asked.length, peer.notes.length], [1, 0]);
      peer.unsentBytes = 0;
      calls.drained();
      assert.equal(port.asked.length, 2);
    });

    it("over its rate of bytes or values nothing is read for a while; over the total it is ended", async () => {
      const slow = play({ bytes: { burst: 1000, perSecond: 10_000, total: 5000 } });
      assert.equal(slow.call(1, {}, 900), undefined);
      const began = performance.now();
      await slow.call(2, {}, 1100);
      assert.ok(performance.now() - began >= 80);
      assert.throws(() => slow.call(3, {}, 3500), /more to tools than an execution may/);

      const parts = play({ parts: { burst: 100, perSecond: 1000, total: Number.POSITIVE_INFINITY } });
      const again = performance.now();
      await parts.call(1, { arguments: `{"positional":[[[${"1,".repeat(200)}1]]]}` });
      assert.ok(performance.now() - again >= 80);
    });

    it("a pause is over when the execution is", async () => {
      const { call, calls } = play({ bytes: { burst: 1, perSecond: 0.001, total: 5000 } });
      const paused = call(1, {}, 1000);
      assert.equal(await isSettled(paused), false);
      calls.abort();
      assert.equal(await isSettled(paused), true);
    });
  });

  describe("progress", () => {
    it("is told to whoever asked, at a bounded rate, the last one always, and never after the answer", async () => {
      const { call, peer, port } = play({ progressIntervalMs: 20 });
      void call(1);
      void call(2, { progress: true });
      const [deaf, curious] = port.asked;
      assert.equal(deaf?.progress, undefined);
      for (let progress = 1; progress <= 100; progress += 1) curious?.progress?.({ progress, total: 100, message: "x".repeat(5000) });
      await eventually(() => peer.notes.length === 2, "the last of the first hundred");
      const message = "x".repeat(TOOL_CAPS.progressMessageChars);
      assert.deepEqual(peer.notes, [
        { method: "tool.progress", params: { id: 2, progress: 1, total: 100, message } },
        { method: "tool.progress", params: { id: 2, progress: 100, total: 100, message } },
      ]);
      curious?.progress?.({ progress: 101 });
      curious?.answer();
      await nextTurn();
      curious?.progress?.({ progress: 102 });
      const told = peer.notes.length;
      await new Promise((resolve) => setTimeout(resolve, 50));
      assert.equal(peer.notes.length, told);
      assert.equal(peer.answers.length, 1);
    });
  });

  describe("the end", () => {
    it("waits for calls for the grace, then aborts the rest and those that were never begun; nobody is answered then", async () => {
      const { call, calls, peer, port } = play({ underWay: 2 });
      for (const id of [1, 2, 3]) void call(id);
      const settled = calls.settle(50);
      port.asked[0]?.answer();
      await nextTurn();
      assert.deepEqual(peer.ids, [1]);
      await settled;
      await nextTurn();
      assert.deepEqual(
        port.asked.map(({ signal }) => signal.aborted),
        [false, true, true],
      );
      assert.deepEqual([peer.ids, calls.isOver], [[1], true]);
      assert.equal(call(4), undefined);
      assert.equal(port.asked.length, 3);
    });

    it("comes at once when all is answered", async () => {
      const { call, calls, port } = play();
      void call(1);
      const settled = calls.settle(60_000);
      assert.equal(await isSettled(settled), false);
      port.asked[0]?.answer();
      await settled;
    });
  });

  it("answers each call once and never asks twice, whatever comes in which order", async () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("call" as const) }),
      fc.record({ kind: fc.constantFrom("cancel" as const, "answer" as const, "fail" as const), which: fc.nat(12) }),
      fc.record({ kind: fc.constant("drain" as const) }),
      fc.record({ kind: fc.constant("block" as const) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const { call, calls, cancel, peer, port } = play({ underWay: 3 });
        let made = 0;
        for (const action of steps) {
          if (action.kind === "call") void call((made += 1));
          else if (action.kind === "cancel") void cancel(action.which);
          else if (action.kind === "answer") port.asked[action.which]?.answer();
          else if (action.kind === "fail") port.asked[action.which]?.fail(new Error("x"));
          else {
            peer.unsentBytes = action.kind === "block" ? 2 ** 30 : 0;
            calls.drained();
          }
          await Promise.resolve();
        }
        peer.unsentBytes = 0;
        calls.drained();
        while (peer.answers.length < made) {
          for (const asked of port.asked) asked.answer();
          await nextTurn();
        }
        assert.deepEqual(
          [...peer.ids].sort((a, b) => a - b),
          Array.from({ length: made }, (_, index) => index + 1),
        );
        assert.equal(port.asked.length, made);
      }),
      { numRuns: 150 },
    );
  });
});
