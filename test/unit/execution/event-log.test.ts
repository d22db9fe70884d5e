import assert from "node:assert/strict";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import fc from "fast-check";

import type { Execution } from "../../../src/domain/execution.ts";
import { EventLog } from "../../../src/execution/event-log.ts";
import type { ExecutionEvent, OutputStream } from "../../../src/execution/event-log.ts";
import { describeUnderWay } from "../../../src/execution/execution-store.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const NEVER = new AbortController().signal;

const endOf = (log: EventLog): Execution => ({
  ...describeUnderWay({ id: "exe_1", runtime: "node", owner: "a", createdAtMs: 0, status: "running", execution: undefined }),
  status: "completed",
  stdout: log.text("stdout"),
  stderr: log.text("stderr"),
});

const allOf = (log: EventLog): ExecutionEvent[] => Array.from({ length: log.lastId }, (_, index) => log.get(index + 1)!);

/** Whether a promise is settled by now. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  void promise.then(() => (settled = true));
  await new Promise((resolve) => setImmediate(resolve));
  return settled;
}

describe("event-log: events", () => {
  it("are numbered from 1 in the order in which they came, and stay the same when the execution has ended", () => {
    const print = fc.tuple(fc.constantFrom<OutputStream>("stdout", "stderr"), fc.string({ unit: "binary", maxLength: 30 }));
    fc.assert(
      fc.property(fc.array(print, { maxLength: 40 }), (prints) => {
        const log = new EventLog();
        log.started("exe_1", "node");
        for (const [stream, text] of prints) log.printed(stream, text);
        const before = allOf(log);
        const shown = prints.filter(([, text]) => text !== "").map(([type, text]) => ({ type, data: { text } }));
        assert.deepEqual(before, [{ type: "started", data: { id: "exe_1", runtime: "node" } }, ...shown]);
        const execution = endOf(log);
        assert.equal(execution.stdout, prints.map(([stream, text]) => (stream === "stdout" ? text : "")).join(""));
        log.finished(execution);
        assert.deepEqual(allOf(log), [...before, { type: "finished", data: execution }]);
        assert.equal(log.execution, execution);
        for (const id of [-1, 0, log.lastId + 1, Number.NaN]) assert.equal(log.get(id), undefined);
      }),
    );
  });

  it("that say nothing are none", () => {
    const log = new EventLog();
    log.printed("stdout", "");
    assert.equal(log.lastId, 0);
  });

  it("hold their text in memory once: in the events while it runs, in the result afterwards", async function () {
    this.timeout(20_000);
    const used = async (): Promise<number> => {
      await new Promise((resolve) => setImmediate(resolve));
      collectGarbage();
      return process.memoryUsage().heapUsed;
    };
    const before = await used();
    const log = new EventLog();
    for (let count = 0; count < 1000; count += 1) log.printed("stdout", Buffer.alloc(16_384, "abcdefgh"[count % 8]).toString());
    log.finished(endOf(log));
    const grownMiB = ((await used()) - before) / 2 ** 20;
    assert.equal(log.text("stdout").length, 16_384_000);
    assert.ok(grownMiB < 20, `${grownMiB.toFixed(1)} MiB for 15.6 MiB of text`);
  });
});

describe("event-log: who waits", () => {
  it("for more is woken by the next event, at once where there is one, or by the signal", async () => {
    const log = new EventLog();
    const gone = new AbortController();
    const waits = [log.more(0, NEVER), log.more(0, gone.signal), log.more(1, NEVER)];
    assert.deepEqual(await Promise.all(waits.map(isSettled)), [false, false, false]);
    gone.abort();
    assert.deepEqual(await Promise.all(waits.map(isSettled)), [false, true, false]);
    log.started("exe_1", "node");
    assert.ok(await isSettled(waits[0]!));
    assert.ok(await isSettled(log.more(0, NEVER)));
    assert.ok(await isSettled(log.more(5, AbortSignal.abort())));
  });

  it("for the end is not woken by what is printed", async () => {
    const log = new EventLog();
    const end = log.end(NEVER);
    log.printed("stdout", "x");
    assert.equal(await isSettled(end), false);
    log.finished(endOf(log));
    assert.ok(await isSettled(end));
    assert.ok(await isSettled(log.end(NEVER)));
  });
});

describe("event-log: who reads", () => {
  it("is known until the last has left, once", () => {
    const log = new EventLog();
    const left: string[] = [];
    const [one, two] = [log.read(), log.read()];
    log.onUnread(() => left.push("unread"));
    one.close();
    one.close();
    assert.deepEqual([log.isRead, left], [true, []]);
    two.close();
    assert.deepEqual([log.isRead, left], [false, ["unread"]]);
  });

  it("can be made to leave", () => {
    const log = new EventLog();
    const readings = [log.read(), log.read()];
    log.cutOff();
    assert.deepEqual(
      readings.map(({ cutOff }) => cutOff.aborted),
      [true, true],
    );
    assert.equal(log.isRead, false);
  });
});
