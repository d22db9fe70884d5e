import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { StopSource } from "../../../src/lib/stop-source.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

describe("stop-source: one signal, several causes", () => {
  it("aborts with the reason of the first cause", async () => {
    const stop = new StopSource().abortAfter(5, () => new Error("late"));
    stop.abort("first");
    await sleep(20);
    assert.equal(stop.signal.reason, "first");
    stop.close();
  });

  it("aborts after its time, and not before", async () => {
    const reason = new Error("over");
    const stop = new StopSource().abortAfter(20, () => reason);
    assert.equal(stop.signal.aborted, false);
    await sleep(40);
    assert.equal(stop.signal.reason, reason);
  });

  it("follows its parents, also one that has aborted before", () => {
    const parent = new AbortController();
    const other = new AbortController();
    const stop = new StopSource().follow(other.signal).follow(parent.signal);
    parent.abort("parent");
    assert.equal(stop.signal.reason, "parent");
    assert.equal(new StopSource().follow(parent.signal).signal.reason, "parent");
  });

  it("never aborts once it is closed", async () => {
    const parent = new AbortController();
    const stop = new StopSource().follow(parent.signal).abortAfter(5, () => new Error("over"));
    stop.close();
    stop.close();
    parent.abort();
    await sleep(20);
    assert.equal(stop.signal.aborted, false);
  });

  it("aborts although nobody holds it or its causes but who listens", async () => {
    const reasons: unknown[] = [];
    (() => {
      const { signal } = new StopSource().follow(new AbortController().signal).abortAfter(60, () => new Error("over"));
      signal.addEventListener("abort", () => reasons.push(signal.reason));
    })();
    for (let round = 0; round < 3; round += 1) {
      await sleep(5);
      collectGarbage();
    }
    await sleep(80);
    assert.equal(reasons.length, 1);
  });
});
