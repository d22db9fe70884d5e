import assert from "node:assert/strict";

import fc from "fast-check";

import { findArgumentProblems } from "../../../src/security/argument-check.ts";
import { showPath } from "../../../src/security/json-path.ts";

const check = (schema: unknown, value: unknown): string[] =>
  findArgumentProblems(schema, value).map(({ path, problem }) => `${showPath(path)} ${problem}`);
const of = (x: unknown, more: object = {}): object => ({ type: "object", properties: { x }, ...more });

/** Schema of x, values that fit, and values that do not, with what is said of them. */
const TABLE: readonly (readonly [string, unknown, readonly unknown[], readonly (readonly [unknown, string])[]])[] = [
  ["string", { type: "string" }, ["", "a"], [[5, "x must be string, and is 5"]]],
  ["number", { type: "number" }, [0, -1.5], [["1", 'x must be number, and is "1"']]],
  ["integer", { type: "integer" }, [0, 3], [[1.5, "x must be integer, and is 1.5"]]],
  ["boolean", { type: "boolean" }, [false, true], [[0, "x must be boolean, and is 0"]]],
  ["null", { type: "null" }, [null], [[0, "x must be null, and is 0"]]],
  ["array", { type: "array" }, [[], [1]], [[{}, "x must be array, and is an object"]]],
  ["object", { type: "object" }, [{}], [[[1, 2], "x must be object, and is a list of 2"]]],
  ["several types", { type: ["string", "null"] }, ["a", null], [[1, "x must be string or null, and is 1"]]],
  ["nullable", { type: "string", nullable: true, enum: ["a"] }, ["a", null], [[1, "x must be string, and is 1"]]],
  ["enum", { enum: ["a", 1, { b: [1] }] }, ["a", 1, { b: [1] }], [["c", 'x must be one of "a", 1, an object, and is "c"']]],
  ["const", { const: { a: [1, null] } }, [{ a: [1, null] }], [[{ a: [1] }, "x must be an object, and is an object"]]],
  [
    "bounds",
    { minimum: 0, maximum: 1 },
    [0, 1, 0.7, "text"],
    [
      [-0.1, "x must be at least 0, and is -0.1"],
      [1.5, "x must be at most 1, and is 1.5"],
    ],
  ],
  [
    "exclusive bounds",
    { exclusiveMinimum: 0, exclusiveMaximum: 1 },
    [0.5],
    [
      [0, "x must be above 0, and is 0"],
      [1, "x must be below 1, and is 1"],
    ],
  ],
  ["bounds of draft 4", { minimum: 0, exclusiveMinimum: true }, [0.1], [[0, "x must be above 0, and is 0"]]],
  ["multiples", { multipleOf: 0.1 }, [0, 0.3, 1.1], [[0.35, "x must be a multiple of 0.1, and is 0.35"]]],
  [
    "length of a text",
    { minLength: 2, maxLength: 3 },
    ["ab", "abc", "😀😀😀"],
    [
      ["a", "x must have at least 2 characters, and has 1"],
      ["😀", "x must have at least 2 characters, and has 2"],
      ["abcd", "x must have at most 3 characters, and has 4"],
    ],
  ],
  [
    "length of a list",
    { minItems: 1, maxItems: 2 },
    [[1], [1, 2]],
    [
      [[], "x must have at least 1 items, and has 0"],
      [[1, 2, 3], "x must have at most 2 items, and has 3"],
    ],
  ],
  ["items", { items: { type: "string" } }, [[], ["a"]], [[["a", 2], "x[1] must be string, and is 2"]]],
  [
    "first items",
    { prefixItems: [{ type: "string" }], items: { type: "number" } },
    [["a", 1, 2], []],
    [
      [[1], "x[0] must be string, and is 1"],
      [["a", "b"], 'x[1] must be number, and is "b"'],
    ],
  ],
  ["items of older drafts", { items: [{ type: "string" }], additionalItems: false }, [["a"]], [[["a", 1], "x[1] is not allowed"]]],
  ["required", { required: ["a", "toString"] }, [{ a: 1, toString: 1 }], [[{ a: 1 }, "x.toString is missing"]]],
  [
    "no others",
    { properties: { importance: {} }, additionalProperties: false },
    [{}, { importance: 1 }],
    [
      [{ importence: 1 }, 'x.importence is not a parameter; did you mean "importance"?'],
      [{ constructor: 1 }, "x.constructor is not a parameter"],
    ],
  ],
  ["others of a kind", { additionalProperties: { type: "string" } }, [{ a: "b" }], [[{ "a b": 1 }, 'x["a b"] must be string, and is 1']]],
  ["patterns of names are not run", { patternProperties: { "^a": {} }, additionalProperties: false }, [{ b: 1 }], []],
  ["patterns are not run", { pattern: "^b$", format: "uri" }, ["a"], []],
  ["all", { allOf: [{ type: "number" }, { minimum: 1 }] }, [1], [[0, "x must be at least 1, and is 0"]]],
  [
    "any",
    { anyOf: [{ type: "string" }, { type: "number" }] },
    ["a", 1],
    [[true, "x must be string, and is true; or it must be number, and is true"]],
  ],
  [
    "any: the form that was meant",
    { anyOf: [{ type: "string" }, { type: "object", properties: { a: { type: "number" } } }] },
    [{ a: 1 }],
    [[{ a: "b" }, 'x.a must be number, and is "b"']],
  ],
  [
    "one of",
    { oneOf: [{ type: "number" }, { type: "integer" }] },
    [1, 1.5],
    [["a", 'x must be number, and is "a"; or it must be integer, and is "a"']],
  ],
  ["never", false, [], [[1, "x is not allowed"]]],
  ["always", true, [1], []],
];

describe("argument-check", () => {
  for (const [title, schema, good, bad] of TABLE) {
    it(title, () => {
      for (const value of good) assert.deepEqual(check(of(schema), { x: value }), [], JSON.stringify(value));
      for (const [value, problem] of bad) assert.deepEqual(check(of(schema), { x: value }), [problem]);
    });
  }

  it("follows references within the schema, also in circles", () => {
    const schema = of(
      { $ref: "#/$defs/node" },
      { $defs: { node: { type: "object", properties: { "next/~": { $ref: "#/$defs/node" }, v: { type: "number" } } } } },
    );
    assert.deepEqual(check(schema, { x: { "next/~": { "next/~": { v: 1 } } } }), []);
    assert.deepEqual(check(schema, { x: { "next/~": { v: "1" } } }), ['x["next/~"].v must be number, and is "1"']);
    const odd = of({ $ref: "#/properties/y%20z" }, { properties: { x: { $ref: "#/properties/y~1z" }, "y/z": { type: "null" } } });
    assert.deepEqual(check(odd, { x: 1 }), ["x must be null, and is 1"]);
    for (const ref of ["#/nothing", "other.json", "https://x/y", "#/constructor", "#/__proto__/x", "#%zz", "#/%zz"])
      assert.deepEqual(check(of({ $ref: ref }), { x: 1 }), [], ref);
  });

  it("names a few of many problems, and what came in a few characters", () => {
    const many = Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`k${index}`, 1]));
    assert.equal(check({ additionalProperties: { type: "string" } }, many).length, 4);
    const [problem = ""] = check(of({ type: "number" }), { x: `\u001b[31m${"a".repeat(1_000_000)}` });
    assert.ok(problem.length < 200 && !/\p{Cc}/u.test(problem), problem);
    const [other = ""] = check({ additionalProperties: false }, { [`\u202e${"k".repeat(10_000)}`]: 1 });
    assert.ok(other.length < 200 && !/\p{Cf}/u.test(other), other);
  });

  it("takes a schema that is nonsense as one that says nothing", () => {
    const nonsense = [
      null,
      5,
      "x",
      [],
      { type: 5 },
      { type: ["x"] },
      { type: [] },
      { properties: 5 },
      { required: "x" },
      { enum: 5 },
      { enum: [] },
    ];
    const more = [
      { items: 5 },
      { anyOf: [] },
      { anyOf: 5 },
      { $ref: 5 },
      { minimum: "1" },
      { multipleOf: 0 },
      { maxLength: null },
      { allOf: {} },
    ];
    for (const schema of [...nonsense, ...more]) {
      assert.deepEqual(check(schema, { a: 1 }), [], JSON.stringify(schema));
      for (const value of [1, "a", ["a"], { b: 1 }]) assert.deepEqual(check(of(schema), { x: value }), [], JSON.stringify(schema));
    }
  });

  it("agrees with itself: what it refuses, a schema without that keyword takes; and it never throws", () => {
    const { schema } = fc.letrec<{ schema: unknown }>((tie) => ({
      schema: fc.oneof(
        { maxDepth: 3 },
        fc.jsonValue({ maxDepth: 2 }),
        fc.record(
          {
            type: fc.constantFrom("string", "number", "object", "array", ["string", "null"], "nonsense"),
            enum: fc.array(fc.jsonValue({ maxDepth: 1 })),
            properties: fc.dictionary(fc.constantFrom("a", "b", "__proto__", "constructor"), tie("schema")),
            required: fc.array(fc.constantFrom("a", "b", "__proto__")),
            additionalProperties: tie("schema"),
            items: fc.oneof(tie("schema"), fc.array(tie("schema"), { maxLength: 3 })),
            anyOf: fc.array(tie("schema"), { maxLength: 3 }),
            allOf: fc.array(tie("schema"), { maxLength: 3 }),
            $ref: fc.constantFrom("#", "#/properties/a", "#/anyOf/0", "#/x"),
            minimum: fc.oneof(fc.integer(), fc.string()),
            maxLength: fc.integer(),
          },
          { requiredKeys: [] },
        ),
      ),
    }));
    fc.assert(
      fc.property(schema, fc.jsonValue(), (foreign, value) => {
        const problems = findArgumentProblems(foreign, value);
        assert.ok(problems.length <= 4);
        assert.deepEqual(findArgumentProblems({ anyOf: [foreign, true] }, value), []);
      }),
      { numRuns: 400 },
    );
  });
});

/** The check's own bound is a hundred thousand steps; a schema that gets past it runs for hours. */
const BOUND_MS = 2000;

describe("argument-check: schemas that are made to take time", () => {
  const doubling = (keyword: string): object => ({
    $defs: Object.fromEntries(
      Array.from({ length: 60 }, (_, index) => [
        `d${index}`,
        index === 59 ? { type: "string" } : { [keyword]: [{ $ref: `#/$defs/d${index + 1}` }, { $ref: `#/$defs/d${index + 1}` }] },
      ]),
    ),
    properties: { x: { $ref: "#/$defs/d0" } },
  });
  const long = "a".repeat(1_000_000);
  for (const [title, schema, value] of [
    ["references that double, anyOf", doubling("anyOf"), { x: 1 }],
    ["references that double, allOf", doubling("allOf"), { x: "fits" }],
    ["references that double, oneOf", doubling("oneOf"), { x: 1 }],
    ["a reference to itself", { properties: { x: { $ref: "#/properties/x" } } }, { x: 1 }],
    ["two that lead to each other", { $ref: "#/$defs/a", $defs: { a: { $ref: "#/$defs/b" }, b: { allOf: [{ $ref: "#/$defs/a" }] } } }, {}],
    ["a pattern that is never done", of({ type: "string", pattern: "^(a+)+$" }), { x: `${"a".repeat(60)}!` }],
    ["a pattern of names that is never done", { patternProperties: { "^(a+)+$": {} } }, { [`${"a".repeat(60)}!`]: 1 }],
    [
      "many long texts counted",
      { properties: { x: { anyOf: Array.from({ length: 5000 }, () => ({ maxLength: 999_999 })) } } },
      { x: long },
    ],
    ["long lists compared", of({ enum: Array.from({ length: 5000 }, () => [...Array(500).keys(), "x"]) }), { x: [...Array(501).keys()] }],
    [
      "large items against many forms",
      { additionalProperties: { items: { anyOf: Array.from({ length: 1000 }, () => ({ type: "null" })) } } },
      { x: Array.from({ length: 100_000 }, () => 1) },
    ],
    [
      "many names that are alike",
      {
        properties: Object.fromEntries(Array.from({ length: 20_000 }, (_, index) => [`${"a".repeat(60)}${index}`, {}])),
        additionalProperties: false,
      },
      Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`${"a".repeat(59)}b${index}`, 1])),
    ],
    ["many that are missing", { required: Array.from({ length: 1_000_000 }, (_, index) => `k${index}`) }, {}],
  ] as const) {
    it(title, () => {
      const began = performance.now();
      findArgumentProblems(schema, value);
      const tookMs = performance.now() - began;
      assert.ok(tookMs < BOUND_MS, `${tookMs.toFixed(0)} ms`);
    });
  }
});
