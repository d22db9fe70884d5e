import assert from "node:assert/strict";

import { closest } from "../../../src/lib/similar.ts";

const KNOWN = ["command", "args", "env", "timeoutMs", "enabled", "disabled", "url"];

describe("similar: the word that was meant", () => {
  for (const [word, meant] of [
    ["Command", "command"],
    ["COMMAND", "command"],
    ["timeout_ms", "timeoutMs"],
    ["timeout-ms", "timeoutMs"],
    ["comand", "command"],
    ["cmomand", "command"],
    ["enable", "enabled"],
    ["disable", "disabled"],
    ["arg", "args"],
    ["uri", "url"],
    ["envs", "env"],
    ["env", "env"],
  ] as const) {
    it(`${word} is ${meant}`, () => {
      assert.equal(closest(word, KNOWN), meant);
    });
  }

  it("is none for a word of its own, for none, and for a long one", () => {
    for (const word of ["description", "icon", "e", "", "x".repeat(100_000)]) assert.equal(closest(word, KNOWN), undefined);
  });

  it("is the closest of several", () => {
    assert.equal(closest("recal_memory", ["recall_memories", "recall_memory"]), "recall_memory");
  });
});
