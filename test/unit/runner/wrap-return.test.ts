/** The rewriting that makes a top-level return work. */

import assert from "node:assert/strict";

import { parse } from "acorn";
import type { Program } from "acorn";

import { hasTopLevelReturn, wrapTopLevel } from "../../../sandbox-image/runner/wrap-return.ts";
import type { DefaultExportSlot } from "../../../sandbox-image/runner/wrap-return.ts";

function parseModule(code: string): Program {
  return parse(code, { ecmaVersion: "latest", sourceType: "module", allowReturnOutsideFunction: true, allowHashBang: true });
}

async function run(code: string): Promise<{ returned: unknown; exported: unknown }> {
  const wrapped = wrapTopLevel(code, parseModule(code));
  const module = (await import(`data:text/javascript,${encodeURIComponent(wrapped.code)}`)) as {
    default: (slot: DefaultExportSlot) => Promise<unknown>;
  };
  const slot: DefaultExportSlot = {};
  const returned = await module.default(slot);
  return { returned, exported: "value" in slot ? slot.value : slot.get?.() };
}

describe("Runner: top-level return", () => {
  const found: [code: string, expected: boolean][] = [
    ["return 1", true],
    ["if (a) { return }", true],
    ["for (const a of b) while (c) do { return } while (d)", true],
    ["switch (a) { case 1: { return 1 } }", true],
    ["try {} catch { return } finally {}", true],
    ["try {} finally { label: { return } }", true],
    ["() => { return 1 }", false],
    ["function f() { return 1 }", false],
    ["export default function () { return 1 }", false],
    ["class A { m() { return 1 } static { (() => { return })() } }", false],
    ["const o = { m() { return 1 } }", false],
    ["// return\n'return'", false],
  ];
  for (const [code, expected] of found) {
    it(`${expected ? "finds it" : "finds none"} in ${JSON.stringify(code)}`, () =>
      assert.equal(hasTopLevelReturn(parseModule(code)), expected));
  }

  it("goes through code of any size and depth", () => {
    assert.equal(hasTopLevelReturn(parseModule("a;\n".repeat(200_000) + "return")), true);
    assert.equal(hasTopLevelReturn(parseModule(`${"{".repeat(500)}return${"}".repeat(500)}`)), true);
  });

  it("returns values, also awaited ones", async () => {
    assert.deepEqual(await run("const a = await Promise.resolve(2);\nreturn a * 2;"), { returned: 4, exported: undefined });
  });

  it("hoists imports of every form", async () => {
    const code = `const early = typeof join;
import path, { join, sep as separator } from "node:path";
import * as os from "node:os";
import def, * as all from "node:path";
import "node:fs";
import {
  readFileSync, // with a comment
  /* and */ "existsSync" as exists,
} from "node:fs"
[1].map(String);
return [early, path === def, separator, typeof os.EOL, typeof all.join, typeof readFileSync, typeof exists];`;
    assert.deepEqual((await run(code)).returned, ["function", true, "/", "string", "function", "function", "function"]);
  });

  it("keeps import attributes", () => {
    const code = 'import data from "./data.json" with { type: "json" };\nexport * from "./b.json" with { "type": "json" };\nreturn data;';
    const prefix = 'import data from "./data.json" with { type: "json" }; import "./b.json" with { "type": "json" }; export default ';
    assert.ok(wrapTopLevel(code, parseModule(code)).code.startsWith(prefix));
  });

  const defaults: [title: string, code: string, expected: unknown][] = [
    ["an expression", "export default 1 + 1;\nreturn;", 2],
    ["an expression over lines", "export\n  default\n  [1,\n2]\nreturn", [1, 2]],
    ["a value in the middle", "let a = 1\nexport default a\nreturn (() => undefined)()", 1],
    ["a name", "const a = 3;\nexport { a as default };\nreturn;", 3],
    ["one of another module", 'export { sep as default } from "node:path";\nreturn;', "/"],
    ["what is assigned later", "let a = 1;\nexport { a as default };\na = 2;\nreturn;", 2],
  ];
  for (const [title, code, expected] of defaults) {
    it(`finds a default export: ${title}`, async () => assert.deepEqual((await run(code)).exported, expected));
  }

  it("finds functions and classes as default exports", async () => {
    for (const declaration of ["function () {}", "function f() {}", "async function* () {}", "class {}", "class A {}", "() => {}"]) {
      const { exported } = await run(`export default ${declaration}\n;(1, 2)\nif (true) return`);
      assert.equal(typeof exported, "function", declaration);
    }
  });

  it("drops other exports, and loads what they load", async () => {
    const code = `export const a = 1, b = 2;
export function f() { return a; }
export class C {}
export { a as x, b as y }
export * from "node:path"
export { join } from "node:path"
return [f(), b, typeof C];`;
    assert.deepEqual((await run(code)).returned, [1, 2, "function"]);
    assert.match(wrapTopLevel(code, parseModule(code)).code, /^import "node:path"; import "node:path"; /);
  });

  it("keeps statements apart where an import or export stood between them", async () => {
    assert.deepEqual((await run('let a = [5]\nimport "node:fs"\n[0].toString()\nexport {}\n(1)\nreturn a')).returned, [5]);
  });

  it("keeps every line, and every column but those of line 1", () => {
    const code = `#!/usr/bin/env node
import { a } from "x"; const first = 1;
export const second = 2;
export default second;
export async function third() {}
return first; // the end`;
    const { code: wrapped, prefixLength } = wrapTopLevel(code, parseModule(code));
    const lines = wrapped.split("\n");
    assert.equal(lines.length, code.split("\n").length + 1);
    assert.equal(lines[0]?.slice(prefixLength), "//!/usr/bin/env node".slice(0, 2) + "/usr/bin/env node");
    for (const [index, word] of [
      [1, "const first"],
      [2, "const second"],
      [3, "second;"],
      [4, "async function third"],
      [5, "return first; // the end"],
    ] as const) {
      assert.equal(lines[index]?.indexOf(word), code.split("\n")[index]?.indexOf(word), word);
    }
  });

  it("does not use a name of the program", async () => {
    assert.deepEqual(await run("const $program = 1;\nexport default 2;\nreturn $program;"), { returned: 1, exported: 2 });
  });
});
