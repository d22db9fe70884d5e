import assert from "node:assert/strict";

import { serverStatusSchema } from "../../../src/domain/server-status.ts";
import { ServerCounters } from "../../../src/mcp/counters.ts";

describe("counters", () => {
  it("count by outcome and code, for the server and for each tool", () => {
    const counters = new ServerCounters();
    counters.add("store", { outcome: "ok", errorCode: undefined, serverMs: 3 });
    counters.add("store", { outcome: "error", errorCode: "TOOL_FAILED", serverMs: 70_000 });
    counters.add("store", { outcome: "error", errorCode: "CONNECTION_LOST", serverMs: 5 });
    counters.add("recall", { outcome: "denied", errorCode: "RATE_LIMITED", serverMs: undefined });
    counters.add("recall", { outcome: "fallback", errorCode: undefined, serverMs: undefined });
    const { byTool, ...all } = counters.read();
    assert.deepEqual([all.requests, all.ok, all.error, all.denied, all.fallback], [5, 1, 2, 1, 1]);
    assert.deepEqual([all.successRate, all.denialRate, all.fallbackPercent], [0.25, 0.2, 20]);
    assert.deepEqual(all.errors, { TOOL_FAILED: 1, CONNECTION_LOST: 1, RATE_LIMITED: 1 });
    assert.deepEqual([all.latency.count, all.latency.sumMs], [2, 70_003], "a lost answer took no time of the server that is known");
    assert.deepEqual(
      all.latency.buckets.filter(({ count }) => count > 0),
      [
        { upToMs: 5, count: 1 },
        { upToMs: null, count: 1 },
      ],
    );
    assert.deepEqual([byTool["store"]!.requests, byTool["recall"]!.requests, byTool["recall"]!.successRate], [3, 2, 0]);
    assert.ok(serverStatusSchema.shape.calls.safeParse(counters.read()).success);
  });

  it("are null where there is nothing to divide", () => {
    const { denialRate, fallbackPercent, successRate } = new ServerCounters().read();
    assert.deepEqual([denialRate, fallbackPercent, successRate], [null, null, null]);
  });

  it("stay bounded, and exact, for a server whose tools change for ever; any name is a key of its own", () => {
    const counters = new ServerCounters();
    counters.add("__proto__", { outcome: "ok", errorCode: undefined, serverMs: 1 });
    for (let index = 0; index < 5000; index += 1) counters.add(`tool-${index}`, { outcome: "ok", errorCode: undefined, serverMs: 1 });
    const { byTool, requests } = counters.read();
    assert.equal(requests, 5001);
    assert.ok(Object.keys(byTool).length <= 2049);
    assert.equal(
      Object.values(byTool).reduce((sum, tool) => sum + tool.requests, 0),
      5001,
    );
    assert.ok(Object.hasOwn(byTool, "__proto__"));
  });
});
