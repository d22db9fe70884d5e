import assert from "node:assert/strict";

import fc from "fast-check";

import { prefers } from "../../../src/http/negotiation.ts";

describe("negotiation: Prefer", () => {
  for (const header of [
    "respond-async",
    "Respond-ASYNC",
    " respond-async ",
    "respond-async, wait=10",
    "wait=10,respond-async",
    ", ,respond-async,,",
    'respond-async=""',
    "respond-async ; foo",
    'foo; a="b, c", respond-async; x="\\""',
    'foo="a\\"b",respond-async',
    "return = minimal\t,\trespond-async",
  ]) {
    it(`${header} wants an answer at once`, () => {
      assert.equal(prefers(header, "respond-async"), true);
    });
  }

  for (const header of [
    undefined,
    "",
    ",",
    "respond-asynchronous",
    "x-respond-async",
    "respond-async=1",
    "respond-async=no; x",
    'foo="respond-async"',
    'foo="a, respond-async"',
    'foo="a\\", respond-async"',
    "foo; respond-async",
    'foo="never closed, respond-async',
    "(respond-async)",
    "respond async",
  ]) {
    it(`${header ?? "no header"} does not`, () => {
      assert.equal(prefers(header, "respond-async"), false);
    });
  }

  it("in several headers is one list", () => {
    assert.equal(prefers(["wait=5", "respond-async"], "respond-async"), true);
  });

  it("of any text is read in time in proportion to it", () => {
    const part = fc.constantFrom('"', "\\", ",", ";", "=", " ", "a", "respond-async", "\t", '=""');
    fc.assert(
      fc.property(fc.array(part, { maxLength: 60 }), (parts) => {
        const text = parts.join("");
        const beganAt = performance.now();
        prefers(text.repeat(Math.ceil(16_000 / (text.length + 1))), "respond-async");
        assert.ok(performance.now() - beganAt < 200);
      }),
      { numRuns: 500 },
    );
  });
});
