/** Waiting for what has no event. */

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

/** Resolves once the condition holds; fails when it does not within five seconds. */
export async function eventually(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!condition()) {
    if (performance.now() > deadline) assert.fail(`never happened: ${what}`);
    await sleep(2);
  }
}
