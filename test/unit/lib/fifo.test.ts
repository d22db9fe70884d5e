import assert from "node:assert/strict";

import fc from "fast-check";

import { Fifo } from "../../../src/lib/fifo.ts";
import type { FifoEntry } from "../../../src/lib/fifo.ts";

const drain = <T>(fifo: Fifo<T>): T[] => {
  const values: T[] = [];
  while (fifo.size > 0) values.push(fifo.shift()!);
  return values;
};

describe("fifo: a queue that can be left at any place", () => {
  it("gives the oldest first, and nothing when it is empty", () => {
    const fifo = new Fifo<string>();
    assert.equal(fifo.shift(), undefined);
    for (const value of ["a", "b", "c"]) fifo.push(value);
    assert.deepEqual([fifo.size, drain(fifo), fifo.size, fifo.shift()], [3, ["a", "b", "c"], 0, undefined]);
  });

  it("does what a list does, in whatever order values come and go", () => {
    const step = fc.record({ action: fc.constantFrom("push", "push", "shift", "remove"), which: fc.nat(30) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const fifo = new Fifo<number>();
        const entries: FifoEntry<number>[] = [];
        let list: number[] = [];
        for (const [index, { action, which }] of steps.entries()) {
          if (action === "push") {
            entries.push(fifo.push(index));
            list.push(index);
          } else if (action === "shift") assert.equal(fifo.shift(), list.shift());
          else {
            // Also entries that have left already: they are left alone.
            const entry = entries[which % Math.max(1, entries.length)];
            if (entry !== undefined) fifo.remove(entry);
            list = list.filter((value) => value !== entry?.value);
          }
          assert.equal(fifo.size, list.length);
        }
        assert.deepEqual(drain(fifo), list);
      }),
    );
  });
});
