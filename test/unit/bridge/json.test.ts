import assert from "node:assert/strict";

import fc from "fast-check";

import { jsonDepth, parseUntrustedJson } from "../../../src/bridge/json.ts";

const depthOf = (value: unknown): number =>
  typeof value === "object" && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depthOf)) : 0;

describe("json: from an untrusted peer", () => {
  it("has the nesting of the value, whatever its strings hold", () => {
    const strings = fc.oneof(fc.string(), fc.constantFrom("[[[", '"', "\\", '\\"[', "{}{", "]"));
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 5 },
        strings,
        fc.double(),
        fc.boolean(),
        fc.constant(null),
        fc.array(tie("value"), { maxLength: 3 }),
        fc.dictionary(strings, tie("value"), { maxKeys: 3 }),
      ),
    }));
    fc.assert(
      fc.property(value, fc.nat(2), (json, indent) => {
        assert.equal(jsonDepth(JSON.stringify(json, null, indent)), depthOf(json));
      }),
    );
  });

  it("is parsed up to the cap and refused above it", () => {
    const nested = (depth: number): Buffer => Buffer.from(`${"[".repeat(depth)}${"]".repeat(depth)}`);
    assert.deepEqual(parseUntrustedJson(nested(3), 3), [[[]]]);
    assert.throws(() => parseUntrustedJson(nested(4), 3), new SyntaxError("the JSON is nested 4 levels deep, over the cap of 3"));
  });

  it("is refused when it is nested deeper than any stack, or is none", () => {
    assert.throws(() => parseUntrustedJson(Buffer.alloc(1_000_000, "["), 128), /nested 1000000 levels deep/);
    assert.throws(() => parseUntrustedJson(Buffer.from('{"a":'.repeat(500_000)), 128), /nested 500000 levels deep/);
    for (const text of ["", "{", "nope", "{'a':1}", "[1,]", '"\\'])
      assert.throws(() => parseUntrustedJson(Buffer.from(text), 128), SyntaxError, text);
  });
});
