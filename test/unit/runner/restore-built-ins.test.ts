/** Undoing what a program patched, so that the runner's own last words come out right. */

import assert from "node:assert/strict";

import { restoreBuiltIns } from "../../../sandbox-image/runner/restore-built-ins.ts";

type Patchable = Record<PropertyKey, unknown>;

describe("Runner: built-ins", () => {
  it("are as before, whatever was replaced, added or removed", () => {
    // eslint-disable-next-line @typescript-eslint/unbound-method -- compared, not called
    const builtIns = (): unknown[] => [JSON.stringify, Array.prototype.map, String.prototype.slice, Object.keys];
    const before = builtIns();
    const iterator = Array.prototype[Symbol.iterator];
    const broken = (): never => {
      throw new Error("patched");
    };
    const [object, array, text, bytes] = [Object.prototype, Array.prototype, String.prototype, Buffer.prototype] as unknown as Patchable[];
    try {
      Object.defineProperty(text, "slice", { get: broken, configurable: true });
      Object.assign(JSON, { stringify: broken });
      Object.assign(object!, { toJSON: () => "polluted", get: broken, value: 1 });
      Object.assign(array!, { map: broken, [Symbol.iterator]: broken, push: broken });
      Object.assign(bytes!, { toString: broken });
      delete (Object as unknown as Patchable)["keys"];
      Object.assign(globalThis, { Buffer: undefined });
    } finally {
      restoreBuiltIns();
    }
    assert.deepEqual(builtIns(), before);
    assert.equal(Array.prototype[Symbol.iterator], iterator);
    assert.deepEqual(
      Reflect.ownKeys({}.constructor.prototype as object).filter((key) => ["toJSON", "get", "value"].includes(String(key))),
      [],
    );
    assert.equal(JSON.stringify({ a: [1] }), '{"a":[1]}');
    assert.equal(Buffer.from("é").toString(), "é");
  });

  it("that are frozen are left alone", () => {
    const frozen = Object.getOwnPropertyDescriptor(Math, "PI");
    restoreBuiltIns();
    assert.deepEqual(Object.getOwnPropertyDescriptor(Math, "PI"), frozen);
  });
});
