import assert from "node:assert/strict";
import { mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import path from "node:path";

import { AppError } from "../../../../src/domain/errors.ts";
import type { InputFile } from "../../../../src/domain/execution.ts";
import { checkInputFiles, makeMountPoints, splitInputFiles, writeInputFiles } from "../../../../src/sandbox/docker/workspace-folder.ts";
import { policyOf } from "../../support/policies.ts";
import { useTempFolder } from "../../support/temp-folder.ts";

const POLICY = policyOf({
  permissions: { fileSystem: { read: ["data", "shared/lib"], write: ["temp", "out/x"] } },
  limits: { inputFiles: 3 },
});
const files = (...paths: string[]): InputFile[] => paths.map((name) => ({ path: name, content: name, encoding: "utf8" }));

const refusal = (...paths: string[]): AppError => {
  try {
    checkInputFiles({ files: files(...paths) }, POLICY);
  } catch (error) {
    assert.ok(error instanceof AppError);
    return error;
  }
  return assert.fail("they were accepted");
};

describe("workspace-folder: input files that cannot be placed", () => {
  for (const [file, message] of [
    ["data", '"data" lies in the readable path "data" of the runtime; choose another folder'],
    ["data/x/y", '"data/x/y" lies in the readable path "data" of the runtime; choose another folder'],
    ["shared", '"shared" lies in the readable path "shared/lib" of the runtime; choose another folder'],
    ["temp", '"temp" is a writable folder of the runtime'],
    ["out", '"out" is a writable folder of the runtime'],
    ["out/x", '"out/x" is a writable folder of the runtime'],
  ] as const) {
    it(`${file} is a bad request that names the file`, () => {
      const error = refusal("ok", file);
      assert.deepEqual([error.code, error.details], ["INVALID_REQUEST", [{ path: "files.1.path", message }]]);
    });
  }

  it("more than the limit are too many", () => {
    const error = refusal("a", "b", "c", "d");
    assert.deepEqual([error.code, error.message], ["LIMIT_EXCEEDED", "The request brings 4 files; this runtime takes 3."]);
  });

  it("all others are fine", () => {
    checkInputFiles({ files: files("in/data", "temp/a/b", "shared/other") }, POLICY);
    checkInputFiles({ files: files("database", "out/y", "out/x/z") }, POLICY);
    checkInputFiles({ files: [] }, POLICY);
  });
});

describe("workspace-folder: on the host", () => {
  const folder = useTempFolder();

  it("only files that no program can write are written there; the others go to the sandbox", () => {
    const { readOnly, writable } = splitInputFiles(files("in/a", "temp/b", "temperature", "out/x/c", "out/d"), POLICY.permissions);
    assert.deepEqual(
      readOnly.map((file) => file.path),
      ["in/a", "temperature", "out/d"],
    );
    assert.deepEqual(
      writable.map((file) => file.path),
      ["temp/b", "out/x/c"],
    );
  });

  it("files have their content, in folders that are made, readable for every user", async () => {
    await writeInputFiles(folder(), [
      { path: "in/deep/text", content: "ü", encoding: "utf8" },
      { path: "in/bytes", content: Buffer.from([0, 255]).toString("base64"), encoding: "base64" },
      { path: "empty", content: "", encoding: "utf8" },
    ]);
    assert.equal(await readFile(path.join(folder(), "in/deep/text"), "utf8"), "ü");
    assert.deepEqual(await readFile(path.join(folder(), "in/bytes")), Buffer.from([0, 255]));
    assert.deepEqual((await readdir(folder(), { recursive: true })).sort(), ["empty", "in", "in/bytes", "in/deep", "in/deep/text"]);
    assert.equal((await stat(path.join(folder(), "in/deep/text"))).mode & 0o777, 0o644);
    assert.equal((await stat(path.join(folder(), "in/deep"))).mode & 0o777, 0o755);
  });

  it("nothing that is there is overwritten, or written through a link", async () => {
    await writeFile(path.join(folder(), "there"), "old");
    await symlink("elsewhere", path.join(folder(), "link"));
    for (const name of ["there", "link"]) await assert.rejects(writeInputFiles(folder(), files(name)), { code: "EEXIST" });
    assert.equal(await readFile(path.join(folder(), "there"), "utf8"), "old");
    assert.ok(!(await readdir(folder())).includes("elsewhere"));
  });

  it("mount points are folders, made once", async () => {
    await mkdir(path.join(folder(), "data"));
    await makeMountPoints(folder(), ["data", "out/x", "."]);
    assert.ok((await stat(path.join(folder(), "out/x"))).isDirectory());
  });
});
