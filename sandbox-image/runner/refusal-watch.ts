/**
 * Sees what the program is refused, wherever this process can see it, and notes it in a {@link DenialLog}.
 *
 * Modules of Node are watched from when the program first asks for them: one that asks for none pays nothing. What native code,
 * WebAssembly, workers and other processes are refused is not seen.
 */

import { syncBuiltinESMExports } from "node:module";
import net from "node:net";
import process from "node:process";

import { DenialLog } from "./denials.ts";
import { EvalErrorClass } from "./intrinsics.ts";
import { FileWatch } from "./watch-files.ts";
import type { FileWatchOptions, SystemError } from "./watch-files.ts";
import { NetworkWatch } from "./watch-network.ts";
import { watchProcesses } from "./watch-processes.ts";

const MAX_CAUSES = 8;

/** The module that has the functions, for each that leads to them. */
const WATCHED: Readonly<Record<string, "fs" | "child_process" | "dns">> = {
  "node:fs": "fs",
  "node:fs/promises": "fs",
  "node:child_process": "child_process",
  "node:cluster": "child_process",
  "node:dns": "dns",
  "node:dns/promises": "dns",
};

/** Loads a module past the hooks. */
const getBuiltinModule = process.getBuiltinModule.bind(process) as (name: string) => unknown;

export class RefusalWatch {
  readonly log = new DenialLog();
  readonly #files: FileWatch;
  readonly #network: NetworkWatch;
  readonly #isWatched: Record<string, true> = Object.create(null) as Record<string, true>;

  constructor(options: Omit<FileWatchOptions, "log">) {
    this.#files = new FileWatch({ ...options, log: this.log });
    this.#network = new NetworkWatch({ log: this.log, files: this.#files });
  }

  /** Watches sockets, which globals such as `fetch` lead to. */
  install(): void {
    this.#network.install(net);
  }

  /** Watches a module before the program gets it. */
  beforeModule(url: string): void {
    const name = WATCHED[url];
    if (name === undefined || this.#isWatched[name]) return;
    this.#isWatched[name] = true;
    try {
      const module: unknown = getBuiltinModule(`node:${name}`);
      if (name === "fs") this.#files.install(module as typeof import("node:fs"));
      else if (name === "dns") this.#network.installNames(module as typeof import("node:dns"));
      else watchProcesses(module as typeof import("node:child_process"), this.log, this.#files);
      syncBuiltinESMExports();
    } catch {
      // The program has patched what this stands on: it gets its module, with less to be told of.
    }
  }

  /** Notes the refusal that ended the program, if it is one that was not noted when it happened. */
  noteFatal(thrown: unknown): void {
    try {
      let error: unknown = thrown;
      for (let depth = 0; depth < MAX_CAUSES && typeof error === "object" && error !== null; depth += 1) {
        if (!this.log.confirm(error)) this.#noteUnknown(error);
        error = (error as { readonly cause?: unknown }).cause;
      }
    } catch {
      // Anything can be thrown.
    }
  }

  #noteUnknown(error: object): void {
    const { code, path, syscall } = error as SystemError;
    if (error instanceof EvalErrorClass) this.log.note("code_from_strings", "code from a string", error);
    else if (code === "ERR_DLOPEN_FAILED") this.log.note("native_code", "a native add-on", error);
    else if (typeof syscall !== "string") return;
    else if (path !== undefined) this.#files.noteFatal(error);
    else if (code === "EPERM" || code === "EACCES") this.log.note("not_permitted", syscall, error);
  }
}
