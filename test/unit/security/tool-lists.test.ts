import assert from "node:assert/strict";

import fc from "fast-check";

import { matchesGlob } from "../../../src/domain/tool-pattern.ts";
import { findListRefusal } from "../../../src/security/tool-lists.ts";
import type { ListedTool, ToolLists } from "../../../src/security/tool-lists.ts";

const DELETE: ListedTool = {
  server: "auto-mem",
  names: { servers: ["auto-mem", "auto_mem"], tools: ["delete-memory", "delete_memory", "forget"] },
  readOnly: false,
};
const ALL = { allow: ["*"], deny: [] };

describe("tool-lists: a tool", () => {
  for (const [title, lists, setting] of [
    ["passes where nothing is said", {}, undefined],
    ["is denied by its own name", { server: { allow: ["*"], deny: ["delete-memory"] } }, "mcpServers.auto-mem.tools.deny"],
    ["is denied as the function that it is", { server: { allow: ["*"], deny: ["delete_memory"] } }, "mcpServers.auto-mem.tools.deny"],
    ["is denied by an alias", { server: { allow: ["*"], deny: ["forget"] } }, "mcpServers.auto-mem.tools.deny"],
    ["is denied by a star", { server: { allow: ["*"], deny: ["delete*"] } }, "mcpServers.auto-mem.tools.deny"],
    ["is denied though it is allowed by name", { server: { allow: ["delete-memory"], deny: ["*"] } }, "mcpServers.auto-mem.tools.deny"],
    ["must be in the list of allowed ones", { server: { allow: ["recall*"], deny: [] } }, "mcpServers.auto-mem.tools.allow"],
    ["is allowed by any of its names", { server: { allow: ["forget"], deny: [] } }, undefined],
    ["is not in an empty list", { server: { allow: [], deny: [] } }, "mcpServers.auto-mem.tools.allow"],
    ["must only read where the list says so", { server: { allow: "readOnly", deny: [] } }, "mcpServers.auto-mem.tools.allow"],
    ["must be in the key's list", { allowed: [["serena.*"], undefined] }, "the key's tools"],
    ["must be in the request's list", { allowed: [undefined, ["auto-mem.recall"]] }, "the request's tools"],
    ["must be in both", { allowed: [["auto-mem.*"], []] }, "the request's tools"],
    ["is found by the server's namespace", { allowed: [["auto_mem.forget"], ["*.delete-memory"]] }, undefined],
  ] as const satisfies readonly (readonly [string, Partial<ToolLists>, string | undefined])[]) {
    it(title, () => {
      const refusal = findListRefusal(DELETE, { server: ALL, allowed: [], ...lists });
      assert.equal(refusal?.setting, setting);
      if (refusal !== undefined) assert.ok(refusal.problem.length > 10);
    });
  }

  it("passes a list of those that only read when its server says that it does, or has not told yet", () => {
    const lists = { server: { allow: "readOnly", deny: [] } as const, allowed: [] };
    assert.equal(findListRefusal({ ...DELETE, readOnly: true }, lists), undefined);
    assert.equal(findListRefusal({ ...DELETE, readOnly: undefined }, lists), undefined);
    assert.ok(findListRefusal({ ...DELETE, readOnly: true }, { ...lists, server: { allow: "readOnly", deny: ["forget"] } }) !== undefined);
  });

  it("is matched by patterns as a regular expression with .* for each star would", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "b", ".", "-"), maxLength: 8 });
    const pattern = fc.string({ unit: fc.constantFrom("a", "b", ".", "-", "*"), maxLength: 6 });
    fc.assert(
      fc.property(pattern, text, (glob, name) => {
        const model = new RegExp(`^${glob.replace(/[.-]/g, "\\$&").replaceAll("*", ".*")}$`);
        assert.equal(matchesGlob(glob, name), model.test(name));
      }),
      { numRuns: 5000 },
    );
  });
});
