import assert from "node:assert/strict";

import { listsServer, listsTool, matchesGlob, toolPatternsSchema } from "../../../src/domain/tool-pattern.ts";

const RECALL = { servers: ["auto.mem", "auto_mem"], tools: ["recall_memory", "recall"] };

describe("tool-pattern", () => {
  it("finds a tool by any of its names and its server's, dots and all", () => {
    for (const pattern of ["*", "auto.mem.recall_memory", "auto_mem.recall", "auto.mem.*", "*.recall", "auto_mem.*_memory", "auto.mem.r*l"])
      assert.ok(listsTool(["other.x", pattern], RECALL), pattern);
    for (const pattern of ["auto.recall", "auto.mem.Recall", "auto.mem.recal", "recall_memory.*", "*.memory", "mem.recall", "auto*.recall"])
      assert.ok(!listsTool([pattern], RECALL), pattern);
    assert.deepEqual([listsTool(undefined, RECALL), listsTool([], RECALL)], [true, false]);
  });

  it("tells whether a list names any tool of a server, though it is not known which it has", () => {
    for (const list of [undefined, ["*"], ["x.y", "auto.mem.nothing"], ["auto_mem.*"], ["*.search"]])
      assert.ok(listsServer(list, RECALL.servers), String(list));
    for (const list of [[], ["auto.*"], ["mem.recall"], ["auto.memory.x"]]) assert.ok(!listsServer(list, RECALL.servers), String(list));
  });

  it("matches in a time that a pattern of many stars cannot stretch", () => {
    const started = performance.now();
    assert.ok(!matchesGlob("*a".repeat(127), "a".repeat(100_000).concat("b")));
    assert.ok(performance.now() - started < 2000);
    assert.ok(matchesGlob("*a*b*", "xxaxxb"));
  });

  it("refuses what names no server, or is too long or too much", () => {
    for (const wrong of [
      ["recall"],
      [".x"],
      ["x."],
      [""],
      ["x.".padEnd(257, "y")],
      Array.from({ length: 257 }, (_, index) => `s.${index}`),
    ])
      assert.ok(!toolPatternsSchema.safeParse(wrong).success, String(wrong).slice(0, 40));
  });
});
