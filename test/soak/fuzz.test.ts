/** The long run of each fuzz target: a million cases together, about ten minutes on two cores. `FUZZ_SEED` repeats one. */

import assert from "node:assert/strict";

import { closeHttpTarget, INPUT_TARGETS } from "../fuzz/input-targets.ts";
import { fuzz, seedOf } from "../fuzz/target.ts";
import { closeConnectionTarget, WIRE_TARGETS } from "../fuzz/wire-targets.ts";

const TIME_LIMIT_MS = 120_000;

describe("Soak: fuzz", () => {
  const seed = seedOf();
  let total = 0;
  after(closeHttpTarget);
  after(closeConnectionTarget);

  for (const target of [...WIRE_TARGETS, ...INPUT_TARGETS]) {
    it(target.name, async function () {
      const beganAt = performance.now();
      const cases = await fuzz(target, { runs: target.longRuns, seed, timeLimitMs: TIME_LIMIT_MS });
      const seconds = (performance.now() - beganAt) / 1000;
      total += cases;
      process.stdout.write(
        `    ${target.name}: ${cases} cases in ${seconds.toFixed(0)} s, ${(cases / seconds).toFixed(0)} a second, seed ${seed}\n`,
      );
      assert.ok(cases > 0);
    });
  }

  it("comes to a million cases, where the machine is quick enough", () => {
    process.stdout.write(`    ${total} cases together\n`);
    assert.ok(total > 100_000);
  });
});
