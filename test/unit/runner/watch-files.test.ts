/** The functions of `node:fs` while they are watched: what is noted, and that a program does not notice. */

import assert from "node:assert/strict";
import fs from "node:fs";
import type { PathLike } from "node:fs";
import { promisify } from "node:util";

import { DenialLog } from "../../../sandbox-image/runner/denials.ts";
import { FileWatch } from "../../../sandbox-image/runner/watch-files.ts";

type Fs = typeof fs;

interface Failure {
  readonly code: string;
  readonly syscall?: string;
  readonly path?: string;
  readonly dest?: string;
}

const failure = (fields: Failure): Error => Object.assign(new Error(fields.code), { syscall: "open", ...fields });

/** A copy of the module, watched. Functions in `fakes` take the place of Node's. */
function watched(fakes: object = {}): { module: Fs; log: DenialLog } {
  const module = { ...fs, promises: { ...fs.promises }, ...fakes };
  const log = new DenialLog();
  new FileWatch({ log, workspace: "/workspace", writable: ["temp", "out/deep"] }).install(module);
  return { module, log };
}

/** What is noted when a function fails so. */
function noted(name: string, args: readonly unknown[], fields: Failure): string[] {
  const { log, module } = watched({
    [`${name}Sync`]: () => {
      throw failure(fields);
    },
  });
  const call = (module as unknown as Record<string, (...args: unknown[]) => unknown>)[`${name}Sync`]!;
  assert.throws(() => call(...args), { code: fields.code });
  return log.list().map(({ reason, what }) => `${reason} ${what}`);
}

describe("Runner: watched files", () => {
  for (const [name, args, fields, expected] of [
    ["readFile", ["a"], { code: "EACCES", path: "/workspace/data/a" }, "not_readable data/a"],
    ["stat", ["a"], { code: "EPERM", path: "/proc/1/x", syscall: "stat" }, "not_readable /proc/1/x"],
    ["readdir", ["."], { code: "EACCES", path: "/workspace", syscall: "scandir" }, "not_readable ."],
    ["readFile", ["a"], { code: "ENOENT", path: "/workspace/a" }, ""],
    ["readFile", ["a"], { code: "EISDIR", path: "/workspace/a" }, ""],
    ["access", ["a", fs.constants.R_OK], { code: "EACCES", path: "/workspace/a", syscall: "access" }, "not_readable a"],
    ["access", ["a", fs.constants.W_OK], { code: "EACCES", path: "/workspace/a", syscall: "access" }, "not_writable a"],
    ["access", ["a", fs.constants.X_OK], { code: "EACCES", path: "/workspace/a", syscall: "access" }, "not_executable a"],
    ["writeFile", ["a"], { code: "EROFS", path: "/workspace/data/../a" }, "not_writable a"],
    ["writeFile", ["a"], { code: "EACCES", path: "/workspace/temp/a" }, "not_writable temp/a"],
    ["writeFile", ["a"], { code: "ENOENT", path: "/workspace/new/a" }, "not_writable new/a"],
    ["writeFile", ["a"], { code: "ENOENT", path: "/workspace/temp/new/a" }, ""],
    ["writeFile", ["a"], { code: "ENOENT", path: "/workspace/temporary/a" }, "not_writable temporary/a"],
    ["writeFile", ["a"], { code: "ENOSPC", path: "/workspace/temp/a", syscall: "write" }, ""],
    ["open", ["a", "r"], { code: "EACCES", path: "/workspace/a" }, "not_readable a"],
    ["open", ["a"], { code: "EACCES", path: "/workspace/a" }, "not_readable a"],
    ["open", ["a", "r+"], { code: "EACCES", path: "/workspace/a" }, "not_writable a"],
    ["open", ["a", "r+"], { code: "ENOENT", path: "/workspace/a" }, ""],
    ["open", ["a", "wx"], { code: "ENOENT", path: "/workspace/a" }, "not_writable a"],
    ["open", ["a", fs.constants.O_RDONLY], { code: "EACCES", path: "/workspace/a" }, "not_readable a"],
    ["open", ["a", fs.constants.O_WRONLY], { code: "EACCES", path: "/workspace/a" }, "not_writable a"],
    ["open", ["a", fs.constants.O_RDONLY | fs.constants.O_CREAT], { code: "ENOENT", path: "/workspace/a" }, "not_writable a"],
    ["unlink", ["a"], { code: "ENOENT", path: "/workspace/a", syscall: "unlink" }, ""],
    // As Node 24 fails where the file system is read-only.
    ["rm", ["a"], { code: "", path: "/workspace/data/a", syscall: "rm" }, "not_writable data/a"],
    ["rm", ["a"], { code: "", path: "/workspace/temp/a", syscall: "rm" }, ""],
    ["rename", [], { code: "EROFS", path: "/workspace/temp/a", dest: "/workspace/data/a", syscall: "rename" }, "not_writable data/a"],
    ["rename", [], { code: "EROFS", path: "/workspace/data/a", dest: "/workspace/temp/a", syscall: "rename" }, "not_writable data/a"],
    ["copyFile", [], { code: "EACCES", path: "/workspace/data/a", dest: "/workspace/temp/a", syscall: "copyfile" }, "not_readable data/a"],
    ["copyFile", [], { code: "EACCES", path: "/workspace/data/a", dest: "/workspace/b", syscall: "copyfile" }, "not_writable b"],
    ["symlink", [], { code: "EROFS", path: "anything", dest: "/workspace/b", syscall: "symlink" }, "not_writable b"],
    ["mkdir", [], { code: "EPERM" }, ""],
  ] as const) {
    it(`${name}(${JSON.stringify(args).slice(1, -1)}) that fails with ${JSON.stringify(fields)} is noted as: ${expected || "nothing"}`, () => {
      assert.equal(noted(name, args, fields).join(), expected);
    });
  }

  it("tell synchronous, callback and promise functions apart, and pass on what each fails with", async () => {
    const error = failure({ code: "EACCES", path: "/workspace/data/a" });
    const { log, module } = watched({
      readFileSync: () => {
        throw error;
      },
      readFile: (_path: PathLike, callback: (error: Error) => void) => setImmediate(callback, error),
      promises: { readFile: () => Promise.reject(error) },
    });
    assert.throws(
      () => module.readFileSync("a"),
      (thrown) => thrown === error,
    );
    await new Promise<void>((resolve) =>
      module.readFile("a", (thrown) => {
        assert.equal(thrown, error);
        resolve();
      }),
    );
    await assert.rejects(module.promises.readFile("a"), (thrown) => thrown === error);
    assert.deepEqual(
      log.list().map(({ count }) => count),
      [1],
    );
  });

  it("keep names, lengths, own properties and results", async () => {
    const { module } = watched();
    for (const holder of ["fs", "promises"] as const) {
      const [before, after] = (holder === "fs" ? [fs, module] : [fs.promises, module.promises]) as unknown as Record<string, object>[];
      for (const [name, original] of Object.entries(before!)) {
        if (typeof original !== "function") continue;
        const descriptors = Object.getOwnPropertyDescriptors(after![name]!);
        for (const [key, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(original)))
          assert.deepEqual(descriptors[key as "name"], descriptor, `${holder}.${name}.${key}`);
        for (const symbol of Object.getOwnPropertySymbols(original)) assert.ok(symbol in after![name]!, `${holder}.${name}`);
      }
    }
    assert.equal(module.realpathSync.native, fs.realpathSync.native);
    assert.equal(module.readFileSync(import.meta.filename, "utf8"), await promisify(module.readFile)(import.meta.filename, "utf8"));
    assert.equal(await module.promises.readFile(import.meta.filename, "utf8"), fs.readFileSync(import.meta.filename, "utf8"));
    assert.throws(() => module.readFile("a", "utf8", undefined as never), { code: "ERR_INVALID_ARG_TYPE" });
    assert.throws(() => module.readFileSync(undefined as never), { code: "ERR_INVALID_ARG_TYPE" });
  });

  it("leave an error that cannot be looked at as it is", () => {
    const hostile = {
      get code(): never {
        throw new Error("looked at");
      },
      path: "/workspace/a",
    };
    const { log, module } = watched({
      statSync: () => {
        // eslint-disable-next-line @typescript-eslint/only-throw-error -- what is tested
        throw hostile;
      },
      lstatSync: () => {
        // eslint-disable-next-line @typescript-eslint/only-throw-error -- what is tested
        throw null;
      },
    });
    for (const [name, expected] of [
      ["statSync", hostile],
      ["lstatSync", null],
    ] as const) {
      let thrown: unknown;
      try {
        module[name]("a");
      } catch (error) {
        thrown = error;
      }
      assert.equal(thrown, expected);
    }
    assert.deepEqual(log.list(), []);
  });
});
