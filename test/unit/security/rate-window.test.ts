import assert from "node:assert/strict";

import fc from "fast-check";

import { RateWindow } from "../../../src/security/rate-window.ts";
import type { RateDecision } from "../../../src/security/rate-window.ts";

const MINUTE_MS = 60_000;

class Clock {
  time = 1000;
  readonly now = (): number => this.time;
}

/** Takes a place and sends at once. */
function send(window: RateWindow, party: string): RateDecision {
  const decision = window.reserve(party);
  if ("reservation" in decision) decision.reservation.sent();
  return decision;
}
const isSent = (decision: RateDecision): boolean => "reservation" in decision;
const sendMany = (window: RateWindow, party: string, count: number): number =>
  Array.from({ length: count }, () => send(window, party)).filter(isSent).length;

describe("rate-window: the calls of a minute", () => {
  it("are as many as the limit says for one who is alone, and not one more", () => {
    const clock = new Clock();
    const window = new RateWindow(100, clock.now);
    assert.equal(sendMany(window, "a", 150), 100);
    assert.equal(window.used, 100);
  });

  it("are those of the last sixty seconds, to the millisecond, not of a minute of the clock", () => {
    const clock = new Clock();
    const window = new RateWindow(100, clock.now);
    assert.equal(sendMany(window, "a", 60), 60);
    clock.time += 30_000;
    assert.equal(sendMany(window, "a", 60), 40);
    clock.time += 29_999;
    assert.deepEqual(send(window, "a"), { retryAfterMs: 1 });
    clock.time += 1;
    assert.equal(sendMany(window, "a", 100), 60);
    assert.deepEqual(send(window, "a"), { retryAfterMs: 30_000 });
  });

  it("count from when they are sent; what is reserved and not sent takes a place, and gives it back", () => {
    const clock = new Clock();
    const window = new RateWindow(2, clock.now);
    const first = window.reserve("a");
    const second = window.reserve("a");
    assert.ok("reservation" in first && "reservation" in second);
    assert.deepEqual(window.reserve("b"), { retryAfterMs: MINUTE_MS });
    clock.time += 50_000;
    first.reservation.sent();
    second.reservation.release();
    second.reservation.sent();
    clock.time += 20_000;
    assert.equal(window.used, 1, "it was sent twenty seconds ago");
    first.reservation.release();
    assert.equal(window.used, 1);
  });

  it("are never more than the limit in any sixty seconds, whoever calls and whenever", () => {
    const step = fc.record({
      party: fc.constantFrom("a", "b", "c"),
      afterMs: fc.oneof(fc.constant(0), fc.nat(2000), fc.nat(40_000)),
      what: fc.constantFrom("send", "send", "send", "reserve", "send reserved", "release"),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.array(step, { maxLength: 120 }), (limit, steps) => {
        const clock = new Clock();
        const window = new RateWindow(limit, clock.now);
        const sent: number[] = [];
        const held: Extract<RateDecision, { reservation: unknown }>[] = [];
        for (const { afterMs, party, what } of steps) {
          clock.time += afterMs;
          if (what === "release") held.shift()?.reservation.release();
          else if (what === "send reserved") {
            const one = held.shift();
            one?.reservation.sent();
            if (one !== undefined) sent.push(clock.time);
          } else {
            const decision = window.reserve(party);
            if (!("reservation" in decision)) assert.ok(decision.retryAfterMs > 0 && decision.retryAfterMs <= MINUTE_MS);
            else if (what === "reserve") held.push(decision);
            else {
              decision.reservation.sent();
              sent.push(clock.time);
            }
          }
          assert.ok(sent.filter((at) => at > clock.time - MINUTE_MS).length + held.length <= limit);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("rate-window: several who call", () => {
  it("each get their part, though one asks all the time", () => {
    const clock = new Clock();
    const window = new RateWindow(10, clock.now);
    assert.equal(sendMany(window, "greedy", 10), 10);
    assert.ok(!isSent(send(window, "single")));
    let single = 0;
    let greedy = 0;
    for (let ms = 0; ms < 3 * MINUTE_MS; ms += 100) {
      clock.time += 100;
      greedy += sendMany(window, "greedy", 5);
      if (ms % 5000 === 0) single += sendMany(window, "single", 1);
    }
    assert.ok(single >= 10, `${single} of the one, ${greedy} of the other`);
    assert.ok(greedy >= 10, `${single} of the one, ${greedy} of the other`);
  });

  it("are let in when they were told to come back, however many others ask meanwhile", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 30 }), (limit, crowd) => {
        const clock = new Clock();
        const window = new RateWindow(limit, clock.now);
        const greedy = Array.from({ length: crowd }, (_, index) => `greedy-${index}`);
        sendMany(window, "greedy-0", limit);
        let decision = send(window, "single");
        for (let round = 0; !isSent(decision); round += 1) {
          assert.ok(round < 3, "it waited for three minutes");
          const until = clock.time + (decision as { retryAfterMs: number }).retryAfterMs;
          while (clock.time < until) {
            clock.time = Math.min(until, clock.time + 250);
            for (const party of greedy) sendMany(window, party, 3);
          }
          decision = send(window, "single");
        }
      }),
      { numRuns: 50 },
    );
  });

  it("leave all to the one who stays", () => {
    const clock = new Clock();
    const window = new RateWindow(10, clock.now);
    sendMany(window, "a", 10);
    assert.ok(!isSent(send(window, "b")));
    clock.time += MINUTE_MS;
    assert.equal(sendMany(window, "a", 10), 5, "half is kept for b, who asked");
    window.forget("b");
    assert.equal(sendMany(window, "a", 10), 5);
    clock.time += MINUTE_MS;
    assert.ok(isSent(send(window, "b")));
    assert.equal(sendMany(window, "a", 10), 9);
  });

  it("lose a claim that they do not come for", () => {
    const clock = new Clock();
    const window = new RateWindow(10, clock.now);
    sendMany(window, "a", 10);
    assert.ok(!isSent(send(window, "b")));
    clock.time += 2 * MINUTE_MS;
    assert.equal(sendMany(window, "a", 10), 10);
  });

  it("cannot fill the memory with claims", () => {
    const clock = new Clock();
    const window = new RateWindow(1, clock.now);
    sendMany(window, "a", 1);
    const began = performance.now();
    for (let index = 0; index < 50_000; index += 1) send(window, `party-${index}`);
    assert.ok(performance.now() - began < 5000);
  });
});
