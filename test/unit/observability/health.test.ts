import assert from "node:assert/strict";

import type { ServerState } from "../../../src/domain/server-status.ts";
import { Health } from "../../../src/observability/health.ts";
import type { HealthDeps } from "../../../src/observability/health.ts";

const healthOf = (more: Partial<HealthDeps>): Health =>
  new Health({
    version: "1.0.0",
    pingEngine: () => Promise.resolve("OK"),
    engine: { version: "29.0", apiVersion: "1.50", components: { runc: "1.3" } },
    knownHoles: [],
    inForce: () => ({ images: [], layers: [], configuration: { loadedAt: "2026-01-01T00:00:00.000Z" } }),
    managerStatus: () => ({ accepting: true, running: 1, queued: 2 }),
    callers: () => [{ name: "alice", running: 1, queued: 2 }],
    servers: () => [],
    audit: () => ({ enabled: true, entries: 7, waiting: 0, refuses: false }),
    ...more,
  });

describe("health: whether code can be run", () => {
  it("is ok when the engine answers and the service accepts", async () => {
    assert.deepEqual(await healthOf({}).detailed(), {
      status: "ok",
      version: "1.0.0",
      engine: { version: "29.0", apiVersion: "1.50", components: { runc: "1.3" }, answers: true },
      configuration: { loadedAt: "2026-01-01T00:00:00.000Z" },
      images: [],
      knownHoles: [],
      layers: [],
      servers: [],
      audit: { enabled: true, entries: 7, waiting: 0, refuses: false },
      executions: { accepting: true, running: 1, queued: 2 },
    });
    const { executions } = await healthOf({}).detailed({ callers: true, server: () => true });
    assert.deepEqual(executions.callers, [{ name: "alice", running: 1, queued: 2 }]);
    assert.deepEqual(await healthOf({}).report(), { status: "ok", version: "1.0.0" });
  });

  it("is degraded when a server that is enabled is down, or half; one that is disabled or connects is not missed", async () => {
    const server = (name: string, state: ServerState, reason?: string): ReturnType<HealthDeps["servers"]>[number] => ({
      ...{ name, namespace: name, state },
      ...(reason === undefined ? {} : { reason }),
    });
    const others = [server("a", "connected"), server("b", "disabled"), server("c", "connecting")];
    const withServer = (state: ServerState): Health => healthOf({ servers: () => [...others, server("d", state, "why")] });
    assert.equal((await withServer("connected").report()).status, "ok");
    for (const state of ["down", "degraded"] as const) {
      assert.equal((await withServer(state).report()).status, "degraded");
      const { servers, status } = await withServer(state).detailed({ callers: false, server: ({ name }) => name !== "a" });
      assert.equal(status, "degraded");
      assert.deepEqual(servers, [
        { name: "b", state: "disabled" },
        { name: "c", state: "connecting" },
        { name: "d", state, reason: "why" },
      ]);
    }
    assert.equal(
      (await healthOf({ servers: () => [server("a", "down")], pingEngine: () => Promise.reject(new Error("away")) }).report()).status,
      "down",
    );
  });

  it("is down when the service accepts no more", async () => {
    assert.equal((await healthOf({ managerStatus: () => ({ accepting: false, running: 0, queued: 0 }) }).report()).status, "down");
  });

  it("is down when the engine refuses", async () => {
    const report = await healthOf({ pingEngine: () => Promise.reject(new Error("away")) }).detailed();
    assert.deepEqual([report.status, report.engine.answers], ["down", false]);
  });

  it("is down, in bounded time, when the engine does not answer", async () => {
    const began = performance.now();
    assert.equal((await healthOf({ pingEngine: () => new Promise(() => undefined) }).report()).status, "down");
    assert.ok(performance.now() - began < 4000);
  });

  it("asks the engine once for questions that come together, and again a while later", async () => {
    let pings = 0;
    const health = healthOf({ pingEngine: () => Promise.resolve((pings += 1)) });
    await Promise.all(Array.from({ length: 50 }, () => health.report()));
    assert.equal(pings, 1);
    await new Promise((resolve) => setTimeout(resolve, 1050));
    await health.report();
    assert.equal(pings, 2);
  });
});
