import assert from "node:assert/strict";

import { isExecutionId, newExecutionId, newInstanceId, randomId } from "../../../src/domain/ids.ts";

describe("ids: identifiers", () => {
  it("are of the length asked for, in letters and digits that any name may hold", () => {
    for (const length of [1, 2, 12, 20, 100]) assert.match(randomId(length), new RegExp(`^[0-9a-z]{${length}}$`));
    assert.match(newInstanceId(), /^ins_[0-9a-z]{12}$/);
  });

  it("do not repeat, and favour no character", () => {
    const ids = Array.from({ length: 2000 }, newExecutionId);
    assert.equal(new Set(ids).size, ids.length);
    const counts = new Map<string, number>();
    for (const character of ids.join("").replaceAll("exe_", "")) counts.set(character, (counts.get(character) ?? 0) + 1);
    assert.equal(counts.size, 36);
    // 40,000 characters: 1111 of each, give or take 33; ten times that is out of the question.
    for (const [character, count] of counts) assert.ok(Math.abs(count - 40_000 / 36) < 330, `${character}: ${count}`);
  });

  it("of an execution are told from other text", () => {
    assert.ok(isExecutionId(newExecutionId()));
    const id = newExecutionId();
    for (const text of ["", "exe_", id.slice(1), `${id}x`, id.toUpperCase(), `${id}\n`, `../${id}`, newInstanceId()])
      assert.ok(!isExecutionId(text), text);
  });
});
