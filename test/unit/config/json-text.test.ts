import assert from "node:assert/strict";

import fc from "fast-check";

import { parseJsonText } from "../../../src/config/json-text.ts";

const valueOf = (text: string): unknown => {
  const parsed = parseJsonText(text);
  assert.ok(parsed.ok, JSON.stringify(parsed));
  return parsed.value;
};

/** The problems as `line:column: message`. */
const problemsOf = (text: string): string[] => {
  const parsed = parseJsonText(text);
  assert.ok(!parsed.ok, `it was accepted: ${text}`);
  return parsed.problems.map(({ column, line, message }) => `${line}:${column}: ${message}`);
};

describe("json-text: what it takes", () => {
  it("comments of both kinds, trailing commas, and a byte order mark", () => {
    assert.deepEqual(valueOf('\uFEFF// first\n{"a": [1, 2,], /* "a": 2 */ "b": "// no comment", }\n// last'), {
      a: [1, 2],
      b: "// no comment",
    });
  });

  it("any JSON, with the value that JSON.parse gives", () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 8 }), fc.integer({ min: 0, max: 3 }), (json, spaces) => {
        const text = JSON.stringify(JSON.parse(json), undefined, spaces);
        fc.pre(!text.includes("__proto__"));
        assert.deepEqual(valueOf(text), JSON.parse(text));
      }),
    );
  });

  it("the same key in two objects, and the names of an object's own methods", () => {
    assert.deepEqual(valueOf('{"a": {"x": 1}, "b": [{"x": 2}, {"x": 3}], "x": 4, "constructor": 5, "toString": 6}'), {
      a: { x: 1 },
      b: [{ x: 2 }, { x: 3 }],
      x: 4,
      constructor: 5,
      toString: 6,
    });
  });
});

describe("json-text: what it refuses, with line, column and what was expected", () => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ["nothing", "", /^1:1: expected a value$/],
    ["only a comment", "// a\n", /^2:1: expected a value$/],
    ["no comma", '{\n  "a": 1\n  "b": 2\n}', /^3:3: expected "," or the end of the list or object, found "b"$/],
    ["no colon", '{"a" 1}', /^1:6: expected ":" after the key, found 1$/],
    ["no value", '{"a": }', /^1:7: expected a value, found }$/],
    ["an open object", '{"a": 1', /^1:8: expected "," or "}"$/],
    ["an open list", "[1", /^1:3: expected "," or "]"$/],
    ["a key without quotes", "{a: 1}", /^1:2: expected a key or a value as JSON writes it: text goes in double quotes, found a$/],
    ["single quotes", "{'a': 1}", /^1:2: .*double quotes, found 'a'$/],
    ["text over two lines", '{"a": "x\ny"}', /^1:7: expected a closing quote on the same line$/],
    ["a word", '{"a": yes}', /^1:7: .*found yes$/],
    ["more after the end", "{} {}", /^1:4: expected nothing more/],
    ["two commas", "[1,,2]", /^1:4: expected a value, found ,$/],
    ["a comment without end", '{"a": 1} /* x', /^1:10: expected "\*\/": the comment has no end$/],
    ["a wrong escape", '["\\x"]', /^1:2: expected one of /],
    ["a raw tab in text", '["\t"]', /^1:2: a control character/],
    ["deep nesting", `{"a": ${"[".repeat(100_000)}`, /^1:70: lists and objects are nested more than 64 levels deep$/],
    ["a huge file", `"${"x".repeat(5 * 2 ** 20)}"`, /^1:1: the file has more than 4194304 characters$/],
  ];
  for (const [title, text, message] of cases) {
    it(title, () => {
      const [problem = "", ...more] = problemsOf(text);
      assert.match(problem, message);
      assert.deepEqual(more, [], "one problem, and not what follows from it");
    });
  }

  it("a key that is there twice, however it is written, each with the line of the first", () => {
    assert.deepEqual(problemsOf('{\n"a": {"b": 1, "\\u0062": 2},\n"a": 3,\n"a": 4}'), [
      '2:15: the key "a.b" is there twice, first on line 2; only one would count',
      '3:1: the key "a" is there twice, first on line 2; only one would count',
      '4:1: the key "a" is there twice, first on line 2; only one would count',
    ]);
  });

  it("a key __proto__, at any depth and however it is written", () => {
    assert.deepEqual(problemsOf('{"runtimes": {"__proto__": {"a": 1}, "n": [{"\\u005f_proto__": []}]}}'), [
      '1:15: the key "runtimes.__proto__" is not allowed',
      '1:45: the key "runtimes.n.0.__proto__" is not allowed',
    ]);
    assert.equal(({} as { a?: unknown }).a, undefined);
  });

  it("whatever JSON.parse refuses, but for comments and trailing commas; and never throws", () => {
    const pieces = ["{", "}", "[", "]", ",", ":", '"', "\\", "1", "-", ".", "e", "tru", "true", "null", " ", "\n", "\u0000", "x"];
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 12 }), (parts) => {
        const text = parts.join("");
        const parsed = parseJsonText(text);
        if (!parsed.ok) return;
        let plain = text;
        // The alphabet has no comments, so a trailing comma is all that may be more than JSON.
        for (let before = ""; before !== plain;) {
          before = plain;
          plain = plain.replace(/,(\s*[\]}])/g, "$1");
        }
        assert.deepEqual(parsed.value, JSON.parse(plain));
      }),
      { numRuns: 2000 },
    );
  });
});
