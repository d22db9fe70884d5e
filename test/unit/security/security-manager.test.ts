import assert from "node:assert/strict";

import { defineServer } from "../../../src/domain/mcp-server.ts";
import type { ServerSettings } from "../../../src/domain/mcp-server.ts";
import { ToolFailure } from "../../../src/domain/tool-error.ts";
import { SecurityManager } from "../../../src/security/security-manager.ts";
import { eventually } from "../support/eventually.ts";

const STORE = { server: "automem", tool: "store_memory" };
const SCHEMA = {
  type: "object",
  properties: { content: { type: "string" }, importance: { type: "number", minimum: 0, maximum: 1 }, metadata: { type: "object" } },
  required: ["content"],
};
const NEVER = new AbortController().signal;

function managerOf(settings: Partial<ServerSettings> = {}, options: { enabled?: boolean; now?: () => number } = {}): SecurityManager {
  const manager = new SecurityManager(options);
  manager.setServer("automem", defineServer("automem", { transport: undefined, ...settings }, 1000));
  return manager;
}

function failureOf(act: () => unknown): ToolFailure | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    assert.ok(error instanceof ToolFailure, String(error));
    return error;
  }
}
const checked = (manager: SecurityManager, value: Record<string, unknown>): ToolFailure | undefined =>
  failureOf(() => {
    manager.checkArguments(STORE, { value, schema: SCHEMA });
  });
/** As programs send them: JSON.parse makes `__proto__` a key like others. */
const parsed = (json: string): Record<string, unknown> => JSON.parse(json) as Record<string, unknown>;
const nested = (depth: number): string => `{"content":"x","metadata":${'{"a":'.repeat(depth)}1${"}".repeat(depth)}}`;

describe("security-manager: honest text", () => {
  for (const text of [
    "data: the plan for next week",
    "<script>alert(1)</script> is what they wrote",
    "'; DROP TABLE memories; --",
    "SELECT * FROM users WHERE name = 'O''Brien'",
    "line one\nline two\r\n\tindented",
    "../../etc/passwd is not to be read",
    "$(rm -rf /) and `id` and ${HOME}",
    "\u001b[31mred\u001b[0m terminal text",
    "__proto__ and constructor.prototype are words",
    "𝕌𝕟𝕚𝕔𝕠𝕕𝕖 👩‍👩‍👧 ‮right to left",
    "javascript:void(0)",
    "{{7*7}} #{7*7} %s%n",
    "",
  ]) {
    it(`passes: ${JSON.stringify(text)}`, () => {
      assert.equal(checked(managerOf(), { content: text, metadata: { constructor: text, prototype: text, [text]: text } }), undefined);
    });
  }
});

describe("security-manager: arguments that do harm", () => {
  for (const [title, value, message] of [
    ["a key __proto__", parsed('{"content":"x","__proto__":{"admin":true}}'), /__proto__ is a key that is not sent/],
    ["a key __proto__ deep inside", parsed('{"content":"x","metadata":{"a":[{"__proto__":1}]}}'), /metadata\.a\[0\]\.__proto__ is a key/],
    ["a text with NUL", { content: "../secret\0.png" }, /content holds a NUL character/],
    ["a key with NUL", { content: "x", metadata: { "a\0": 1 } }, /metadata\["a\\u\{0\}"\] holds a NUL/],
    ["an object in place of a text", { content: { $ne: "" } }, /content must be string, and is an object/],
    ["a list in place of a text", { content: ["a"] }, /content must be string, and is a list of 1/],
    ["a text in place of a number", { content: "x", importance: "1 OR 1=1" }, /importance must be number/],
    ["a number out of bounds", { content: "x", importance: 1e308 }, /importance must be at most 1/],
    ["nothing of what is required", {}, /content is missing/],
  ] as const) {
    it(`are refused: ${title}; and let through where checks are off`, () => {
      const failure = checked(managerOf(), value);
      assert.ok(failure !== undefined);
      assert.match(failure.message, message);
      assert.deepEqual([failure.code, failure.server, failure.tool], ["INVALID_ARGUMENTS", "automem", "store_memory"]);
      assert.match(failure.setting ?? "", /^none: /);
      assert.equal(checked(managerOf({}, { enabled: false }), value), undefined);
    });
  }

  for (const [title, value, message] of [
    ["deep nesting", parsed(nested(100)), /is nested deeper than 64 levels/],
    [
      "too many keys",
      { content: "x", metadata: Object.fromEntries(Array.from({ length: 10_001 }, (_, i) => [`k${i}`, 1])) },
      /more than 10000/,
    ],
    ["too many items", { content: "x", metadata: { a: Array.from({ length: 200_001 }, () => 1) } }, /more than 200000 fields and items/],
  ] as const) {
    it(`are refused, whether checks are on or off: ${title}`, () => {
      for (const enabled of [true, false]) assert.match(checked(managerOf({}, { enabled }), value)?.message ?? "", message);
    });
  }

  it("leave every prototype as it was", () => {
    const value = parsed('{"content":"x","metadata":{"constructor":{"prototype":{"polluted":true}}}}');
    assert.equal(checked(managerOf(), value), undefined);
    assert.equal(({} as { polluted?: unknown }).polluted, undefined);
  });

  it("pass at the caps", () => {
    assert.equal(checked(managerOf(), parsed(nested(62))), undefined);
    assert.equal(checked(managerOf(), { content: "x", metadata: { a: Array.from({ length: 199_000 }, () => 0) } }), undefined);
  });
});

describe("security-manager: size", () => {
  it("is capped by maxPayloadBytes, whether checks are on or off, and the message says the numbers", () => {
    for (const enabled of [true, false]) {
      const manager = managerOf({ maxPayloadBytes: 100 }, { enabled });
      assert.equal(
        failureOf(() => manager.checkSize(STORE, 100)),
        undefined,
      );
      const failure = failureOf(() => manager.checkSize(STORE, 101));
      assert.deepEqual([failure?.code, failure?.setting], ["PAYLOAD_TOO_LARGE", "mcpServers.automem.maxPayloadBytes"]);
      assert.match(failure?.message ?? "", /take 101 bytes as JSON; at most 100 are sent/);
    }
  });
});

describe("security-manager: lists", () => {
  it("hold whether checks are on or off", () => {
    for (const enabled of [true, false]) {
      const manager = managerOf({ tools: { allow: ["*"], deny: ["delete_*"] } }, { enabled });
      const tool = { server: "automem", names: { servers: ["automem"], tools: ["delete_memory"] }, readOnly: undefined };
      const failure = failureOf(() => {
        manager.checkAccess({ server: "automem", tool: "delete_memory" }, tool, []);
      });
      assert.deepEqual([failure?.code, failure?.setting], ["TOOL_DENIED", "mcpServers.automem.tools.deny"]);
      assert.match(failure?.message ?? "", /^automem\.delete_memory is denied by mcpServers\.automem\.tools\.deny\. Do without it/);
    }
  });
});

describe("security-manager: calls", () => {
  const LIMITS = { rateLimit: { requestsPerMinute: 100, maxConcurrent: 1000 } };

  it("are a hundred a minute, exactly, and more a minute later", async () => {
    let time = 0;
    const manager = managerOf(LIMITS, { now: () => time });
    const call = async (): Promise<ToolFailure | undefined> => {
      try {
        const admission = await manager.admit(STORE, "exe_1", NEVER);
        admission.sent();
        admission.release();
        return undefined;
      } catch (error) {
        return error as ToolFailure;
      }
    };
    for (let count = 0; count < 100; count += 1) assert.equal(await call(), undefined, String(count));
    const failure = await call();
    assert.deepEqual(
      [failure?.code, failure?.data, failure?.setting],
      ["RATE_LIMITED", { retryAfterMs: 60_000, requestsPerMinute: 100 }, "mcpServers.automem.rateLimit.requestsPerMinute"],
    );
    time = 59_999;
    assert.equal((await call())?.code, "RATE_LIMITED");
    time = 60_000;
    assert.equal(await call(), undefined);
    const open = managerOf(LIMITS, { enabled: false, now: () => time });
    for (let count = 0; count < 200; count += 1) {
      const admission = await open.admit(STORE, "exe_1", NEVER);
      admission.sent();
      admission.release();
    }
  });

  it("wait for one another beyond maxConcurrent; one that is given up leaves no place taken", async () => {
    const manager = managerOf({ rateLimit: { requestsPerMinute: 3, maxConcurrent: 1 } });
    const first = await manager.admit(STORE, "exe_1", NEVER);
    first.sent();
    const stop = new AbortController();
    const given = manager.admit(STORE, "exe_1", stop.signal);
    const waiting = manager.admit(STORE, "exe_2", NEVER);
    assert.deepEqual(manager.inUse("automem"), { callsThisMinute: 3, callsUnderWay: 1, callsWaiting: 2 });
    stop.abort(new Error("given up"));
    await assert.rejects(given, /given up/);
    assert.deepEqual(manager.inUse("automem"), { callsThisMinute: 2, callsUnderWay: 1, callsWaiting: 1 });
    first.release();
    first.release();
    const second = await waiting;
    second.release();
    await eventually(() => manager.inUse("automem").callsUnderWay === 0, "all places are free");
    assert.deepEqual(manager.inUse("automem"), { callsThisMinute: 1, callsUnderWay: 0, callsWaiting: 0 });
  });

  it("count under a limit that stays the same when others change", async () => {
    const manager = managerOf({ rateLimit: { requestsPerMinute: 1, maxConcurrent: 1 } });
    (await manager.admit(STORE, "exe_1", NEVER)).sent();
    manager.setServer(
      "automem",
      defineServer("automem", { transport: undefined, rateLimit: { requestsPerMinute: 1, maxConcurrent: 5 } }, 1),
    );
    await assert.rejects(manager.admit(STORE, "exe_1", NEVER), { code: "RATE_LIMITED" });
    manager.setServer(
      "automem",
      defineServer("automem", { transport: undefined, rateLimit: { requestsPerMinute: 2, maxConcurrent: 5 } }, 1),
    );
    await manager.admit(STORE, "exe_1", NEVER);
  });
});
