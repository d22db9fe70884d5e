import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { coalesce } from "../../../src/lib/coalesce.ts";

describe("coalesce: an action that is asked for in a crowd", () => {
  it("runs twice for a thousand calls, never two at once, and the second begins after the last call", async () => {
    let running = 0;
    let runs = 0;
    let latest = 0;
    const seen: number[] = [];
    const action = coalesce(async () => {
      runs += 1;
      running += 1;
      assert.equal(running, 1);
      seen.push(latest);
      await sleep(5);
      running -= 1;
      return seen.at(-1);
    });
    const calls = Array.from({ length: 1000 }, (_, index) => {
      latest = index;
      return action();
    });
    const results = await Promise.all(calls);
    assert.equal(runs, 2);
    assert.deepEqual([results[0], results[1], results[999]], [0, 999, 999]);
  });

  it("runs again after its end, and after a failure; each caller gets the failure of its own run", async () => {
    let runs = 0;
    const action = coalesce(async () => {
      runs += 1;
      await sleep(1);
      if (runs === 1) throw new Error("first");
      return runs;
    });
    const [first, second] = await Promise.allSettled([action(), action()]);
    assert.deepEqual([first.status, second.status === "fulfilled" && second.value], ["rejected", 2]);
    assert.equal(await action(), 3);
  });

  it("takes a call from inside a run as one for the next", async () => {
    let runs = 0;
    let inner: Promise<number> | undefined;
    const action: () => Promise<number> = coalesce(async () => {
      runs += 1;
      const run = runs;
      if (run === 1) inner = action();
      await sleep(1);
      return run;
    });
    assert.equal(await action(), 1);
    assert.equal(await inner, 2);
  });
});
