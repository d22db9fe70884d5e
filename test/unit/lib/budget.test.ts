import assert from "node:assert/strict";

import fc from "fast-check";

import { Budget } from "../../../src/lib/budget.ts";

const budgetAt = (limits: { burst: number; perSecond: number; total: number }): { budget: Budget; wait: (ms: number) => void } => {
  let now = 1_000;
  return { budget: new Budget(limits, () => now), wait: (ms) => (now += ms) };
};

describe("budget: a rate with a burst, and a total", () => {
  it("lets the burst through at once and says how long to wait after it", () => {
    const { budget } = budgetAt({ burst: 10, perSecond: 100, total: 1000 });
    assert.deepEqual(budget.take(10), { kind: "ok" });
    assert.deepEqual(budget.take(1), { kind: "pause", forMs: 10 });
    assert.deepEqual(budget.take(9), { kind: "pause", forMs: 100 });
    assert.equal(budget.used, 20);
  });

  it("refills with time, up to the burst and not beyond", () => {
    const { budget, wait } = budgetAt({ burst: 10, perSecond: 100, total: 1000 });
    budget.take(10);
    wait(50);
    assert.deepEqual(budget.take(5), { kind: "ok" });
    assert.deepEqual(budget.take(1), { kind: "pause", forMs: 10 });
    wait(3_600_000);
    assert.deepEqual(budget.take(10), { kind: "ok" });
    assert.equal(budget.take(1).kind, "pause");
  });

  it("is spent above the total, for good", () => {
    const { budget, wait } = budgetAt({ burst: 100, perSecond: 100, total: 20 });
    assert.equal(budget.take(20).kind, "ok");
    assert.equal(budget.take(1).kind, "spent");
    wait(1_000_000);
    assert.equal(budget.take(0).kind, "spent");
  });

  it("never lets more through than burst and rate allow, to a peer that is paused as long as it says", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 1, max: 1000 }),
        fc.array(fc.record({ units: fc.integer({ min: 1, max: 20 }), idleMs: fc.nat(30) }), { maxLength: 60 }),
        (burst, perSecond, steps) => {
          const { budget, wait } = budgetAt({ burst, perSecond, total: Infinity });
          let elapsedMs = 0;
          let taken = 0;
          for (const { idleMs, units } of steps) {
            wait(idleMs);
            elapsedMs += idleMs;
            const verdict = budget.take(units);
            taken += units;
            if (verdict.kind === "pause") {
              wait(verdict.forMs);
              elapsedMs += verdict.forMs;
            }
            assert.ok(taken <= burst + (perSecond * elapsedMs) / 1000 + 1e-6, `${taken} after ${elapsedMs} ms`);
          }
        },
      ),
    );
  });
});
