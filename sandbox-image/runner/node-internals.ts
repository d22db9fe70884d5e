/** Parts of Node that its types do not have: undocumented, or newer than the types. */

import * as module from "node:module";
import process from "node:process";

/** `process`, with what Node itself calls at the end. */
export interface ProcessInternals {
  /** Called for an error that nobody caught; true when a handler of the program took it. */
  _fatalException: (error: unknown, fromPromise: boolean) => boolean;
  /** True from the moment that the `exit` event is due. */
  _exiting: boolean;
  /** Where `process.exit` ends, after the `exit` handlers. */
  reallyExit: (code?: number) => never;
  emit: (event: string, ...parameters: unknown[]) => boolean;
}

export const processInternals = process as unknown as ProcessInternals;

export interface ResolveContext {
  readonly parentURL?: string | undefined;
}

export interface ResolveResult {
  readonly url: string;
  readonly format?: string | null | undefined;
  readonly shortCircuit?: boolean;
}

export interface LoadResult {
  readonly format: string | null | undefined;
  readonly source?: string | ArrayBuffer | NodeJS.TypedArray | null | undefined;
  readonly shortCircuit?: boolean;
}

export type NextResolve = (specifier: string, context: ResolveContext) => ResolveResult;

export interface ModuleHooks {
  readonly resolve: (specifier: string, context: ResolveContext, next: NextResolve) => ResolveResult;
  readonly load: (url: string, context: object, next: (url: string, context: object) => LoadResult) => LoadResult;
}

/** Hooks that run in this thread, for import and require. Node 22.15 and later. */
export const { registerHooks } = module as unknown as { readonly registerHooks: (hooks: ModuleHooks) => void };
