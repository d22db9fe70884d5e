import assert from "node:assert/strict";

import fc from "fast-check";

import { exceededCap } from "../../../src/lib/json-shape.ts";

const depthOf = (value: unknown): number =>
  typeof value === "object" && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depthOf)) : 0;

/** Each object and list, the separators between what is in it, and a colon for each field. */
function partsOf(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  const items: unknown[] = Object.values(value);
  return (
    1 +
    Math.max(0, items.length - 1) +
    (Array.isArray(value) ? 0 : items.length) +
    items.reduce((sum: number, item) => sum + partsOf(item), 0)
  );
}

describe("json-shape: of a text that is not parsed yet", () => {
  it("is that of the value, whatever its strings hold", () => {
    const strings = fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("[[[", '"', "\\", '\\"[', "{}{", "]", ",,,", ":", "∢⑛"));
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
        const bytes = Buffer.from(JSON.stringify(json, null, indent));
        const caps = { depth: depthOf(json), parts: partsOf(json) };
        assert.equal(exceededCap(bytes, caps), undefined);
        if (caps.depth > 0) assert.equal(exceededCap(bytes, { ...caps, depth: caps.depth - 1 }), "depth");
        if (caps.parts > 0) assert.equal(exceededCap(bytes, { ...caps, parts: caps.parts - 1 }), "parts");
      }),
    );
  });

  it("of a text that is no JSON has an end", () => {
    for (const text of ["", '"', '"\\', "]]]]", "{", "\\"])
      assert.equal(exceededCap(Buffer.from(text), { depth: 1, parts: 1 }), undefined, text);
  });
});
