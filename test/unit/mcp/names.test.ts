import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";

import fc from "fast-check";

import { identifierOf, NOT_FOR_SERVERS, NOT_FOR_TOOLS } from "../../../src/mcp/identifiers.ts";
import { Names } from "../../../src/mcp/names.ts";

describe("identifiers: a name as an identifier", () => {
  for (const [name, identifier] of [
    ["store_memory", "store_memory"],
    ["$x", "$x"],
    ["größe", "größe"],
    ["get-sum", "get_sum"],
    ["files.read", "files_read"],
    ["a b", "a_b"],
    ["a/b:c", "a_b_c"],
    ["😀", "_"],
    ["\ud800", "_"],
    ["a\u202eb", "a_b"],
    ["2fa", "_2fa"],
    ["-", "_"],
    ["", "_"],
    ["delete", "delete_"],
    ["class", "class_"],
    ["then", "then_"],
    ["toJSON", "toJSON_"],
    ["constructor", "constructor_"],
    ["__proto__", "__proto___"],
    ["has-own", "has_own"],
  ] as const) {
    it(`${JSON.stringify(name)} is ${identifier}`, () => {
      assert.equal(identifierOf(name, NOT_FOR_TOOLS), identifier);
    });
  }

  it("hides no global of this Node, nor what modules and the runner have", () => {
    const input = "console.log(JSON.stringify(Object.getOwnPropertyNames(globalThis)))";
    const globals = JSON.parse(execFileSync(process.execPath, ["--input-type=module", "-"], { input, encoding: "utf8" })) as string[];
    assert.ok(globals.includes("fetch"));
    const names = [...globals, "require", "module", "tools", "callTool", "ToolError", "WebSocket"];
    assert.deepEqual(
      names.filter((name) => identifierOf(name, NOT_FOR_SERVERS) === name),
      [],
    );
    assert.equal(identifierOf("automem", NOT_FOR_SERVERS), "automem");
    assert.equal(identifierOf("fetch", NOT_FOR_TOOLS), "fetch", "a tool may have the name of a global");
  });

  it("is one that a program can declare, for any name", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: "binary" }), fc.constantFrom(...NOT_FOR_SERVERS)), (name) => {
        const identifier = identifierOf(name, NOT_FOR_SERVERS);
        // eslint-disable-next-line @typescript-eslint/no-implied-eval -- the parser is the judge of what an identifier is
        new Function(`"use strict"; const ${identifier} = 1; return ${identifier};`);
        assert.ok(!NOT_FOR_SERVERS.has(identifier), identifier);
      }),
      { numRuns: 2000 },
    );
  });
});

const named = (names: string[], aliases: Record<string, string> = {}): Names => new Names({ names, aliases, taken: NOT_FOR_TOOLS });

describe("names: what a word stands for", () => {
  it("is a name, its identifier, an alias, or the alias's identifier", () => {
    const names = named(["recall-memory"], { "re.call": "recall-memory" });
    for (const word of ["recall-memory", "recall_memory", "re.call", "re_call"]) assert.equal(names.resolve(word), "recall-memory", word);
    assert.deepEqual(names.wordsFor("recall-memory"), ["recall-memory", "recall_memory", "re.call", "re_call"]);
    assert.deepEqual(names.identifiersFor("recall-memory"), ["recall_memory", "re_call"]);
    assert.equal(names.identifier("recall-memory"), "recall_memory");
  });

  it("hides the later of two that are the same identifier, and says so", () => {
    const names = named(["a-b", "a.b"]);
    assert.equal(names.resolve("a_b"), "a-b");
    assert.equal(names.resolve("a.b"), "a.b");
    assert.deepEqual([names.identifier("a-b"), names.identifier("a.b")], ["a_b", undefined]);
    assert.deepEqual(names.identifiersFor("a.b"), []);
    assert.deepEqual(names.collisions, [{ of: "a.b", word: "a_b", takenBy: "a-b" }]);
  });

  it("means the same as a function and in callTool: whose name it is comes first, wherever it stands", () => {
    const names = named(["a-b", "a_b"]);
    assert.equal(names.resolve("a_b"), "a_b");
    assert.deepEqual(names.collisions, [{ of: "a-b", word: "a_b", takenBy: "a_b" }]);
  });

  it("is never an alias where it is a tool", () => {
    const names = named(["store", "delete-all"], { store: "delete-all", delete_all: "store", x: "nothing", keep: "store" });
    assert.equal(names.resolve("store"), "store");
    assert.equal(names.resolve("delete_all"), "delete-all");
    assert.equal(names.resolve("keep"), "store");
    assert.equal(names.resolve("x"), undefined);
    assert.deepEqual(names.lostAliases, [["x", "nothing"]]);
    assert.deepEqual(names.collisions, [
      { of: "delete-all", word: "store", takenBy: "store" },
      { of: "store", word: "delete_all", takenBy: "delete-all" },
    ]);
  });

  it("is nothing that objects have by themselves", () => {
    const names = named(["store"], { recall: "store" });
    for (const word of ["__proto__", "constructor", "hasOwnProperty", "toString", "then"])
      assert.equal(names.resolve(word), undefined, word);
    const hostile = named(["__proto__", "constructor"], JSON.parse('{"__proto__": "constructor", "hasOwnProperty": "constructor"}'));
    assert.equal(hostile.resolve("__proto__"), "__proto__");
    assert.equal(hostile.resolve("hasOwnProperty"), "constructor");
    assert.deepEqual(hostile.identifiersFor("__proto__"), ["__proto___"]);
  });

  it("is one name, and every name can be reached by itself, whatever they are", () => {
    const word = fc.oneof(fc.constantFrom("a", "a-b", "a_b", "a.b", "then", "then_", "__proto__", "1", "_1"), fc.string({ maxLength: 4 }));
    fc.assert(
      fc.property(fc.uniqueArray(word, { maxLength: 8 }), fc.dictionary(word, word, { maxKeys: 6 }), (list, aliases) => {
        const names = named(list, aliases);
        for (const name of list) {
          assert.equal(names.resolve(name), name);
          for (const one of names.wordsFor(name)) assert.equal(names.resolve(one), name);
        }
        const functions = list.flatMap((name) => names.identifiersFor(name));
        assert.equal(new Set(functions).size, functions.length);
        for (const name of list) {
          const hidden = names.collisions.some(({ of }) => of === name);
          assert.ok(hidden || names.identifier(name) !== undefined, "what is hidden is told");
        }
        for (const [alias, name] of Object.entries(aliases)) {
          const told = names.collisions.some(({ word: taken }) => taken === alias) || names.lostAliases.some(([lost]) => lost === alias);
          assert.ok(told || names.resolve(alias) === name, "so is an alias that does not hold");
        }
      }),
      { numRuns: 1000 },
    );
  });
});
