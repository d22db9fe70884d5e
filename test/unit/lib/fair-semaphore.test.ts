import assert from "node:assert/strict";
import { setMaxListeners } from "node:events";

import fc from "fast-check";

import { FairSemaphore } from "../../../src/lib/fair-semaphore.ts";
import type { Party, SemaphorePermit } from "../../../src/lib/fair-semaphore.ts";

const NEVER = new AbortController().signal;
setMaxListeners(0, NEVER);
const A: Party = { name: "a" };
const B: Party = { name: "b" };
const C: Party = { name: "c" };
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("fair-semaphore: permits of one party", () => {
  it("are given up to their number, then waited for, first come first served", async () => {
    const semaphore = new FairSemaphore(2);
    const [first, second] = await Promise.all([semaphore.acquire(A, NEVER), semaphore.acquire(A, NEVER)]);
    const order: string[] = [];
    const third = semaphore.acquire(A, NEVER).then((permit) => (order.push("third"), permit));
    const fourth = semaphore.acquire(A, NEVER).then((permit) => (order.push("fourth"), permit));
    await settle();
    assert.deepEqual([semaphore.taken, semaphore.waiting, order], [2, 2, []]);
    first.release();
    second.release();
    (await third).release();
    (await fourth).release();
    assert.deepEqual([semaphore.taken, semaphore.waiting, order], [0, 0, ["third", "fourth"]]);
  });

  it("count once, however often they are given back", () => {
    const semaphore = new FairSemaphore(1);
    const permit = semaphore.tryAcquire(A)!;
    permit.release();
    permit.release();
    assert.equal(semaphore.taken, 0);
    assert.ok(semaphore.tryAcquire(A) !== undefined);
    assert.equal(semaphore.tryAcquire(A), undefined);
    permit.release();
    assert.equal(semaphore.tryAcquire(A), undefined, "a permit of the past releases nobody else's");
  });

  it("are not to be had past those who wait", async () => {
    const semaphore = new FairSemaphore(1);
    const held = semaphore.tryAcquire(A)!;
    const waiting = semaphore.acquire(A, NEVER);
    held.release();
    assert.equal(semaphore.tryAcquire(A), undefined);
    (await waiting).release();
  });

  it("are not waited for any longer once the signal is aborted", async () => {
    const semaphore = new FairSemaphore(1);
    const held = semaphore.tryAcquire(A)!;
    const controller = new AbortController();
    const waiting = semaphore.acquire(A, controller.signal);
    const reason = new Error("gone");
    controller.abort(reason);
    await assert.rejects(waiting, reason);
    assert.equal(semaphore.waiting, 0);
    held.release();
    assert.equal(semaphore.taken, 0);
  });

  it("are not given to a signal that is aborted already, even if one is free", async () => {
    const semaphore = new FairSemaphore(1);
    await assert.rejects(semaphore.acquire(A, AbortSignal.abort(new Error("gone"))), /gone/);
    assert.equal(semaphore.taken, 0);
  });

  it("stay with their holder when the signal is aborted later", async () => {
    const semaphore = new FairSemaphore(1);
    const controller = new AbortController();
    const permit = await semaphore.acquire(A, controller.signal);
    controller.abort();
    assert.equal(semaphore.taken, 1);
    permit.release();
    assert.equal(semaphore.taken, 0);
  });

  it("are neither lost nor doubled, whatever is acquired, released and aborted in whatever order", async () => {
    const step = fc.record({ action: fc.constantFrom("acquire", "acquire", "release", "abort", "wait"), which: fc.nat(20) });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 60 }), async (permits, steps) => {
        const semaphore = new FairSemaphore(permits);
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
            semaphore.acquire(A, controller.signal).then(
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

/** Who is served, in order, when permits are given back one after the other, the oldest first. */
async function orderOfService(semaphore: FairSemaphore, held: SemaphorePermit[], waiting: readonly Party[]): Promise<string[]> {
  const order: string[] = [];
  const waits = waiting.map((party) =>
    semaphore.acquire(party, NEVER).then((permit) => {
      order.push(party.name);
      held.push(permit);
    }),
  );
  for (const _ of waiting) {
    held.shift()?.release();
    await settle();
  }
  await Promise.all(waits);
  for (const permit of held) permit.release();
  return order;
}

const times = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make);
const hold = (semaphore: FairSemaphore, ...parties: Party[]): SemaphorePermit[] => parties.map((party) => semaphore.tryAcquire(party)!);

describe("fair-semaphore: permits of several parties", () => {
  it("go to the one that holds the fewest, not to the one that has asked most", async () => {
    const semaphore = new FairSemaphore(3);
    const held = hold(semaphore, A, A, A);
    // Of four that are given back B and C get one each before A gets another.
    assert.deepEqual(await orderOfService(semaphore, held, [A, A, A, A, B, C]), ["b", "c", "a", "a", "a", "a"]);
  });

  it("take turns where there is only one", async () => {
    const semaphore = new FairSemaphore(1);
    const held = hold(semaphore, A);
    assert.deepEqual(await orderOfService(semaphore, held, [A, A, A, B, B, C]), ["b", "c", "a", "b", "a", "a"]);
  });

  it("keep the turns of those who come with one request after the other", async () => {
    const semaphore = new FairSemaphore(1);
    const order: string[] = [];
    const again = async (party: Party): Promise<void> => {
      for (let round = 0; round < 4; round += 1) {
        const permit = await semaphore.acquire(party, NEVER);
        order.push(party.name);
        await settle();
        permit.release();
      }
    };
    const crowd = times(4, () => semaphore.acquire(C, NEVER).then((permit) => (order.push("c"), settle().then(() => permit.release()))));
    await Promise.all([...crowd, again(A), again(B)]);
    assert.equal(order.length, 12);
    for (let at = 0; at < 12; at += 3) assert.deepEqual(order.slice(at, at + 3).sort(), ["a", "b", "c"], order.join());
  });

  it("are never more for a party than its limit, and go past it to others", async () => {
    const semaphore = new FairSemaphore(4);
    const limited = { name: "a", limit: 2 };
    const held = hold(semaphore, limited, limited);
    assert.equal(semaphore.tryAcquire(limited), undefined);
    const waiting = semaphore.acquire(limited, NEVER);
    held.push(...hold(semaphore, B, B));
    assert.deepEqual(semaphore.statusOf("a"), { name: "a", taken: 2, waiting: 1 });
    held.pop()!.release();
    await settle();
    assert.deepEqual([semaphore.taken, semaphore.waiting], [3, 1], "one is free, and not for a");
    held.shift()!.release();
    held.push(await waiting);
    for (const permit of held) permit.release();
  });

  it("follow a limit that is changed by a later request", async () => {
    const semaphore = new FairSemaphore(4);
    const held = hold(semaphore, { name: "a", limit: 1 });
    const waiting = [semaphore.acquire({ name: "a", limit: 1 }, NEVER), semaphore.acquire({ name: "a", limit: 3 }, NEVER)];
    held.push(...(await Promise.all(waiting)));
    assert.equal(semaphore.tryAcquire({ name: "a", limit: 1 }), undefined);
    for (const permit of held.splice(0, 2)) permit.release();
    assert.equal(semaphore.tryAcquire({ name: "a", limit: 1 }), undefined);
    held.pop()!.release();
    semaphore.tryAcquire({ name: "a", limit: 1 })!.release();
  });

  it("are all for whoever comes, unless the last is kept", () => {
    const semaphore = new FairSemaphore(2);
    const held = hold(semaphore, A, A);
    assert.equal(semaphore.taken, 2);
    for (const permit of held) permit.release();
  });

  it("leave the last to one that holds none, where it is kept", async () => {
    const semaphore = new FairSemaphore(3);
    semaphore.keepsLast = true;
    const held = hold(semaphore, A, A);
    const crowd = semaphore.acquire(A, NEVER);
    await settle();
    assert.deepEqual([semaphore.taken, semaphore.waiting], [2, 1]);
    const single = semaphore.tryAcquire(B)!;
    assert.equal(semaphore.tryAcquire(C), undefined, "there is none left");
    held.shift()!.release();
    assert.deepEqual([semaphore.taken, semaphore.waiting], [2, 1], "the one that is free again is the last again");
    single.release();
    held.push(await crowd);
    semaphore.keepsLast = false;
    held.push(...hold(semaphore, A));
    for (const permit of held) permit.release();
    assert.deepEqual(semaphore.parties(), []);
  });

  it("are given out at once when the last is kept no longer", async () => {
    const semaphore = new FairSemaphore(2);
    semaphore.keepsLast = true;
    const [held] = hold(semaphore, A);
    const waiting = semaphore.acquire(A, NEVER);
    semaphore.keepsLast = false;
    (await waiting).release();
    held!.release();
  });

  it("keep nothing back where there is only one", () => {
    const semaphore = new FairSemaphore(1);
    semaphore.keepsLast = true;
    semaphore.tryAcquire(A)!.release();
  });

  it("are told by party, for those that have any or wait", async () => {
    const semaphore = new FairSemaphore(1);
    const [held] = hold(semaphore, A);
    const controller = new AbortController();
    const waiting = semaphore.acquire(B, controller.signal).catch(() => undefined);
    assert.deepEqual(semaphore.parties(), [
      { name: "a", taken: 1, waiting: 0 },
      { name: "b", taken: 0, waiting: 1 },
    ]);
    controller.abort();
    await waiting;
    held!.release();
    assert.deepEqual(semaphore.parties(), []);
  });
});

/** The rule in plain words, over lists: who gets a permit, if anybody. */
class Model {
  readonly permits: number;
  keepsLast = false;
  held: { id: number; name: string }[] = [];
  waiting: { id: number; name: string }[] = [];
  readonly limits = new Map<string, number>();
  readonly served = new Map<string, number>();
  readonly began = new Map<string, number>();
  turn = 0;

  constructor(permits: number) {
    this.permits = permits;
  }

  heldBy = (name: string): number => this.held.filter((one) => one.name === name).length;

  serve(): void {
    for (;;) {
      const free = this.permits - this.held.length;
      const [next] = [...new Set(this.waiting.map(({ name }) => name))]
        .filter((name) => this.heldBy(name) < this.limits.get(name)!)
        .filter((name) => free > (this.keepsLast && this.permits > 1 && this.heldBy(name) > 0 ? 1 : 0))
        .sort(
          (a, b) =>
            this.heldBy(a) - this.heldBy(b) ||
            (this.served.get(a) ?? 0) - (this.served.get(b) ?? 0) ||
            this.began.get(a)! - this.began.get(b)!,
        );
      if (next === undefined) break;
      const index = this.waiting.findIndex(({ name }) => name === next);
      this.held.push(...this.waiting.splice(index, 1));
      this.served.set(next, ++this.turn);
    }
    // Turns are remembered while anybody waits, and by those who hold one.
    if (this.waiting.length === 0) for (const name of this.served.keys()) if (this.heldBy(name) === 0) this.served.delete(name);
  }
}

describe("fair-semaphore: any order of events", () => {
  const step = fc.record({
    action: fc.constantFrom("acquire", "acquire", "acquire", "release", "release", "abort", "keep", "keep not"),
    which: fc.nat(20),
    party: fc.constantFrom("a", "b", "c", "d"),
    limit: fc.constantFrom(1, 2, 3, Infinity, Infinity, Infinity),
  });

  it("gives out what the plain rule does, never more than there are, and loses none", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 80 }), async (permits, steps) => {
        const semaphore = new FairSemaphore(permits);
        const model = new Model(permits);
        const held = new Map<number, SemaphorePermit>();
        const aborts = new Map<number, AbortController>();
        for (const [id, { action, limit, party, which }] of steps.entries()) {
          if (action === "acquire") {
            const controller = new AbortController();
            aborts.set(id, controller);
            semaphore.acquire({ name: party, limit }, controller.signal).then(
              (permit) => held.set(id, permit),
              () => undefined,
            );
            model.limits.set(party, limit);
            model.serve();
            if (!model.waiting.some(({ name }) => name === party)) model.began.set(party, ++model.turn);
            model.waiting.push({ id, name: party });
          } else if (action === "release") {
            const [one] = model.held.splice(which % Math.max(1, model.held.length), 1);
            if (one !== undefined) held.get(one.id)!.release();
            if (one !== undefined) held.delete(one.id);
          } else if (action === "abort") {
            const [one] = model.waiting.splice(which % Math.max(1, model.waiting.length), 1);
            if (one !== undefined) aborts.get(one.id)!.abort();
          } else {
            model.keepsLast = action === "keep";
            semaphore.keepsLast = model.keepsLast;
          }
          model.serve();
          await settle();
          assert.deepEqual([...held.keys()].sort(), model.held.map((one) => one.id).sort());
          assert.deepEqual([semaphore.taken, semaphore.waiting], [model.held.length, model.waiting.length]);
          assert.ok(semaphore.taken <= permits);
          const byParty = new Map(semaphore.parties().map(({ name, taken, waiting }) => [name, [taken, waiting]]));
          for (const name of ["a", "b", "c", "d"])
            assert.deepEqual(byParty.get(name) ?? [0, 0], [model.heldBy(name), model.waiting.filter((one) => one.name === name).length]);
        }
        for (const { id } of model.waiting) aborts.get(id)!.abort();
        for (const permit of held.values()) permit.release();
        await settle();
        assert.deepEqual([semaphore.taken, semaphore.waiting, semaphore.parties()], [0, 0, []]);
      }),
      { numRuns: 300 },
    );
  });

  it("lets nobody starve: who holds nothing is served before any other has been served twice", async () => {
    const names = fc.array(fc.constantFrom("a", "b", "c", "d", "e"), { minLength: 2, maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(names, async (asked) => {
        const semaphore = new FairSemaphore(1);
        const held = hold(semaphore, { name: "first" });
        const order = await orderOfService(
          semaphore,
          held,
          asked.map((name) => ({ name })),
        );
        for (const name of new Set(asked)) {
          const before = order.slice(0, order.indexOf(name));
          assert.equal(new Set(before).size, before.length, `${order.join("")} for ${name}`);
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe("fair-semaphore: a hundred thousand who wait", () => {
  const COUNT = 100_000;
  /** A second or two; work that grows with the square takes many times this. */
  const BOUND_MS = 20_000;

  for (const [title, partyOf] of [
    ["of one party", () => A],
    ["of as many parties", (index: number) => ({ name: String(index) })],
  ] as const) {
    it(`are served and leave in time: those ${title}`, async function () {
      this.timeout(60_000);
      const semaphore = new FairSemaphore(2);
      const held = hold(semaphore, B, C);
      const controllers = times(COUNT, () => new AbortController());
      let served = 0;
      const began = performance.now();
      const waits = controllers.map(({ signal }, index) =>
        semaphore.acquire(partyOf(index), signal).then(
          (permit) => {
            served += 1;
            permit.release();
          },
          () => undefined,
        ),
      );
      // A third of them leave, from all places of the queue.
      for (let index = 0; index < COUNT; index += 3) controllers[index]!.abort();
      for (const permit of held) permit.release();
      await Promise.all(waits);
      assert.equal(served, COUNT - Math.ceil(COUNT / 3));
      assert.deepEqual([semaphore.taken, semaphore.waiting], [0, 0]);
      const tookMs = performance.now() - began;
      assert.ok(tookMs < BOUND_MS, `${tookMs.toFixed(0)} ms`);
    });
  }
});
