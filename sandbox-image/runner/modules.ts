/**
 * How the program's imports are resolved and loaded, for `import` and `require` alike.
 *
 * Serves the main module from memory, compiles TypeScript files of the workspace, and refuses modules that are not in the list.
 * Packages of the image may import what they need: the list is about what the program names.
 */

import path from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL, URL } from "node:url";

import type { CompiledFile } from "./language.ts";
import { ErrorClass, readFileSync } from "./intrinsics.ts";
import { isModuleName } from "./module-policy.ts";
import type { ModulePolicy } from "./module-policy.ts";
import { registerHooks } from "./node-internals.ts";
import type { LoadResult, NextResolve, ResolveContext, ResolveResult } from "./node-internals.ts";
import type { RefusalWatch } from "./refusal-watch.ts";

/** Between a `require` and the hook lie about ten frames of Node's own; the program's frame comes after them. */
const HOOK_STACK_FRAMES = 40;

export interface ModuleLoaderDeps {
  /** Absolute path. */
  readonly workspace: string;
  readonly main: { readonly url: string; readonly code: string };
  readonly policy: ModulePolicy;
  readonly compileFile: (source: string, file: string) => CompiledFile;
  readonly watch: RefusalWatch;
}

export class ModuleLoader {
  readonly #deps: ModuleLoaderDeps;
  readonly #workspaceUrl: string;
  #isOpen = false;

  constructor(deps: ModuleLoaderDeps) {
    this.#deps = deps;
    this.#workspaceUrl = `${pathToFileURL(deps.workspace).href}/`;
  }

  install(): void {
    registerHooks({
      resolve: (specifier, context, next) => this.#withLongStacks(() => this.#resolve(specifier, context, next)),
      load: (url, context, next) => this.#load(url, () => next(url, context)),
    });
    this.#watchBuiltins();
    if (!this.#deps.policy.allowsAll) this.#guardProcess();
  }

  /** Runs the runner's own code with the list out of force. */
  unrestricted<T>(body: () => T): T {
    const before = this.#isOpen;
    this.#isOpen = true;
    try {
      return body();
    } finally {
      this.#isOpen = before;
    }
  }

  #resolve(specifier: string, context: ResolveContext, next: NextResolve): ResolveResult {
    const { main, policy } = this.#deps;
    if (this.#isMain(specifier, context.parentURL)) return { url: main.url, format: "module", shortCircuit: true };
    const isChecked = !this.#isOpen && !this.#isPackage(context.parentURL);
    if (isChecked) policy.check(specifier);
    const resolved = isChecked ? this.#findOrSuspect(specifier, context, next) : next(specifier, context);
    // A name of the program's own (`#name` in a package.json) can stand for a built-in.
    if (isChecked && specifier.startsWith("#") && resolved.url.startsWith("node:")) policy.check(resolved.url);
    this.#deps.watch.beforeModule(resolved.url);
    return resolved;
  }

  /** A package that is not there may be one that the image could have. */
  #findOrSuspect(specifier: string, context: ResolveContext, next: NextResolve): ResolveResult {
    try {
      return next(specifier, context);
    } catch (error) {
      if (isModuleName(specifier)) this.#deps.watch.log.suspect(error, "module_not_in_image", specifier);
      throw error;
    }
  }

  #load(url: string, next: () => LoadResult): LoadResult {
    const { main, compileFile } = this.#deps;
    if (url === main.url) return { format: "module", source: main.code, shortCircuit: true };
    if (!url.startsWith(this.#workspaceUrl) || !/\.[cm]?ts$/.test(url)) return next();
    const file = fileURLToPath(url);
    const { code, format } = this.unrestricted(() => compileFile(readFileSync(file, "utf8"), path.relative(this.#deps.workspace, file)));
    return { format, source: code, shortCircuit: true };
  }

  /** The main module is no file, so that Node would not find it for another module that imports it. */
  #isMain(specifier: string, parentUrl: string | undefined): boolean {
    const { url } = this.#deps.main;
    return specifier === url || (/^\.\.?\//.test(specifier) && parentUrl !== undefined && URL.parse(specifier, parentUrl)?.href === url);
  }

  /** True for a file of a package of the image. One that the program put into the workspace is the program's own code. */
  #isPackage(url: string | undefined): boolean {
    return url?.startsWith("file:") === true && url.includes("/node_modules/") && !url.startsWith(this.#workspaceUrl);
  }

  #withLongStacks<T>(body: () => T): T {
    const limit = ErrorClass.stackTraceLimit;
    ErrorClass.stackTraceLimit = HOOK_STACK_FRAMES;
    try {
      return body();
    } finally {
      ErrorClass.stackTraceLimit = limit;
    }
  }

  /** The one way to a built-in that does not pass the hooks. */
  #watchBuiltins(): void {
    const { watch } = this.#deps;
    const getBuiltinModule = process.getBuiltinModule.bind(process);
    process.getBuiltinModule = (name: string) => {
      if (typeof name === "string") watch.beforeModule(name.startsWith("node:") ? name : `node:${name}`);
      return getBuiltinModule(name);
    };
  }

  /** The ways to a module that do not pass the hooks. */
  #guardProcess(): void {
    const { policy } = this.#deps;
    const dlopen = process.dlopen.bind(process);
    const getBuiltinModule = process.getBuiltinModule.bind(process);
    const refuse = (what: string) => () => {
      throw policy.refusal(what);
    };
    Object.assign(process, {
      getBuiltinModule: (name: string) => {
        policy.check(name);
        return getBuiltinModule(name);
      },
      // Flags that are there but undefined are none that the loader knows.
      dlopen: (target: object, file: string, ...flags: number[]) => {
        if (!this.#isPackage(pathToFileURL(file).href)) throw policy.refusal(file, `The native add-on "${file}"`);
        dlopen(target, file, ...flags);
      },
      binding: refuse("process.binding"),
      _linkedBinding: refuse("process._linkedBinding"),
    });
  }
}
