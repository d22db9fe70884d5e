/**
 * Runs one program: prepares the process as the program's own, imports its main module, and finds its result.
 *
 * The result is what the program returned at top level, else its default export (called if it is a function), else null. A program
 * is done when it has one of these; else when its event loop is empty, as in Node.
 */

import { createRequire, Module } from "node:module";
import path from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";

import type { ExecuteParams } from "../../src/bridge/protocol.ts";
import type { Connection } from "./connection.ts";
import { Ending } from "./ending.ts";
import { ErrorReporter } from "./error-report.ts";
import { apply, functionToString, ownKeys } from "./intrinsics.ts";
import { Language } from "./language.ts";
import type { CompiledProgram } from "./language.ts";
import type { TypeScript } from "./full-compiler.ts";
import { ModulePolicy } from "./module-policy.ts";
import { ModuleLoader } from "./modules.ts";
import { OutputPipes } from "./output-pipes.ts";
import { restoreBuiltIns } from "./restore-built-ins.ts";
import { serializeResult } from "./serialize.ts";
import type { SerializeOptions } from "./serialize.ts";
import { writeWorkspaceFiles } from "./workspace-files.ts";
import type { DefaultExportSlot } from "./wrap-return.ts";

/** Below the protocol's cap on the depth of a message, which the result is a part of. */
const MAX_RESULT_DEPTH = 100;

const WARM_UP_ROUNDS = 3;

/** Until all that has arrived is handled. */
const nextTurn = promisify(setImmediate);

export interface ProgramDeps {
  readonly connection: Connection;
  /** Absolute path. */
  readonly workspace: string;
  /** Where runner.cjs and typescript.cjs lie. */
  readonly runnerDirectory: string;
}

type MainModule = Readonly<Record<string, unknown>>;
type WrappedMain = (slot: DefaultExportSlot) => Promise<unknown>;

export class Program {
  readonly #deps: ProgramDeps;
  readonly #language: Language;
  readonly #output = new OutputPipes();
  #hasStarted = false;

  constructor(deps: ProgramDeps) {
    this.#deps = deps;
    const load = createRequire(path.join(deps.runnerDirectory, "runner.cjs"));
    this.#language = new Language({
      loadTypeScript: () => {
        process.setSourceMapsEnabled(true);
        return load(path.join(deps.runnerDirectory, "typescript.cjs")) as typeof TypeScript;
      },
    });
  }

  /**
   * Goes through the steps of a run, so that V8 has compiled them when a program comes. Gives way to what arrives in between, and stops
   * when that is the program.
   */
  async warmUp(): Promise<void> {
    const { workspace, runnerDirectory } = this.#deps;
    for (let round = 0; round < WARM_UP_ROUNDS; round += 1) {
      for (const code of WARM_UP_PROGRAMS) {
        await nextTurn();
        if (this.#hasStarted) return;
        this.#language.compileProgram(code, "typescript", "main.ts");
      }
      const reporter = new ErrorReporter({ workspace, runnerDirectory });
      serializeResult({ list: [round, "text"] }, resultOptions(1024, reporter));
      restoreBuiltIns();
    }
    createRequire(pathToFileURL(path.join(workspace, "main.ts")));
    await import(`data:text/javascript,// ${process.version}`);
  }

  /** To be called once. */
  run(params: ExecuteParams): void {
    const { connection, workspace, runnerDirectory } = this.#deps;
    const reporter = new ErrorReporter({ workspace, runnerDirectory });
    const ending = new Ending({ connection, workspace, reporter, unblockOutput: () => this.#output.unblock() });
    const file = params.language === "typescript" ? "main.ts" : "main.js";

    this.#hasStarted = true;
    connection.unref();
    ending.install();
    let compiled: CompiledProgram;
    try {
      if (params.denyCodeGeneration) requireDeniedCodeGeneration();
      writeWorkspaceFiles(workspace, params.files);
      compiled = this.#language.compileProgram(params.code, params.language, file);
    } catch (error) {
      return ending.fail(error);
    }
    reporter.shiftFirstLine(file, compiled.firstLineShift);
    void new Execution({ params, compiled, ending, reporter, language: this.#language, mainFile: path.join(workspace, file) }).run();
  }
}

interface ExecutionDeps {
  readonly params: ExecuteParams;
  readonly compiled: CompiledProgram;
  readonly ending: Ending;
  readonly reporter: ErrorReporter;
  readonly language: Language;
  /** Absolute path. */
  readonly mainFile: string;
}

class Execution {
  readonly #deps: ExecutionDeps;
  readonly #module: Module;
  readonly #initialExports: unknown;

  constructor(deps: ExecutionDeps) {
    this.#deps = deps;
    this.#module = new Module(deps.mainFile);
    this.#initialExports = this.#module.exports;
  }

  /** Rejects with what the main module throws: as an unhandled rejection it takes the same way as in Node. */
  async run(): Promise<void> {
    const { params, compiled, ending, language, mainFile } = this.#deps;
    const url = pathToFileURL(mainFile).href;
    const workspace = path.dirname(mainFile);
    const loader = new ModuleLoader({
      workspace,
      main: { url, code: compiled.code },
      policy: new ModulePolicy(params.allowedModules),
      compileFile: (source, file) => language.compileFile(source, file),
    });
    loader.install();
    this.#becomeProgram();

    let value: unknown;
    try {
      value = await this.#evaluate((await import(url)) as MainModule);
    } catch (thrown) {
      const reason = this.#isRefusedByV8(thrown) ? compiled.doubt : thrown;
      ending.noteMainFailure(reason);
      throw reason;
    }
    if (value === NO_RESULT) ending.settle();
    else this.#complete(value);
  }

  /** Makes the process look as if it had been started with the program. */
  #becomeProgram(): void {
    const { params, mainFile } = this.#deps;
    /* eslint-disable no-restricted-properties -- the environment is the program's, and replaced as a whole */
    for (const name of ownKeys(process.env)) Reflect.deleteProperty(process.env, name);
    Object.assign(process.env, params.env);
    /* eslint-enable no-restricted-properties */

    Object.assign(process, { argv: [process.argv[0], mainFile, ...params.args], mainModule: this.#module });
    const require = createRequire(mainFile);
    Object.assign(this.#module, { filename: mainFile, loaded: true, paths: require.resolve.paths("any") ?? [] });
    const globals = {
      require,
      module: this.#module,
      exports: this.#module.exports as unknown,
      __filename: mainFile,
      __dirname: path.dirname(mainFile),
    };
    for (const [name, value] of Object.entries(globals)) {
      Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
    }
  }

  /** The program's value, or {@link NO_RESULT}. Awaits what it returns: returning a promise would call its `then`, which may be patched. */
  async #evaluate(main: MainModule): Promise<unknown> {
    if (!this.#deps.compiled.isWrapped) {
      if ("default" in main) return await settleDefault(main.default);
    } else {
      const slot: DefaultExportSlot = {};
      const program = main.default as WrappedMain;
      const returned = await program(slot);
      if (returned !== undefined) return returned;
      if ("value" in slot) return await settleDefault(slot.value);
      if (slot.get) return await settleDefault(initialized(slot.get));
    }
    const { exports } = this.#module as { exports: unknown };
    return exports === this.#initialExports ? NO_RESULT : await settleDefault(exports);
  }

  #complete(value: unknown): never {
    const { ending, params, reporter } = this.#deps;
    let result: string;
    try {
      result = serializeResult(value, resultOptions(params.maxResultBytes, reporter));
    } catch (error) {
      return ending.fail(error);
    }
    return ending.complete(result);
  }

  /** True for the syntax error of a module that has not begun to run, where acorn had found one too. */
  #isRefusedByV8(thrown: unknown): boolean {
    const { compiled, reporter } = this.#deps;
    if (compiled.doubt === undefined || !(thrown instanceof SyntaxError)) return false;
    return !/^\s+at (?!.*\bnode:)/m.test(reporter.report(thrown).stack);
  }
}

function resultOptions(maxBytes: number, reporter: ErrorReporter): SerializeOptions {
  return { maxBytes, maxDepth: MAX_RESULT_DEPTH, describeError: (error) => reporter.report(error) };
}

const NO_RESULT = Symbol("no result");

async function settleDefault(value: unknown): Promise<unknown> {
  return typeof value === "function" && !isClass(value) ? await (value as () => unknown)() : await value;
}

/** True for what `class` makes, which cannot be called. */
function isClass(value: unknown): boolean {
  return /^class\b/.test(apply(functionToString, value, []));
}

/** A class that the program returned before is not there yet. */
function initialized(get: () => unknown): unknown {
  try {
    return get();
  } catch {
    return undefined;
  }
}

/**
 * V8 reads its switch against code from strings when it starts, so that it cannot be thrown here. It covers `eval`, `Function` and its
 * relatives in this realm and in workers; it does not cover `node:vm` and imports of `data:` URLs.
 */
function requireDeniedCodeGeneration(): void {
  let ran: unknown;
  try {
    // eslint-disable-next-line @typescript-eslint/no-implied-eval, @typescript-eslint/no-unsafe-call -- the probe
    ran = new Function("return true")();
  } catch {
    return;
  }
  if (ran === true) throw new Error("Code from strings is to be denied, but Node runs without --disallow-code-generation-from-strings.");
}

/** The usual mix of what programs hold. */
const WARM_UP_PROGRAMS = [
  "return 1;",
  `
import type { A } from "a";
import { readFile } from "node:fs/promises";
enum Color { Red, Green }
interface Point { readonly x: number; y?: string }
class Box<T> { constructor(private readonly value: T) {} get(): T { return this.value; } }
async function load(name: string): Promise<Point> { return { x: (await readFile(name)).length } satisfies Point; }
const list = [1, 2, 3].map((n: number): number => n ** 2).filter(Boolean) as number[];
try { for (const [key, value] of Object.entries(await load(\`a\${list}\`))) console.log(key!, value ?? 0); } catch (error: unknown) { throw error; }
if (list.length > 0) return { list, box: new Box(Color.Red).get() };
export default list;
`,
];
