import assert from "node:assert/strict";

import fc from "fast-check";

import { Ranking } from "../../../src/lib/ranking.ts";

interface Item {
  readonly id: number;
  rank: number;
}

describe("ranking: the first of items whose order changes", () => {
  it("is none when there is no item", () => {
    const ranking = new Ranking<number>((a, b) => a < b);
    assert.equal(ranking.first, undefined);
    ranking.remove(1);
    ranking.place(1);
    ranking.remove(1);
    assert.equal(ranking.first, undefined);
  });

  it("is the least, whatever comes, changes and goes", () => {
    const step = fc.record({ action: fc.constantFrom("place", "place", "remove", "take"), id: fc.nat(20), rank: fc.nat(50) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const isBefore = (a: Item, b: Item): boolean => (a.rank === b.rank ? a.id < b.id : a.rank < b.rank);
        const ranking = new Ranking<Item>(isBefore);
        const items = Array.from({ length: 21 }, (_, id): Item => ({ id, rank: 0 }));
        const present = new Set<Item>();
        for (const { action, id, rank } of steps) {
          const item = action === "take" ? ranking.first : items[id]!;
          if (item === undefined) continue;
          if (action === "place") {
            item.rank = rank;
            ranking.place(item);
            present.add(item);
          } else {
            ranking.remove(item);
            present.delete(item);
          }
          assert.equal(ranking.first, [...present].sort((a, b) => (isBefore(a, b) ? -1 : 1))[0]);
        }
      }),
      { numRuns: 300 },
    );
  });
});
