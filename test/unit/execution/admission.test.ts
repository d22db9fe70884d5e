import assert from "node:assert/strict";
import { setMaxListeners } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

import fc from "fast-check";

import type { Caller } from "../../../src/domain/caller.ts";
import { AppError } from "../../../src/domain/errors.ts";
import { Admission } from "../../../src/execution/admission.ts";
import type { CallerStatus } from "../../../src/execution/admission.ts";
import type { SemaphorePermit } from "../../../src/lib/fair-semaphore.ts";

/** For many who wait: Node warns of more than ten listeners. */
function sharedController(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}
const NEVER = sharedController().signal;
const ALICE: Caller = { name: "alice" };
const BOB: Caller = { name: "bob" };
const CAROL: Caller = { name: "carol" };

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
    const slots = await Promise.all([admission.acquire(ALICE, NEVER), admission.acquire(ALICE, NEVER)]);
    const waiting = admission.acquire(ALICE, NEVER);
    assert.deepEqual([admission.running, admission.queued], [2, 1]);
    const error = refusal(() => admission.acquire(ALICE, NEVER));
    assert.equal(error.code, "QUEUE_FULL");
    assert.equal(error.message, "2 executions run and 1 wait, which is all that can. Try again later.");
    slots[0].release();
    slots[1].release();
    (await waiting).release();
    assert.deepEqual([admission.running, admission.queued], [0, 0]);
  });

  it("is refused at once where nobody may wait", async () => {
    const admission = new Admission({ maxRunning: 1, maxStarting: 1, maxQueued: 0 });
    const slot = await admission.acquire(ALICE, NEVER);
    assert.equal(refusal(() => admission.acquire(ALICE, NEVER)).code, "QUEUE_FULL");
    slot.release();
    (await admission.acquire(ALICE, NEVER)).release();
  });

  it("is waited for no longer when the caller goes, and its place in the queue is free", async () => {
    const admission = new Admission({ maxRunning: 1, maxStarting: 1, maxQueued: 1 });
    const slot = await admission.acquire(ALICE, NEVER);
    const controller = sharedController();
    const waiting = admission.acquire(ALICE, controller.signal);
    const reason = new Error("gone");
    controller.abort(reason);
    await assert.rejects(waiting, reason);
    const next = admission.acquire(ALICE, NEVER);
    slot.release();
    (await next).release();
  });

  it("is not given to a caller who has gone", async () => {
    const admission = new Admission({ maxRunning: 1, maxStarting: 1, maxQueued: 0 });
    await assert.rejects(admission.acquire(ALICE, AbortSignal.abort(new Error("gone"))), /gone/);
    assert.equal(admission.running, 0);
  });

  it("is tried again after a time of 1 to 60 seconds, which grows with how long slots are held", async () => {
    const admission = new Admission({ maxRunning: 1, maxStarting: 1, maxQueued: 0 });
    let slot = await admission.acquire(ALICE, NEVER);
    assert.equal(refusal(() => admission.acquire(ALICE, NEVER)).retryAfterSeconds, 1);
    slot.release();
    const crowded = new Admission({ maxRunning: 1, maxStarting: 1, maxQueued: 500 });
    slot = await crowded.acquire(ALICE, NEVER);
    const controller = sharedController();
    const waiting = Array.from({ length: 500 }, () => crowded.acquire(ALICE, controller.signal).catch(() => undefined));
    assert.equal(refusal(() => crowded.acquire(ALICE, NEVER)).retryAfterSeconds, 60);
    controller.abort();
    await Promise.all(waiting);
    slot.release();
  });

  it("that is short makes the time to wait short", async () => {
    const admission = new Admission({ maxRunning: 1, maxStarting: 1, maxQueued: 20 });
    const retryAfter = async (): Promise<number> => {
      const controller = sharedController();
      const slot = await admission.acquire(ALICE, NEVER);
      const waiting = Array.from({ length: 20 }, () => admission.acquire(ALICE, controller.signal).catch(() => undefined));
      const { retryAfterSeconds } = refusal(() => admission.acquire(ALICE, NEVER));
      controller.abort();
      await Promise.all(waiting);
      slot.release();
      return retryAfterSeconds!;
    };
    const first = await retryAfter();
    for (let count = 0; count < 40; count += 1) (await admission.acquire(ALICE, NEVER)).release();
    await sleep(1);
    assert.ok((await retryAfter()) < first, "after forty executions that took no time");
  });
});

describe("admission: several callers", () => {
  const shared = (limits: { maxRunning: number; maxQueued: number; maxStarting?: number }): Admission => {
    const admission = new Admission({ maxStarting: 2, ...limits });
    admission.isShared = true;
    return admission;
  };
  const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  /** As many as get a slot or wait for one; the code of the first refusal. */
  const flood = async (admission: Admission, caller: Caller): Promise<{ slots: SemaphorePermit[]; error: AppError }> => {
    const slots: SemaphorePermit[] = [];
    for (;;) {
      try {
        void admission.acquire(caller, NEVER).then((slot) => slots.push(slot));
      } catch (error) {
        await settle();
        assert.ok(error instanceof AppError);
        return { slots, error };
      }
    }
  };

  it("do not wait for the crowd of one of them: the last slot is for who runs nothing", async () => {
    const admission = shared({ maxRunning: 3, maxQueued: 10 });
    const { slots } = await flood(admission, ALICE);
    assert.equal(slots.length, 2);
    const slot = await admission.acquire(BOB, NEVER);
    assert.equal(admission.running, 3);
    const next = admission.acquire(CAROL, NEVER);
    slots[0]!.release();
    (await next).release();
    slot.release();
  });

  it("share the queue: one may wait with as many as there are places left, and is told so", async () => {
    const admission = shared({ maxRunning: 3, maxQueued: 10 });
    const { error } = await flood(admission, ALICE);
    assert.equal(admission.queued, 5);
    assert.deepEqual([error.code, error.status], ["QUEUE_FULL", 429]);
    assert.equal(error.message, '5 executions of the key "alice" wait, which is its share of the queue. Try again later.');
    assert.ok(error.retryAfterSeconds! >= 1);
    await admission.acquire(BOB, NEVER);
    await flood(admission, BOB);
    assert.deepEqual(
      admission.callers().map(({ name, queued }) => [name, queued]),
      [
        ["alice", 5],
        ["bob", 3],
      ],
    );
    void admission.acquire(CAROL, NEVER);
    assert.equal(admission.queued, 9, "there is a place for one who has none waiting");
  });

  it("are told when the queue is full for all", async () => {
    const admission = shared({ maxRunning: 1, maxQueued: 1 });
    const slot = await admission.acquire(ALICE, NEVER);
    void admission.acquire(ALICE, NEVER);
    const { code, message } = refusal(() => admission.acquire(BOB, NEVER));
    assert.deepEqual([code, message], ["QUEUE_FULL", "1 executions run and 1 wait, which is all that can. Try again later."]);
    slot.release();
  });

  it("have a slot each before one has two; a maxRunning of a caller holds, and hands on what it leaves", async () => {
    const admission = shared({ maxRunning: 4, maxQueued: 100 });
    const limited = { name: "alice", maxRunning: 1 };
    const first = await admission.acquire(limited, NEVER);
    const second = admission.acquire(limited, NEVER);
    await settle();
    assert.deepEqual(admission.callers(), [{ name: "alice", running: 1, queued: 1 }]);
    const slots = await Promise.all([admission.acquire(BOB, NEVER), admission.acquire(BOB, NEVER), admission.acquire(CAROL, NEVER)]);
    assert.equal(admission.running, 4);
    first.release();
    (await second).release();
    for (const slot of slots) slot.release();
    assert.deepEqual(admission.callers(), []);
  });

  it("have all of it when there is only one, and again when another is gone", async () => {
    const admission = shared({ maxRunning: 2, maxQueued: 4 });
    assert.equal((await flood(admission, ALICE)).slots.length, 1);
    admission.isShared = false;
    const { error } = await flood(admission, ALICE);
    assert.deepEqual([admission.running, admission.queued], [2, 4]);
    assert.match(error.message, /^2 executions run and 4 wait/);
  });

  it("start in turns: one who starts nothing goes before the crowd of another", async () => {
    const admission = shared({ maxRunning: 10, maxQueued: 10, maxStarting: 1 });
    const first = await admission.acquireStart(ALICE, NEVER);
    const order: string[] = [];
    const waits = [ALICE, ALICE, ALICE, BOB].map((caller) =>
      admission.acquireStart(caller, NEVER).then((slot) => {
        order.push(caller.name);
        slot.release();
      }),
    );
    first.release();
    await Promise.all(waits);
    assert.deepEqual(order, ["bob", "alice", "alice", "alice"]);
  });

  it("start at once where others start a crowd: the last start slot too is for who has none", async () => {
    const admission = shared({ maxRunning: 10, maxQueued: 10, maxStarting: 2 });
    const first = await admission.acquireStart(ALICE, NEVER);
    const crowd = admission.acquireStart(ALICE, NEVER);
    (await admission.acquireStart(BOB, NEVER)).release();
    first.release();
    (await crowd).release();
  });
});

describe("admission: starting", () => {
  it("is limited apart from running, and waits without a limit of its own", async () => {
    const admission = new Admission({ maxRunning: 10, maxStarting: 1, maxQueued: 0 });
    const first = await admission.acquireStart(ALICE, NEVER);
    const waiting = [admission.acquireStart(ALICE, NEVER), admission.acquireStart(ALICE, NEVER)];
    assert.equal(admission.running, 0);
    first.release();
    for (const permit of waiting) (await permit).release();
  });
});

describe("admission: any order of events", () => {
  it("keeps to its limits and loses no slot", async () => {
    const step = fc.record({
      action: fc.constantFrom("acquire", "acquire", "release", "abort"),
      which: fc.nat(20),
      caller: fc.constantFrom(ALICE, BOB, { ...CAROL, maxRunning: 1 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 0, max: 6 }),
        fc.boolean(),
        fc.array(step, { maxLength: 50 }),
        async (maxRunning, maxQueued, isShared, steps) => {
          const admission = new Admission({ maxRunning, maxStarting: 1, maxQueued });
          admission.isShared = isShared;
          const of = (name: string): CallerStatus =>
            admission.callers().find((caller) => caller.name === name) ?? { name, running: 0, queued: 0 };
          const held: SemaphorePermit[] = [];
          const waiting = new Set<AbortController>();
          for (const { action, caller, which } of steps) {
            if (action === "acquire") {
              const { queued, running } = of(caller.name);
              const free = maxRunning - admission.running - (isShared && maxRunning > 1 && running > 0 ? 1 : 0);
              const places = maxQueued - admission.queued;
              const mustWait = free <= 0 || queued > 0 || running >= (caller.maxRunning ?? Infinity);
              const mustRefuse = mustWait && (places <= 0 || (isShared && queued >= places));
              const controller = sharedController();
              waiting.add(controller);
              let refused = false;
              try {
                void admission.acquire(caller, controller.signal).then(
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
            assert.ok(of("carol").running <= 1);
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
