import assert from "node:assert/strict";

import fc from "fast-check";

import { ArgumentsError, nameArguments, parameterOrder } from "../../../src/mcp/arguments.ts";
import type { ParameterSource } from "../../../src/mcp/arguments.ts";
import { signatureOf } from "../../../src/mcp/signatures.ts";

/** Each value as the wire has it: undefined is an empty list. */
const positional = (...values: unknown[]): { positional: unknown[][] } => ({
  positional: values.map((value) => (value === undefined ? [] : [value])),
});
const STORE: ParameterSource = {
  order: ["content", "importance", "tags"],
  schema: {
    type: "object",
    properties: {
      content: { type: "string" },
      memories: { type: "array" },
      tags: { type: "array", items: { type: "string" } },
      importance: { type: "number" },
      metadata: { type: "object" },
    },
  },
};
const RECALL: ParameterSource = {
  order: ["query", "limit"],
  schema: { type: "object", properties: { query: { type: "string" }, limit: {} } },
};
const BY_SCHEMA: ParameterSource = {
  order: undefined,
  schema: { type: "object", properties: { a: {}, b: { type: "string" }, c: {} }, required: ["c", "a"] },
};

describe("arguments: positional ones", () => {
  it("are named as the integration plan calls them", () => {
    assert.deepEqual(nameArguments(positional("Code execution test", 0.7, ["testing"]), STORE), {
      content: "Code execution test",
      importance: 0.7,
      tags: ["testing"],
    });
    assert.deepEqual(nameArguments(positional("sandbox test", 5), RECALL), { query: "sandbox test", limit: 5 });
  });

  it("keep every value that is one: 0, false, empty text, null", () => {
    assert.deepEqual(nameArguments(positional("", 0, []), STORE), { content: "", importance: 0, tags: [] });
    assert.deepEqual(nameArguments(positional(false, null), RECALL), { query: false, limit: null });
  });

  it("leave out what is undefined, wherever it stands", () => {
    assert.deepEqual(nameArguments(positional("x", undefined, ["t"]), STORE), { content: "x", tags: ["t"] });
    assert.deepEqual(nameArguments(positional(undefined, undefined), STORE), {});
    assert.deepEqual(nameArguments(positional("q", 5, undefined, undefined), RECALL), { query: "q", limit: 5 });
  });

  it("go by the schema where the configuration says nothing: required ones in their order, then the others", () => {
    assert.deepEqual(parameterOrder(BY_SCHEMA), ["c", "a", "b"]);
    assert.deepEqual(nameArguments(positional(1, 2, "3"), BY_SCHEMA), { c: 1, a: 2, b: "3" });
  });

  it("are refused when there are too many, with the order", () => {
    assert.throws(() => nameArguments(positional("a", "b", "c"), RECALL), {
      name: "ArgumentsError",
      message: "takes 2 arguments by position (query, limit), and got 3; pass an object with their names for others",
    });
    assert.throws(() => nameArguments(positional("a"), { order: undefined, schema: { type: "object" } }), /takes no arguments by position/);
    assert.throws(() => nameArguments(positional("a"), { order: undefined, schema: undefined }), ArgumentsError);
  });
});

describe("arguments: a single object", () => {
  const OBJECT_FIRST: ParameterSource = {
    order: undefined,
    schema: {
      type: "object",
      properties: { filter: { type: "object", required: ["field"] }, limit: { type: "number" } },
      required: ["filter"],
    },
  };

  it("is the arguments by name when all keys are parameters", () => {
    assert.deepEqual(nameArguments(positional({ query: "q", limit: 0 }), RECALL), { query: "q", limit: 0 });
    assert.deepEqual(nameArguments(positional({}), RECALL), {});
    assert.deepEqual(nameArguments(positional({ filter: { field: 1 } }), OBJECT_FIRST), { filter: { field: 1 } });
  });

  it("is the first argument when that takes such an object and the keys are others", () => {
    assert.deepEqual(nameArguments(positional({ field: "x" }), OBJECT_FIRST), { filter: { field: "x" } });
  });

  it("is by name where it fits neither, so that the check can say what is wrong", () => {
    assert.deepEqual(nameArguments(positional({ querry: "q" }), RECALL), { querry: "q" });
    assert.deepEqual(nameArguments(positional({ other: "x" }), OBJECT_FIRST), { other: "x" });
    assert.deepEqual(nameArguments(positional({ anything: 1 }), { order: undefined, schema: undefined }), { anything: 1 });
  });

  it("is one of several when it is not alone, and a list is no object", () => {
    assert.deepEqual(nameArguments(positional({ query: "q" }, 5), RECALL), { query: { query: "q" }, limit: 5 });
    assert.deepEqual(nameArguments(positional(["query"]), RECALL), { query: ["query"] });
    assert.deepEqual(nameArguments(positional(null), RECALL), { query: null });
  });
});

describe("arguments: hostile names", () => {
  it("become keys of their own, and change no prototype", () => {
    const source = { order: ["__proto__", "constructor"], schema: undefined };
    const named = nameArguments(positional("a", "b"), source);
    assert.deepEqual(Object.keys(named), ["__proto__", "constructor"]);
    assert.equal(Object.getPrototypeOf(named), Object.prototype);
    assert.equal(({} as { polluted?: unknown }).polluted, undefined);
  });

  it("never break the naming, whatever schema and values are", () => {
    const schema = fc.option(fc.dictionary(fc.constantFrom("type", "properties", "required", "x"), fc.jsonValue()), { nil: undefined });
    fc.assert(
      fc.property(schema, fc.array(fc.array(fc.jsonValue(), { maxLength: 1 }), { maxLength: 4 }), (foreign, values) => {
        try {
          nameArguments({ positional: values }, { order: undefined, schema: foreign });
        } catch (error) {
          assert.ok(error instanceof ArgumentsError, String(error));
        }
        assert.equal(typeof signatureOf("tool", { order: undefined, schema: foreign }), "string");
      }),
      { numRuns: 1000 },
    );
  });
});

describe("signatures", () => {
  it("show the parameters in the order of positions, with types", () => {
    assert.equal(signatureOf("store_memory", STORE), "store_memory(content?: string, importance?: number, tags?: string[])");
    assert.equal(signatureOf("f", BY_SCHEMA), "f(c: unknown, a: unknown, b?: string)");
  });

  for (const [schema, text] of [
    [{ type: "integer" }, "number"],
    [{ type: ["string", "null"] }, "string | null"],
    [{ enum: ["a", 'b"', 1] }, '"a" | "b\\"" | 1'],
    [{ const: "x" }, '"x"'],
    [{ anyOf: [{ type: "string" }, { type: "array", items: { type: ["number", "null"] } }] }, "string | (number | null)[]"],
    [{ type: "array" }, "unknown[]"],
    [{ $ref: "#/$defs/x" }, "unknown"],
    [{ enum: Array.from({ length: 100 }, (_, index) => index) }, "0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | …"],
    ["nonsense", "unknown"],
  ] as const) {
    it(`write ${JSON.stringify(schema).slice(0, 60)} as ${text}`, () => {
      assert.equal(signatureOf("f", { order: undefined, schema: { properties: { x: schema }, required: ["x"] } }), `f(x: ${text})`);
    });
  }

  it("are one line of printable text, however hostile the names", () => {
    const properties = { "a\u001b[31m\n": { enum: ["\u202e\nx"] }, ["long".repeat(100)]: {} };
    const text = signatureOf("f\u0000", { order: undefined, schema: { properties } });
    assert.ok(!/[\p{Cc}\p{Cf}]/u.test(text), text);
    assert.ok(text.length < 300);
  });

  it("end somewhere", () => {
    const properties = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`p${index}`, {}]));
    assert.match(signatureOf("f", { order: undefined, schema: { properties } }), /p15\?: unknown, …\)$/);
  });
});
