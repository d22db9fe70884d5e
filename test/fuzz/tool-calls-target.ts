/** Fuzz target: calls of tools, as lines of JSON, against a port that answers some of them at once, some later and some never. */

import assert from "node:assert/strict";
import { setImmediate as nextTurn } from "node:timers/promises";

import fc from "fast-check";

import { FrameError } from "../../src/bridge/frames.ts";
import { TOOL_CALL_LIMITS, ToolCalls } from "../../src/bridge/tool-calls.ts";
import type { ToolAnswer, ToolCallRequest } from "../../src/domain/tool-call.ts";
import type { ToolPort } from "../../src/sandbox/ports.ts";
import type { FuzzTarget } from "./target.ts";

const given = fc.oneof(
  fc.record({ positional: fc.array(fc.array(fc.jsonValue({ maxDepth: 3 }), { maxLength: 1 }), { maxLength: 4 }) }),
  fc.record({ named: fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })) }),
  fc.jsonValue(),
);
const params = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      server: fc.string(),
      tool: fc.constantFrom("now", "later", "never", "fails"),
      arguments: given.map((value) => JSON.stringify(value)),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      server: fc.string(),
      tool: fc.string(),
      arguments: fc.string(),
      timeoutMs: fc.integer(),
      progress: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.jsonValue() },
);
const line = fc.oneof(
  { weight: 4, arbitrary: fc.record({ id: fc.nat(20), method: fc.constant("tool.call"), params }) },
  { weight: 1, arbitrary: fc.record({ method: fc.constant("tool.cancel"), params: fc.record({ id: fc.nat(20) }) }) },
  {
    weight: 1,
    arbitrary: fc.record({ id: fc.option(fc.integer()), method: fc.constantFrom("tool.call", "tool.cancel", "tool.other"), params }),
  },
);

interface Line {
  readonly id?: unknown;
  readonly method: string;
  readonly params?: unknown;
}

function linesOf(input: Buffer): Line[] {
  return input
    .toString()
    .split("\n")
    .flatMap((text) => {
      try {
        const value = JSON.parse(text) as unknown;
        return typeof value === "object" && value !== null && "method" in value && typeof value.method === "string" ? [value as Line] : [];
      } catch {
        return [];
      }
    });
}

/** Remembers every request, and that it came once. */
class SomePort implements ToolPort {
  readonly namespaces = [];
  readonly requests = new Set<ToolCallRequest>();
  readonly #later: (() => void)[] = [];

  call(request: ToolCallRequest, { signal }: { signal: AbortSignal }): Promise<ToolAnswer> {
    assert.ok(!this.requests.has(request));
    this.requests.add(request);
    if (request.tool === "fails") return Promise.reject(new Error("broken"));
    return new Promise((resolve) => {
      const answer = (): void => {
        resolve({ ok: true, value: null });
      };
      if (request.tool === "now" || signal.aborted) answer();
      else if (request.tool !== "never") this.#later.push(answer);
      signal.addEventListener("abort", answer);
    });
  }

  programEnded(): void {
    assert.fail("nobody says so");
  }

  answerOne(): void {
    this.#later.shift()?.();
  }
}

export const toolCalls: FuzzTarget = {
  name: "tool-calls",
  grown: fc.array(line, { maxLength: 12 }).map((lines) => Buffer.from(lines.map((one) => JSON.stringify(one)).join("\n"))),
  shortRuns: 1000,
  longRuns: 150_000,
  check: async (input) => {
    const port = new SomePort();
    const answered: number[] = [];
    const connection = {
      unsentBytes: 0,
      notify: () => undefined,
      respond: (id: number) => {
        answered.push(id);
      },
    };
    const calls = new ToolCalls({ port, connection, limits: { ...TOOL_CALL_LIMITS, underWay: 2 } });
    const lines = linesOf(input);
    try {
      for (const { id, method, params: sent } of lines) {
        // What the connection lets through: a whole number, or none.
        const checked = typeof id === "number" && Number.isSafeInteger(id) && id >= 0 ? id : undefined;
        void calls.message({ id: checked, method, params: sent, sizeBytes: 10 });
        if (lines.length % 2 === 0) port.answerOne();
        await Promise.resolve();
      }
    } catch (error) {
      assert.ok(error instanceof FrameError, String(error));
    }
    await calls.settle(0);
    await nextTurn();
    assert.equal(new Set(answered).size, answered.length, "answered twice");
    const ids = new Set(lines.map(({ id }) => id));
    for (const id of answered) assert.ok(ids.has(id), "an answer to nobody");
    for (const { arguments: values } of port.requests)
      assert.ok("named" in values ? typeof values.named === "object" : values.positional.length <= 64);
    assert.deepEqual(Object.keys(Object.prototype), []);
  },
};
