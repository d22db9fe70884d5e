/**
 * Mocha's spec reporter, and as the last line the totals alone: `12 passed, 0 failed`, with `, 1 skipped` where tests are pending.
 *
 * What the tests leave running (a socket, a timer, a child) would keep mocha from ending. That counts as one more failure.
 */

import Mocha from "mocha";

const END_WITHIN_MS = 15_000;

export default class SpecWithTotals extends Mocha.reporters.Spec {
  override done(failures: number, exit: (failures: number) => void): void {
    const { passes, pending } = this.stats;
    const totals = (failed: number): string => `${passes} passed, ${failed} failed${pending > 0 ? `, ${pending} skipped` : ""}\n`;
    process.stdout.write(totals(failures), () => exit(failures));
    // The timer itself keeps nothing alive.
    setTimeout(() => {
      const left = process.getActiveResourcesInfo().filter((name) => name !== "TTYWrap");
      process.stderr.write(`\nThe tests are done, but left running: ${left.join(", ")}\n\n`);
      process.stdout.write(totals(failures + 1), () => {
        exit(failures + 1);
        // eslint-disable-next-line no-restricted-properties -- nothing else ends it
        process.exit(1);
      });
    }, END_WITHIN_MS).unref();
  }
}
