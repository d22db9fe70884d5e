/**
 * Notes the processes that the program is not let start, by `node:child_process` and what is built on it.
 *
 * Node throws some refusals, tells others in an `error` event, and a third kind in the result of `spawnSync`. What a shell is refused
 * is its own affair: it says so on its stderr.
 */

import type childProcess from "node:child_process";

import type { DenialLog, DenialReason } from "./denials.ts";
import { apply, isArray, lstatSync } from "./intrinsics.ts";
import type { FileWatch } from "./watch-files.ts";
import { replaceMethod, tell, watchErrors, watchSync } from "./watch.ts";

interface SpawnError {
  readonly code?: unknown;
  readonly path?: unknown;
  readonly spawnargs?: unknown;
}

interface SpawnOptions {
  readonly file?: unknown;
  readonly args?: unknown;
  readonly cwd?: unknown;
}

/** Watches a module, `node:child_process` but in tests. */
export function watchProcesses(module: typeof childProcess, log: DenialLog, files: FileWatch): void {
  const note = (error: SpawnError, { args, cwd, file }: SpawnOptions): void => {
    const reason = reasonOf(error.code, file);
    // A working directory that is not there fails as a command would that is not.
    if (reason === undefined || (error.code === "ENOENT" && cwd !== undefined && !exists(cwd))) return;
    const place = reason === "not_executable" ? files.placeOf(file, typeof cwd === "string" ? cwd : "") : undefined;
    log.note(reason, place ?? describeCommand(file, args), error);
  };

  // `spawn`, `exec`, `execFile` and `fork` all come here.
  replaceMethod(
    module.ChildProcess.prototype,
    "spawn",
    (original) =>
      function (this: unknown, ...args: unknown[]): unknown {
        const onFailure = (error: unknown): void => note(error as SpawnError, args[0] as SpawnOptions);
        watchErrors(this, onFailure);
        try {
          return apply(original, this, args);
        } catch (error) {
          tell(onFailure, error, args);
          throw error;
        }
      },
  );
  const noteSync = (error: unknown, args: readonly unknown[]): void => {
    const { path, spawnargs } = error as SpawnError;
    note(error as SpawnError, {
      file: path,
      args: isArray(spawnargs) ? [path, ...(spawnargs as unknown[])] : [],
      cwd: workingDirectory(args),
    });
  };
  watchSync(module, "execFileSync", noteSync);
  watchSync(module, "execSync", noteSync);
  replaceMethod(
    module,
    "spawnSync",
    (original) =>
      function (this: unknown, ...args: unknown[]): unknown {
        const result = apply(original, this, args) as { readonly error?: unknown };
        if (result.error !== undefined) tell(noteSync, result.error, args);
        return result;
      },
  );
}

/** Of the options, which are the last argument if any. */
function workingDirectory(args: readonly unknown[]): unknown {
  const options = args[args.length - 1];
  return typeof options === "object" && options !== null ? (options as SpawnOptions).cwd : undefined;
}

function reasonOf(code: unknown, file: unknown): DenialReason | undefined {
  if (code === "EPERM") return "no_new_processes";
  if (code === "EAGAIN") return "too_many_processes";
  if (code !== "ENOENT" && code !== "EACCES") return undefined;
  return typeof file === "string" && code === "EACCES" && file.includes("/") ? "not_executable" : "command_not_available";
}

/** The command; of a shell, what it was to run too. */
function describeCommand(file: unknown, args: unknown): string {
  const command = typeof file === "string" ? file : "a command";
  const list = isArray(args) ? (args as unknown[]) : [];
  return list[1] === "-c" && typeof list[2] === "string" ? `${command} -c ${list[2]}` : command;
}

function exists(folder: unknown): boolean {
  try {
    return lstatSync(folder as string, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return false;
  }
}
