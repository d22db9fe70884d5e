/** What is made of submitted code: types out, lines kept, errors with places. Runs nothing of it but where stated. */

import assert from "node:assert/strict";

import * as typescript from "../../../sandbox-image/runner/typescript.ts";
import { Language } from "../../../sandbox-image/runner/language.ts";

describe("Runner: language", () => {
  let compilerLoads = 0;
  const language = new Language({
    loadTypeScript: () => {
      compilerLoads += 1;
      return typescript;
    },
  });
  beforeEach(() => (compilerLoads = 0));

  const compile = (code: string): string => language.compileProgram(code, "typescript", "main.ts").code;

  function syntaxErrorOf(code: string, kind: "typescript" | "javascript" = "typescript"): SyntaxError {
    const file = kind === "typescript" ? "main.ts" : "main.js";
    try {
      const { doubt } = language.compileProgram(code, kind, file);
      return doubt ?? assert.fail("nothing was found");
    } catch (error) {
      assert.ok(error instanceof SyntaxError, String(error));
      return error;
    }
  }

  it("takes types out on the fast way, and keeps lines", () => {
    const code = "interface A {\n  x: number;\n}\nconst a: A = { x: 1 } satisfies A;\nexport default a as unknown;";
    const made = compile(code);
    assert.equal(compilerLoads, 0);
    assert.deepEqual(
      made.split("\n").map((line) => line.trim()),
      ["", "", "", "const a = { x: 1 } ;", "export default a ;"],
    );
  });

  it("elides imports that only types need", () => {
    assert.doesNotMatch(compile('import { A } from "types";\nimport type { B } from "more";\nlet a: A | B;'), /import/);
    assert.match(compile('import "effect";\nimport { a } from "values";\na();'), /import "effect";[\s\S]*import \{ ?a ?\}/);
  });

  const slow: [title: string, code: string, pattern: RegExp][] = [
    ["namespaces", "namespace N { export const a = 1 }\nN.a;", /\(function \(N\)/],
    ["namespaces with dots", "export namespace A.B { export let x = 1 }", /\(A\.B/],
    ["modules as namespaces", "module Old { export const a = 1 }", /\(function \(Old\)|\(Old \|\|/],
    ["decorators", "function d(...a: any[]) {}\n@d class A { @d m() {} }", /__esDecorate/],
    ["decorators of parameters", "function d(...a: any[]) {}\nclass A { m(@d x: number) {} }", /__param/],
    ["auto-accessors", "class A { accessor x = 1 }", /get x\(\)/],
  ];
  for (const [title, code, pattern] of slow) {
    it(`gives ${title} to the full compiler, with a source map`, () => {
      const made = compile(code);
      assert.equal(compilerLoads, 1);
      assert.match(made, pattern);
      assert.match(made, /\n\/\/# sourceMappingURL=data:application\/json;base64,/);
    });
  }

  it("does not take words for namespaces, or @ in comments for decorators", () => {
    compile(
      "/** @param module the module {x} */\nmodule.exports = {};\nconst namespace = 1, module2 = { a: 'mail@x.org' };\nnamespace\n+ 1;",
    );
    assert.equal(compilerLoads, 0);
  });

  it("wraps a program with a top-level return, on both ways", () => {
    const fast = language.compileProgram("const x: number = 1;\nreturn x;", "typescript", "main.ts");
    assert.equal(fast.isWrapped, true);
    assert.equal(fast.code.split("\n")[1], "return x;");
    assert.equal(fast.firstLineShift, fast.code.indexOf("const x"));

    const full = language.compileProgram("namespace N { export const a = 1 }\nreturn N.a;", "typescript", "main.ts");
    assert.equal(full.isWrapped, true);
    assert.equal(full.firstLineShift, 0);
    const map = /base64,(.*)$/.exec(full.code)?.[1] ?? "";
    assert.match((JSON.parse(Buffer.from(map, "base64").toString()) as { mappings: string }).mappings, /^;\w/);
  });

  it("leaves a program without one as it is", () => {
    const code = "#!/usr/bin/env node\nexport default () => { return 1 };\n";
    assert.deepEqual(language.compileProgram(code, "javascript", "main.js"), {
      code,
      isWrapped: false,
      firstLineShift: 0,
      doubt: undefined,
    });
  });

  it("refuses TypeScript that does not parse, at its place", () => {
    const error = syntaxErrorOf("let a = 1;\nlet b: = 2;");
    assert.equal(error.message, "Type expected. (main.ts:2:8)");
    assert.equal(error.stack, "main.ts:2:8\nlet b: = 2;\n       ^\n\nSyntaxError: Type expected. (main.ts:2:8)");
  });

  it("leaves JavaScript that acorn does not know to V8, and keeps what acorn said", () => {
    const { code, doubt } = language.compileProgram("let a = 1;\nlet b = ;", "javascript", "main.js");
    assert.equal(code, "let a = 1;\nlet b = ;");
    assert.equal(doubt?.stack, "main.js:2:9\nlet b = ;\n        ^\n\nSyntaxError: Unexpected token (main.js:2:9)");
  });

  it("shows what only the JavaScript is wrong with at its place in the TypeScript", () => {
    const error = syntaxErrorOf("const a: Map<string, number> = new Map(), b: string = 's', a: number = 1;");
    assert.equal(error.message, "Identifier 'a' has already been declared (main.ts:1:60)");
  });

  it("refuses JSX by name", () => {
    for (const kind of ["typescript", "javascript"] as const) {
      assert.match(syntaxErrorOf("const a = <b>hi</b>;\nreturn a;", kind).message, /^JSX is not supported: .* \(main\.[jt]s:1:\d+\)$/);
    }
    assert.doesNotMatch(syntaxErrorOf("const a = 1 < ;").message, /JSX/);
  });

  it("shows the part of a long line that matters", () => {
    const [, line = "", caret = ""] = (syntaxErrorOf(`const a = "${"y".repeat(500)}" + ;`).stack ?? "").split("\n");
    assert.equal(line.length, 120);
    assert.equal(line[caret.length - 1], ";");
  });

  it("tells modules from CommonJS in imported files, as Node does", () => {
    const formatOf = (code: string, file: string): string => language.compileFile(code, file).format;
    assert.equal(formatOf("export const a: number = 1;", "lib.ts"), "module");
    assert.equal(formatOf("exports.a = 1 as number;", "lib.ts"), "commonjs");
    assert.equal(formatOf("const a = await f();", "lib.ts"), "module");
    assert.equal(formatOf("import type { A } from './a.ts';\nconst a: A = 1;", "lib.mts"), "module");
    assert.equal(formatOf("module.exports = 1 as number;", "lib.cts"), "commonjs");
    assert.throws(() => language.compileFile("const = 1;", "temp/lib.ts"), { message: /\(temp\/lib\.ts:1:7\)$/ });
  });
});
