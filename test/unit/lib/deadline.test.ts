import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { TimeoutError, within } from "../../../src/lib/deadline.ts";

const never = new Promise<never>(() => undefined);

describe("deadline: a promise with a time limit", () => {
  it("gives the value, or the failure, that comes in time", async () => {
    assert.equal(await within(Promise.resolve(5), 1000, "it"), 5);
    await assert.rejects(within(Promise.reject(new Error("own")), 1000, "it"), /^Error: own$/);
  });

  it("says what took too long", async () => {
    await assert.rejects(within(never, 10, "the engine's answer"), (error: Error) => {
      assert.ok(error instanceof TimeoutError);
      assert.equal(error.message, "the engine's answer took longer than 10 ms");
      return true;
    });
  });

  it("leaves no unhandled rejection when the promise fails after the time", async () => {
    const late = sleep(30).then(() => {
      throw new Error("late");
    });
    await assert.rejects(within(late, 5, "it"), TimeoutError);
    // Mocha fails the run on an unhandled rejection.
    await sleep(40);
  });

  it("leaves no timer behind that would keep the process alive", async () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    const before = timers();
    for (let count = 0; count < 50; count += 1) await within(Promise.resolve(), 60_000, "it");
    // The test runner has timers of its own, which come and go.
    assert.ok(timers() < before + 25);
  });
});
