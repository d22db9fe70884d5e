import assert from "node:assert/strict";
import { setMaxListeners } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

import fc from "fast-check";

import { AppError } from "../../../src/domain/errors.ts";
import { Admission } from "../../../src/execution/admission.ts";
import type { SemaphorePermit } from "../../../src/lib/semaphore.ts";

/** For many who wait: Node warns of more than ten listeners. */
function sharedController(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}
const NEVER = sharedController().signal;

/** The refusal, which is thrown: who has a promise is in. */
function refusal(acquire: () => unknown): AppError {
  try {
    acquire();
  } catch (error) {
    assert.ok(error instanceof AppError);
    return error;
  }
  return assert.fail("it was admitted");
}

describe("admission: running", () => {
  it("is allowed up to a number, then waits in the queue, then is refused at once", async () => {
    const admission = new Admission({ maxRunning: 2, maxStarting: 1, maxQueued: 1 });
    const slots = await Promise.all([admission.acquire(NEVER), admission.acquire(NEVER)]);
    const waiting = admission.acquire(NEVER);
    assert.deepEqual([admission.running, admission.queued], [2, 1]);
    const error = refusal(() => admission.acquire(NEVER));
    assert.equal(error.code, "QUEUE_FULL");
    assert.equal(error.message, "All 2 slots are taken and 1 executions wait. Try again later.");
    slots[0].release();
    slots[1].release();
    (await waiting).release();
    assert.deepEqual([admission.running, admission.queued], [0, 0]);
  });

  it("is refused at once where nobody may wait", async () => {
    const admission = new Admission({ maxRunning: 1, maxStarting: 1, maxQueued: 0 });
    const slot = await admission.acquire(NEVER);
    assert.equal(refusal(() => admission.acquire(NEVER)).code, "QUEUE_FULL");
    slot.release();
    (await admission.acquire(NEVER)).release();
  });

  it("is waited for no longer when the caller goes, and its place in the queue is free", async () => {
    const admission = new Admission({ maxRunning: 1, maxStarting: 1, maxQueued: 1 });
    const slot = await admission.acquire(NEVER);
    const controller = sharedController();
    const waiting = admission.acquire(controller.signal);
    const reason = new Error("gone");
    controller.abort(reason);
    await assert.rejects(waiting, reason);
    const next = admission.acquire(NEVER);
    slot.release();
    (await next).release();
  });

  it("is not given to a caller who has gone", async () => {
    const admission = new Admission({ maxRunning: 1, maxStarting: 1, maxQueued: 0 });
    await assert.rejects(admission.acquire(AbortSignal.abort(new Error("gone"))), /gone/);
    assert.equal(admission.running, 0);
  });

  it("is tried again after a time of 1 to 60 seconds, which grows with how long slots are held", async () => {
    const admission = new Admission({ maxRunning: 1, maxStarting: 1, maxQueued: 0 });
    let slot = await admission.acquire(NEVER);
    assert.equal(refusal(() => admission.acquire(NEVER)).retryAfterSeconds, 1);
    slot.release();
    const crowded = new Admission({ maxRunning: 1, maxStarting: 1, maxQueued: 500 });
    slot = await crowded.acquire(NEVER);
    const controller = sharedController();
    const waiting = Array.from({ length: 500 }, () => crowded.acquire(controller.signal).catch(() => undefined));
    assert.equal(refusal(() => crowded.acquire(NEVER)).retryAfterSeconds, 60);
    controller.abort();
    await Promise.all(waiting);
    slot.release();
  });

  it("that is short makes the time to wait short", async () => {
    const admission = new Admission({ maxRunning: 1, maxStarting: 1, maxQueued: 20 });
    const retryAfter = async (): Promise<number> => {
      const controller = sharedController();
      const slot = await admission.acquire(NEVER);
      const waiting = Array.from({ length: 20 }, () => admission.acquire(controller.signal).catch(() => undefined));
      const { retryAfterSeconds } = refusal(() => admission.acquire(NEVER));
      controller.abort();
      await Promise.all(waiting);
      slot.release();
      return retryAfterSeconds!;
    };
    const first = await retryAfter();
    for (let count = 0; count < 40; count += 1) (await admission.acquire(NEVER)).release();
    await sleep(1);
    assert.ok((await retryAfter()) < first, "after forty executions that took no time");
  });
});

describe("admission: starting", () => {
  it("is limited apart from running, and waits without a limit of its own", async () => {
    const admission = new Admission({ maxRunning: 10, maxStarting: 1, maxQueued: 0 });
    const first = await admission.acquireStart(NEVER);
    const waiting = [admission.acquireStart(NEVER), admission.acquireStart(NEVER)];
    assert.equal(admission.running, 0);
    first.release();
    for (const permit of waiting) (await permit).release();
  });
});

describe("admission: any order of events", () => {
  it("keeps to its limits and loses no slot", async () => {
    const step = fc.record({ action: fc.constantFrom("acquire", "acquire", "release", "abort"), which: fc.nat(20) });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 0, max: 3 }),
        fc.array(step, { maxLength: 50 }),
        async (maxRunning, maxQueued, steps) => {
          const admission = new Admission({ maxRunning, maxStarting: 1, maxQueued });
          const held: SemaphorePermit[] = [];
          const waiting = new Set<AbortController>();
          for (const { action, which } of steps) {
            if (action === "acquire") {
              const mustRefuse = admission.running === maxRunning && admission.queued === maxQueued;
              const controller = sharedController();
              waiting.add(controller);
              let refused = false;
              try {
                void admission.acquire(controller.signal).then(
                  (slot) => {
                    waiting.delete(controller);
                    held.push(slot);
                  },
                  () => waiting.delete(controller),
                );
              } catch {
                waiting.delete(controller);
                refused = true;
              }
              await new Promise((resolve) => setImmediate(resolve));
              assert.equal(refused, mustRefuse);
            } else if (action === "release") held.splice(which % Math.max(1, held.length), 1)[0]?.release();
            else [...waiting][which % Math.max(1, waiting.size)]?.abort();
            await new Promise((resolve) => setImmediate(resolve));
            assert.ok(admission.running <= maxRunning && admission.queued <= maxQueued);
            assert.equal(admission.running, held.length);
            assert.equal(admission.queued, waiting.size);
          }
          for (const controller of waiting) controller.abort();
          for (const slot of held) slot.release();
          await new Promise((resolve) => setImmediate(resolve));
          assert.deepEqual([admission.running, admission.queued], [0, 0]);
        },
      ),
      { numRuns: 100 },
    );
  });
});
