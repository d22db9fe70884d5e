/** How a result becomes JSON. */

import assert from "node:assert/strict";

import fc from "fast-check";

import { ResultError } from "../../../sandbox-image/runner/result-place.ts";
import { serializeValue } from "../../../sandbox-image/runner/serialize.ts";

const describeError = (error: object): { name: string; message: string; stack: string } => {
  const { name, message } = error as Error;
  return { name, message, stack: "the stack" };
};

function serialize(value: unknown, limits: { maxBytes?: number } = {}): string {
  return serializeValue(value, { maxBytes: 1_000_000, describeError, ...limits });
}

const convert = (value: unknown): unknown => JSON.parse(serialize(value)) as unknown;

function refusal(value: unknown, limits: { maxBytes?: number } = {}): string {
  try {
    serialize(value, limits);
  } catch (error) {
    assert.ok(error instanceof ResultError, String(error));
    return error.message;
  }
  return assert.fail("it was not refused");
}

describe("Runner: the result as JSON", () => {
  it("is what JSON.stringify gives, for what JSON can carry", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
        assert.equal(serialize(value), JSON.stringify(value));
      }),
    );
  });

  it("is valid JSON, or refused with a message, for any value", () => {
    const anything = fc.anything({
      withBigInt: true,
      withBoxedValues: true,
      withDate: true,
      withMap: true,
      withSet: true,
      withNullPrototype: true,
      withObjectString: true,
      withSparseArray: true,
      withTypedArray: true,
    });
    fc.assert(
      fc.property(anything, (value) => {
        let text: string;
        try {
          text = serialize(value);
        } catch (error) {
          assert.ok(error instanceof ResultError);
          return;
        }
        JSON.parse(text);
      }),
      { numRuns: 1000 },
    );
  });

  class Point {
    readonly x = 1;
    readonly #hidden = 2;
    get sum(): number {
      return this.x + this.#hidden;
    }
  }

  const cases: [title: string, value: unknown, expected: unknown][] = [
    ["undefined", undefined, null],
    ["undefined as a property", { a: undefined }, { a: null }],
    ["NaN and infinities", [NaN, Infinity, -Infinity, -0], [null, null, null, 0]],
    ["a BigInt", 2n ** 70n, "1180591620717411303424"],
    ["a date", new Date(1e12), "2001-09-09T01:46:40.000Z"],
    ["an invalid date", new Date(NaN), null],
    ["a map with text keys", new Map([["a", new Map([["b", 1]])]]), { a: { b: 1 } }],
    ["an empty map", new Map(), {}],
    [
      "a map with other keys",
      new Map<unknown, unknown>([
        ["a", 1],
        [2, { b: 3n }],
      ]),
      [
        ["a", 1],
        [2, { b: "3" }],
      ],
    ],
    ["a set", new Set([1, new Set(["a"])]), [1, ["a"]]],
    ["a typed array", new Float32Array([1]), "AACAPw=="],
    ["a part of a buffer", Buffer.from("abcdef").subarray(1, 3), "YmM="],
    ["an array buffer and a view", [new ArrayBuffer(3), new DataView(new Uint8Array([9, 8]).buffer, 1)], ["AAAA", "CA=="]],
    ["a shared array buffer", new SharedArrayBuffer(1), "AA=="],
    ["an error", { error: new RangeError("no") }, { error: { name: "RangeError", message: "no", stack: "the stack" } }],
    [
      "regular expressions and URLs",
      [/a"b/g, new URL("https://e.org/ä"), new URLSearchParams("a=1")],
      ['/a"b/g', "https://e.org/%C3%A4", "a=1"],
    ],
    ["boxed primitives", [Object("s"), Object(1), Object(true), Object(1n), Object(Symbol("x"))], ["s", 1, true, "1", "Symbol(x)"]],
    [
      "functions",
      [
        function named() {
          return 1;
        },
        () => 1,
        Point,
      ],
      ["[Function named]", "[Function]", "[Function Point]"],
    ],
    ["symbols", [Symbol("a"), Symbol.iterator], ["Symbol(a)", "Symbol(Symbol.iterator)"]],
    ["a promise", [Promise.resolve(1)], ["[Promise]"]],
    ["a class instance", new Point(), { x: 1 }],
    ["an object without a prototype", Object.assign(Object.create(null) as object, { a: 1 }), { a: 1 }],
    // eslint-disable-next-line no-sparse-arrays -- what is tested
    ["a sparse array", [1, , 3], [1, null, 3]],
    [
      "toJSON, with the key",
      { a: { toJSON: (key: string) => `under ${key}` }, b: [{ toJSON: (key: string) => key }] },
      { a: "under a", b: ["0"] },
    ],
    ["a toJSON that gives what has one", { toJSON: () => ({ toJSON: () => 1, b: 2 }) }, { toJSON: "[Function toJSON]", b: 2 }],
    ["unpaired surrogates", "\ud800", "\ud800"],
    ["the same object twice", ((shared) => [shared, shared])({ a: 1 }), [{ a: 1 }, { a: 1 }]],
    ["a proxy", new Proxy([1, { a: 2 }], {}), [1, { a: 2 }]],
  ];
  for (const [title, value, expected] of cases) {
    it(`converts ${title}`, () => assert.deepEqual(convert(value), expected));
  }

  it("keeps a key __proto__ as data", () => {
    const value = JSON.parse('{"__proto__": {"a": 1}, "b": 2}') as object;
    assert.equal(serialize(value), '{"__proto__":{"a":1},"b":2}');
  });

  it("marks what contains itself", () => {
    const object: Record<string, unknown> = { name: "o" };
    object["list"] = [object, new Map([["o", object]]), new Set([object])];
    object["own"] = { toJSON: () => object };
    assert.deepEqual(convert(object), { name: "o", list: ["[Circular]", { o: "[Circular]" }, ["[Circular]"]], own: "[Circular]" });
  });

  it("ends for a toJSON and a getter that never do", () => {
    const endless = { toJSON: () => ({ next: endless }) };
    const growing = {
      get next(): unknown {
        return Object.create(growing, { next: { get: () => growing.next, enumerable: true } }) as unknown;
      },
    };
    assert.match(serialize(endless), /Circular/);
    assert.match(refusal(growing), /nested more than 100 levels|call stack/);
  });

  it("names the place of what cannot be read", () => {
    const unreadable = {
      "a b": [{ é: new Map([["k", Object.defineProperty({}, "x", { enumerable: true, get: () => fail("broken") })]]) }],
    };
    assert.equal(refusal(unreadable), 'The value at result["a b"][0].é.k.x cannot be read: broken');
    assert.equal(refusal({ a: { toJSON: () => fail("no JSON") } }), "The value at result.a cannot be read: no JSON");
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    assert.match(refusal([proxy]), /^The value at result\[0\] cannot be read: /);
  });

  it("names the place of what cannot even be asked what it is", () => {
    const { proxy, revoke } = Proxy.revocable([], {});
    revoke();
    assert.match(refusal({ a: { toJSON: () => proxy } }), /^The value at result\.a cannot be read: .*revoked/);
    const nameless = new Proxy({}, { getPrototypeOf: () => fail("nobody") });
    assert.equal(refusal([nameless]), "The value at result[0] cannot be read: nobody");
  });

  it("takes what throws anything", () => {
    const thrown = new Proxy({}, { has: () => fail("trap"), get: () => fail("trap") });
    assert.match(refusal({ toJSON: () => fail(thrown) }), /something was thrown that cannot be shown/);
    assert.equal(refusal({ toJSON: () => fail(null) }), "The value at result cannot be read: null");
  });

  it("refuses what is nested too deeply, and names the place", () => {
    const nested = (levels: number): unknown => (levels === 0 ? 1 : [nested(levels - 1)]);
    assert.equal(convert(nested(100)) !== null, true);
    assert.match(refusal(nested(101)), /^The result is nested more than 100 levels deep, at result\[0\]\[0\]/);
  });

  it("counts the bytes of the text exactly", () => {
    for (const value of ["aé文😀", { é: [1, "x"] }, "a".repeat(40_000), Buffer.alloc(100)]) {
      const bytes = Buffer.byteLength(serialize(value));
      assert.equal(serialize(value, { maxBytes: bytes }).length > 0, true);
      assert.match(
        refusal(value, { maxBytes: bytes - 1 }),
        new RegExp(`too large: at least \\d+ bytes.*limit is ${bytes - 1}\\b.*outputFiles`),
      );
    }
  });

  it("stops early for huge structures", () => {
    const startedAt = performance.now();
    let read = 0;
    const endless = new Proxy([], { get: (_, key) => (key === "length" ? 2 ** 50 : key === "toJSON" ? undefined : ++read) });
    refusal(endless);
    refusal(new Array(2 ** 32 - 1));
    refusal("x".repeat(2 ** 28));
    refusal(new Uint8Array(2 ** 28));
    const shared: unknown[] = Array.from({ length: 40 }).reduce<unknown[]>((below) => [below, below, below], []);
    refusal(shared);
    assert.ok(read < 1_000_000);
    assert.ok(performance.now() - startedAt < 5000);
  });
});

function fail(thrown: unknown): never {
  throw typeof thrown === "string" ? new Error(thrown) : thrown;
}
