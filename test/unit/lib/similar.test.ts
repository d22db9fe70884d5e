import assert from "node:assert/strict";

import { alike, closest } from "../../../src/lib/similar.ts";

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

describe("similar: words that are alike", () => {
  const TOOLS = ["store_memory", "recall_memory", "recall", "delete_memory", "check_database_health"];

  for (const [word, words] of [
    ["recal", ["recall", "recall_memory"]],
    ["storeMemory", ["store_memory"]],
    ["memory", ["store_memory", "recall_memory", "delete_memory"]],
    ["stroe_memory", ["store_memory"]],
    ["xyz", []],
    ["", []],
  ] as const) {
    it(`to ${JSON.stringify(word)} are ${words.join(", ") || "none"}`, () => {
      assert.deepEqual(alike(word, TOOLS, 3), words);
    });
  }

  it("are looked for in a bounded time", () => {
    const began = performance.now();
    alike(
      "a".repeat(100_000),
      Array.from({ length: 100_000 }, (_, index) => `${"a".repeat(60)}b${index}`),
      3,
    );
    assert.ok(performance.now() - began < 1000);
  });
});
