/**
 * Evaluates the main module as Node would its entry point, and finds the program's result.
 *
 * The result is what the program returned at top level, else its default export (called if it is a function), else null. A program
 * is done when it has one of these; else when its event loop is empty, as in Node.
 */

import { createRequire, Module } from "node:module";
import path from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";

import type { ExecuteParams } from "../../src/bridge/protocol.ts";
import type { Ending } from "./ending.ts";
import type { ErrorReporter } from "./error-report.ts";
import { apply, functionToString, ownKeys } from "./intrinsics.ts";
import type { CompiledProgram, Language } from "./language.ts";
import { ModulePolicy } from "./module-policy.ts";
import { ModuleLoader } from "./modules.ts";
import type { RefusalWatch } from "./refusal-watch.ts";
import { serializeValue } from "./serialize.ts";
import { installTools } from "./tools/globals.ts";
import type { ToolClient } from "./tools/tool-client.ts";
import type { DefaultExportSlot } from "./wrap-return.ts";

type MainModule = Readonly<Record<string, unknown>>;
type WrappedMain = (slot: DefaultExportSlot) => Promise<unknown>;

export interface ExecutionDeps {
  readonly params: ExecuteParams;
  readonly compiled: CompiledProgram;
  readonly ending: Ending;
  readonly reporter: ErrorReporter;
  readonly language: Language;
  readonly tools: ToolClient;
  readonly watch: RefusalWatch;
  /** Absolute path. */
  readonly mainFile: string;
}

export class Execution {
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
    const { params, compiled, ending, language, mainFile, watch } = this.#deps;
    const url = pathToFileURL(mainFile).href;
    const workspace = path.dirname(mainFile);
    const loader = new ModuleLoader({
      workspace,
      main: { url, code: compiled.code },
      policy: new ModulePolicy(params.allowedModules, (what) => watch.log.note("module_not_allowed", what)),
      compileFile: (source, file) => language.compileFile(source, file),
      watch,
    });
    loader.install();
    watch.install();
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
    installTools(this.#deps.tools, params.tools, globalThis);
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
      result = serializeValue(value, { maxBytes: params.maxResultBytes, describeError: (error) => reporter.report(error) });
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
