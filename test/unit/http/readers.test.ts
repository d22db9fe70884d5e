import assert from "node:assert/strict";

import { AppError } from "../../../src/domain/errors.ts";
import { Readers } from "../../../src/http/readers.ts";

/** What a refusal says. */
function refusal(enter: () => unknown): string {
  try {
    enter();
  } catch (error) {
    assert.ok(error instanceof AppError && error.code === "QUEUE_FULL" && error.retryAfterSeconds! > 0);
    return error.message;
  }
  return assert.fail("there was a place");
}

describe("readers: how many there can be", () => {
  it("is limited for an execution, a key and the service; a place that is given back is free", () => {
    const readers = new Readers();
    const leaves = Array.from({ length: 100 }, () => readers.enter("exe_0", "alice"));
    assert.match(
      refusal(() => readers.enter("exe_0", "bob")),
      /^100 readers of this execution /,
    );
    for (let count = 0; count < 300; count += 1) leaves.push(readers.enter(`exe_${1 + (count % 3)}`, "alice"));
    assert.match(
      refusal(() => readers.enter("exe_9", "alice")),
      /^400 readers of this key /,
    );
    for (let count = 0; count < 600; count += 1) leaves.push(readers.enter(`exe_${10 + (count % 10)}`, `key ${count % 2}`));
    assert.match(
      refusal(() => readers.enter("exe_99", "carol")),
      /^1000 readers of this service /,
    );
    const [first] = leaves;
    first!();
    first!();
    leaves[0] = readers.enter("exe_0", "alice");
    assert.match(
      refusal(() => readers.enter("exe_99", "carol")),
      /of this service/,
    );
    for (const leave of leaves) leave();
    for (let count = 0; count < 100; count += 1) readers.enter("exe_0", "alice");
  });
});
