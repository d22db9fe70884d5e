/** Each fuzz target: its kept corpus, then a short run with new inputs. The long run is test/soak/fuzz.test.ts. */

import { closeHttpTarget, INPUT_TARGETS } from "./input-targets.ts";
import { corpusOf, fuzz, seedOf } from "./target.ts";
import { closeConnectionTarget, WIRE_TARGETS } from "./wire-targets.ts";

const SHORT_RUNS = 1000;
const TIME_LIMIT_MS = 700;

describe("Fuzz", () => {
  const seed = seedOf();
  after(closeHttpTarget);
  after(closeConnectionTarget);

  for (const target of [...WIRE_TARGETS, ...INPUT_TARGETS]) {
    describe(target.name, () => {
      for (const { input, reason } of corpusOf(target.name)) it(`stands ${reason}`, async () => target.check(input));

      it("stands new inputs", async () => {
        await fuzz(target, { runs: target.shortRuns ?? SHORT_RUNS, seed, timeLimitMs: TIME_LIMIT_MS });
      });
    });
  }
});
