/**
 * Notes what the functions of `node:fs` are refused.
 *
 * Streams use them too. Which folders may be read is the service's to know. Of the writable ones the runner is told, since a file that
 * cannot be made fails in several ways: where its folder is missing, too, there is no more to say than that it is not there.
 */

import type fs from "node:fs";
import path from "node:path";

import type { DenialLog } from "./denials.ts";
import { fsConstants } from "./intrinsics.ts";
import { watchCallback, watchPromise, watchSync } from "./watch.ts";

const READING = ["access", "lstat", "opendir", "readdir", "readFile", "readlink", "realpath", "stat", "statfs"] as const;
const CHANGING = ["chmod", "chown", "lchmod", "lchown", "lutimes", "rename", "rm", "rmdir", "truncate", "unlink", "utimes"] as const;
const MAKING = ["appendFile", "copyFile", "cp", "link", "mkdir", "mkdtemp", "symlink", "writeFile"] as const;

/** What a call wants of the path that it names, or of the second one where it has two. */
type Intent = "read" | "execute" | "change" | "make";

export interface FileWatchOptions {
  readonly log: DenialLog;
  /** Absolute path. */
  readonly workspace: string;
  /** Folders, relative to it. */
  readonly writable: readonly string[];
}

/** The fields of Node's errors of system calls. */
export interface SystemError {
  readonly code?: unknown;
  readonly syscall?: unknown;
  readonly path?: unknown;
  readonly dest?: unknown;
}

const resolve = path.resolve.bind(path);
const { O_CREAT, O_RDWR, O_WRONLY, W_OK, X_OK } = fsConstants;

export class FileWatch {
  readonly #options: FileWatchOptions;

  constructor(options: FileWatchOptions) {
    this.#options = options;
  }

  /** Watches a module, `node:fs` but in tests; `node:fs/promises` is a part of it. */
  install(module: typeof fs): void {
    const watch = (name: string, intentOf: (args: readonly unknown[]) => Intent): void => {
      const onFailure = (error: unknown, args: readonly unknown[]): void => this.noteFailure(error as SystemError, intentOf(args));
      watchSync(module, `${name}Sync`, onFailure);
      watchCallback(module, name, onFailure);
      watchPromise(module.promises, name, onFailure);
    };
    for (const name of READING) watch(name, name === "access" ? accessIntent : () => "read");
    for (const name of CHANGING) watch(name, () => "change");
    for (const name of MAKING) watch(name, () => "make");
    watch("open", openIntent);
  }

  /** Notes an error of a call if it is a refusal. */
  noteFailure(error: SystemError, intent: Intent): void {
    const { log } = this.#options;
    const place = this.placeOf(error.path);
    if (place === undefined) return;
    const isWrite = intent === "change" || intent === "make" || error.code === "EROFS";
    if (isWrite) this.#noteWrite(error, place, intent);
    else if (isRefusal(error)) log.note(intent === "execute" ? "not_executable" : "not_readable", place, error);
  }

  /** Notes an error of a call of which only the error is known: it ended the program. */
  noteFatal(error: SystemError): void {
    const place = this.placeOf(error.path);
    if (place === undefined) return;
    if (error.code === "ENOENT") this.#options.log.note("not_there", place, error);
    else this.noteFailure(error, isChange(error.syscall) ? "change" : "read");
  }

  /** Notes an error of a socket with a path. */
  noteSocket(error: SystemError, socketPath: string, isListening: boolean): void {
    if (isRefusal(error))
      this.#options.log.note(isListening ? "not_writable" : "not_readable", this.placeOf(socketPath) ?? socketPath, error);
  }

  #noteWrite(error: SystemError, place: string, intent: Intent): void {
    const { log } = this.#options;
    const dest = this.placeOf(error.dest);
    const places = dest === undefined ? [place] : error.syscall === "rename" ? [place, dest] : [dest];
    const closed = places.find((candidate) => !this.#isWritable(candidate));
    // Removing a file fails with an error of its own where the file system is read-only, in some versions of Node one without a code.
    const isRefused = isRefusal(error) || (error.code === "" && closed !== undefined);
    if (isRefused && closed === undefined && dest !== undefined && intent === "make") log.note("not_readable", place, error);
    else if (isRefused) log.note("not_writable", closed ?? place, error);
    else if (error.code === "ENOENT" && intent === "make" && closed !== undefined) log.note("not_writable", closed, error);
  }

  #isWritable(place: string): boolean {
    return this.#options.writable.some((folder) => place === folder || place.startsWith(`${folder}/`));
  }

  /** A path relative to the workspace where it lies in it, else an absolute one. */
  placeOf(file: unknown, folder = ""): string | undefined {
    if (typeof file !== "string" || file === "") return undefined;
    const { workspace } = this.#options;
    const absolute = resolve(folder, file);
    if (absolute === workspace) return ".";
    return absolute.startsWith(`${workspace}/`) ? absolute.slice(workspace.length + 1) : absolute;
  }
}

function isRefusal({ code }: SystemError): boolean {
  return code === "EACCES" || code === "EPERM" || code === "EROFS";
}

const CHANGING_CALLS = /^(?:chmod|chown|copyfile|cp|lchown|link|lutime|mkdir|mkdtemp|rename|rm|rmdir|symlink|truncate|unlink|utime)$/;

function isChange(syscall: unknown): boolean {
  return typeof syscall === "string" && CHANGING_CALLS.test(syscall);
}

function openIntent([, flags]: readonly unknown[]): Intent {
  if (typeof flags === "number") return (flags & O_CREAT) !== 0 ? "make" : (flags & (O_WRONLY | O_RDWR)) !== 0 ? "change" : "read";
  if (typeof flags !== "string") return "read";
  return /[wa]/.test(flags) ? "make" : flags.includes("+") ? "change" : "read";
}

function accessIntent([, mode]: readonly unknown[]): Intent {
  if (typeof mode !== "number") return "read";
  return (mode & W_OK) !== 0 ? "change" : (mode & X_OK) !== 0 ? "execute" : "read";
}
