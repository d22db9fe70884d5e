import assert from "node:assert/strict";

import fc from "fast-check";

import { Semaphore } from "../../../src/lib/semaphore.ts";
import type { SemaphorePermit } from "../../../src/lib/semaphore.ts";

const NEVER = new AbortController().signal;
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("semaphore: permits", () => {
  it("are given up to their number, then waited for, first come first served", async () => {
    const semaphore = new Semaphore(2);
    const [first, second] = await Promise.all([semaphore.acquire(NEVER), semaphore.acquire(NEVER)]);
    const order: string[] = [];
    const third = semaphore.acquire(NEVER).then((permit) => (order.push("third"), permit));
    const fourth = semaphore.acquire(NEVER).then((permit) => (order.push("fourth"), permit));
    await settle();
    assert.deepEqual([semaphore.taken, semaphore.waiting, order], [2, 2, []]);
    first.release();
    second.release();
    (await third).release();
    (await fourth).release();
    assert.deepEqual([semaphore.taken, semaphore.waiting, order], [0, 0, ["third", "fourth"]]);
  });

  it("count once, however often they are given back", () => {
    const semaphore = new Semaphore(1);
    const permit = semaphore.tryAcquire()!;
    permit.release();
    permit.release();
    assert.equal(semaphore.taken, 0);
    assert.ok(semaphore.tryAcquire() !== undefined);
    assert.equal(semaphore.tryAcquire(), undefined);
    permit.release();
    assert.equal(semaphore.tryAcquire(), undefined, "a permit of the past releases nobody else's");
  });

  it("are not to be had past those who wait", async () => {
    const semaphore = new Semaphore(1);
    const held = semaphore.tryAcquire()!;
    const waiting = semaphore.acquire(NEVER);
    held.release();
    assert.equal(semaphore.tryAcquire(), undefined);
    (await waiting).release();
  });

  it("are not waited for any longer once the signal is aborted", async () => {
    const semaphore = new Semaphore(1);
    const held = semaphore.tryAcquire()!;
    const controller = new AbortController();
    const waiting = semaphore.acquire(controller.signal);
    const reason = new Error("gone");
    controller.abort(reason);
    await assert.rejects(waiting, reason);
    assert.equal(semaphore.waiting, 0);
    held.release();
    assert.equal(semaphore.taken, 0);
  });

  it("are not given to a signal that is aborted already, even if one is free", async () => {
    const semaphore = new Semaphore(1);
    await assert.rejects(semaphore.acquire(AbortSignal.abort(new Error("gone"))), /gone/);
    assert.equal(semaphore.taken, 0);
  });

  it("stay with their holder when the signal is aborted later", async () => {
    const semaphore = new Semaphore(1);
    const controller = new AbortController();
    const permit = await semaphore.acquire(controller.signal);
    controller.abort();
    assert.equal(semaphore.taken, 1);
    permit.release();
    assert.equal(semaphore.taken, 0);
  });

  it("are neither lost nor doubled, whatever is acquired, released and aborted in whatever order", async () => {
    const step = fc.record({ action: fc.constantFrom("acquire", "acquire", "release", "abort", "wait"), which: fc.nat(20) });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 60 }), async (permits, steps) => {
        const semaphore = new Semaphore(permits);
        const held: SemaphorePermit[] = [];
        const waiting = new Map<number, AbortController>();
        const granted: number[] = [];
        let next = 0;
        const check = (): void => {
          assert.ok(semaphore.taken <= permits, "never more than there are");
          assert.ok(semaphore.taken === permits || semaphore.waiting === 0, "nobody waits while one is free");
        };
        for (const { action, which } of steps) {
          if (action === "acquire") {
            const id = next++;
            const controller = new AbortController();
            waiting.set(id, controller);
            semaphore.acquire(controller.signal).then(
              (permit) => {
                waiting.delete(id);
                granted.push(id);
                held.push(permit);
              },
              () => waiting.delete(id),
            );
          } else if (action === "release") held.splice(which % Math.max(1, held.length), 1)[0]?.release();
          else if (action === "abort") [...waiting.values()][which % Math.max(1, waiting.size)]?.abort();
          else await settle();
          check();
        }
        await settle();
        assert.equal(semaphore.taken, held.length);
        assert.equal(semaphore.waiting, waiting.size);
        assert.deepEqual(
          granted,
          [...granted].sort((a, b) => a - b),
          "in the order of asking",
        );
        for (const controller of waiting.values()) controller.abort();
        for (const permit of held) permit.release();
        await settle();
        assert.deepEqual([semaphore.taken, semaphore.waiting], [0, 0]);
      }),
      { numRuns: 200 },
    );
  });
});
