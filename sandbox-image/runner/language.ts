/**
 * From what was submitted to what V8 runs, with lines kept: types are taken out, and a top-level `return` is made to work.
 *
 * Two ways for TypeScript. The fast one (sucrase) only blanks types and rewrites enums and the like. It silently drops namespaces,
 * and knows no decorators; what it cannot do, or what does not parse after it, goes through the full compiler, loaded at that time.
 * JavaScript is only parsed. What acorn cannot parse is run all the same: V8 may know newer syntax, and the last word is V8's.
 */

import process from "node:process";

import { parse } from "acorn";
import type { Program } from "acorn";
import { transform } from "sucrase";

import type { ExecuteParams } from "../../src/bridge/protocol.ts";
import { compileFully, JSX_REFUSED } from "./full-compiler.ts";
import type { FullOutput, TypeScript } from "./full-compiler.ts";
import { Buffer, parseJson, stringifyJson } from "./intrinsics.ts";
import { columnBefore, lineAt, syntaxError } from "./syntax-error.ts";
import type { SyntaxProblem } from "./syntax-error.ts";
import { hasTopLevelReturn, wrapTopLevel } from "./wrap-return.ts";

export interface CompiledProgram {
  /** An ES module. */
  readonly code: string;
  /** The module's default export is the program as a function, to be called with a slot for the program's own default export. */
  readonly isWrapped: boolean;
  /** Characters on line 1 in front of the program's own. */
  readonly firstLineShift: number;
  /** What acorn had against it: to be shown if V8 does not take the code either. */
  readonly doubt: SyntaxError | undefined;
}

export interface CompiledFile {
  readonly code: string;
  readonly format: "module" | "commonjs";
}

export interface LanguageDeps {
  /** Called when the full compiler is needed. Its code carries source maps, which must be switched on before it is loaded. */
  loadTypeScript(): typeof TypeScript;
}

interface JavaScript {
  readonly code: string;
  readonly program: Program | undefined;
  readonly problem: SyntaxProblem | undefined;
  /** Set where the full compiler made the code. */
  readonly map?: string;
}

/** A namespace with a body. In prose of comments and strings the words are rarely followed by a brace; if so, it costs only time. */
const NAMESPACE = /\b(?:namespace|module)\s+[^\s{}()=;,'"`]+\s*\{/;

/** The start of a `using` declaration. As above, if it is none it costs only time. */
const USING = /\busing\s+[\p{ID_Start}$_]/u;
/** Node 22 does not know `using`, but for TypeScript it is part of the language: the full compiler rewrites it. */
const knowsUsing = Number.parseInt(process.versions.node, 10) >= 24;

export class Language {
  readonly #deps: LanguageDeps;

  constructor(deps: LanguageDeps) {
    this.#deps = deps;
  }

  /** Compiles the main module. Throws a `SyntaxError` with a place in the submitted code. */
  compileProgram(source: string, language: ExecuteParams["language"], file: string): CompiledProgram {
    const made = language === "typescript" ? this.#compileTypeScript(source, file) : parseJavaScript(source, "module");
    const doubt = made.problem && this.#doubt(made.problem, { source, language, file });
    const isWrapped = made.program !== undefined && hasTopLevelReturn(made.program);
    if (made.program === undefined || !isWrapped) {
      return { code: withMap(made.code, made.map), isWrapped: false, firstLineShift: 0, doubt };
    }
    if (made.map === undefined) {
      const { code, prefixLength } = wrapTopLevel(made.code, made.program);
      return { code, isWrapped, firstLineShift: prefixLength, doubt };
    }
    const { code } = wrapTopLevel(made.code, made.program, "\n");
    return { code: withMap(code, shiftedByOneLine(made.map)), isWrapped, firstLineShift: 0, doubt };
  }

  /** Compiles a TypeScript file that the program imports. It is a CommonJS module if it can be one, as for Node. */
  compileFile(source: string, file: string): CompiledFile {
    const { code, map, problem } = this.#compileTypeScript(source, file);
    if (problem) throw syntaxError(problem, source, file);
    const isCommonJs = file.endsWith(".cts") || (!file.endsWith(".mts") && parseJavaScript(code, "commonjs").program !== undefined);
    return { code: withMap(code, map), format: isCommonJs ? "commonjs" : "module" };
  }

  #compileTypeScript(source: string, file: string): JavaScript {
    const fast = NAMESPACE.test(source) || (!knowsUsing && USING.test(source)) ? undefined : compileFast(source);
    if (fast?.program) return fast;
    const full: FullOutput = compileFully(this.#deps.loadTypeScript(), source, file);
    const made: JavaScript = { ...parseJavaScript(full.code, "module"), map: full.map };
    return fast?.problem && made.problem ? { ...made, problem: inSubmitted(fast.problem, source, fast.code) } : made;
  }

  #doubt(problem: SyntaxProblem, { source, language, file }: { source: string; language: string; file: string }): SyntaxError {
    const message = language === "javascript" && isJsx(source) ? JSX_REFUSED : problem.message;
    return syntaxError({ ...problem, message }, source, file);
  }
}

/** Undefined when the code is beyond the fast compiler. */
function compileFast(source: string): JavaScript | undefined {
  try {
    return parseJavaScript(transform(source, { transforms: ["typescript"], disableESTransforms: true }).code, "module");
  } catch {
    return undefined;
  }
}

function parseJavaScript(code: string, sourceType: "module" | "commonjs"): JavaScript {
  try {
    // CommonJS modules may return anyway.
    const program = parse(code, { ecmaVersion: "latest", sourceType, allowHashBang: true, allowReturnOutsideFunction: true });
    return { code, program, problem: undefined };
  } catch (error) {
    return { code, program: undefined, problem: problemOf(error) };
  }
}

function problemOf(error: unknown): SyntaxProblem {
  // Acorn says the place in the message, too: from 0, and for itself.
  const { message, loc } = error as SyntaxError & { loc?: { line: number; column: number } };
  return { message: message.replace(/ \(\d+:\d+\)$/, ""), line: loc?.line ?? 1, column: (loc?.column ?? 0) + 1 };
}

/** The place in the submitted code. The fast compiler keeps lines. */
function inSubmitted(problem: SyntaxProblem, source: string, made: string): SyntaxProblem {
  const { line, column } = problem;
  return { ...problem, column: columnBefore(lineAt(source, line), lineAt(made, line), column) };
}

function isJsx(source: string): boolean {
  try {
    const { code } = transform(source, { transforms: ["jsx"], disableESTransforms: true, production: true });
    return code.includes("React.createElement(") && parseJavaScript(code, "module").program !== undefined;
  } catch {
    return false;
  }
}

function withMap(code: string, map: string | undefined): string {
  if (map === undefined) return code;
  return `${code}\n//# sourceMappingURL=data:application/json;base64,${Buffer.from(map).toString("base64")}`;
}

/** A source map for code that got one line in front. */
function shiftedByOneLine(map: string): string {
  const parsed = parseJson(map) as { mappings: string };
  return stringifyJson({ ...parsed, mappings: `;${parsed.mappings}` });
}
