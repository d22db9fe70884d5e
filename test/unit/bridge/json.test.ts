import assert from "node:assert/strict";

import { parseUntrustedJson } from "../../../src/bridge/json.ts";

describe("json: from an untrusted peer", () => {
  it("is parsed up to the cap and refused above it", () => {
    const nested = (depth: number): Buffer => Buffer.from(`${"[".repeat(depth)}${"]".repeat(depth)}`);
    assert.deepEqual(parseUntrustedJson(nested(3), 3), [[[]]]);
    assert.throws(() => parseUntrustedJson(nested(4), 3), new SyntaxError("the JSON is nested more than 3 levels deep"));
  });

  it("is refused when it is nested deeper than any stack, or is none", () => {
    assert.throws(() => parseUntrustedJson(Buffer.alloc(1_000_000, "["), 128), /nested more than 128 levels deep/);
    assert.throws(() => parseUntrustedJson(Buffer.from('{"a":'.repeat(500_000)), 128), /nested more than 128 levels deep/);
    for (const text of ["", "{", "nope", "{'a':1}", "[1,]", '"\\'])
      assert.throws(() => parseUntrustedJson(Buffer.from(text), 128), SyntaxError, text);
  });
});
