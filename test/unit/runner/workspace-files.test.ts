/** Where the files of a request are written, on a real folder. */

import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { WorkspaceFileError, writeWorkspaceFiles } from "../../../sandbox-image/runner/workspace-files.ts";

describe("Runner: files of the request", () => {
  let base: string;
  let workspace: string;
  beforeEach(() => {
    base = mkdtempSync(path.join(tmpdir(), "code-mode-test-"));
    workspace = path.join(base, "workspace");
    mkdirSync(workspace);
  });
  afterEach(() => rmSync(base, { recursive: true }));

  const write = (file: string, content = "x", encoding: "utf8" | "base64" = "utf8"): void =>
    writeWorkspaceFiles(workspace, [{ path: file, content, encoding }]);

  it("writes text and bytes, with the folders above", () => {
    write("a/b/text.txt", "tëxt");
    write("a/bytes.bin", "AAEC/w==", "base64");
    write("empty", "");
    assert.equal(readFileSync(path.join(workspace, "a/b/text.txt"), "utf8"), "tëxt");
    assert.deepEqual([...readFileSync(path.join(workspace, "a/bytes.bin"))], [0, 1, 2, 255]);
    assert.equal(readFileSync(path.join(workspace, "empty"), "utf8"), "");
  });

  it("replaces nothing", () => {
    writeFileSync(path.join(workspace, "there"), "before");
    assert.throws(() => write("there"), WorkspaceFileError);
    assert.throws(() => write("there/below"), { message: /"there\/below" of the request could not be written: "there" is not a folder/ });
    assert.equal(readFileSync(path.join(workspace, "there"), "utf8"), "before");
  });

  it("follows no link, in the name or above", () => {
    symlinkSync(base, path.join(workspace, "up"));
    symlinkSync(path.join(base, "target"), path.join(workspace, "dangling"));
    assert.throws(() => write("up/file"), WorkspaceFileError);
    assert.throws(() => write("dangling"), WorkspaceFileError);
    assert.equal(existsSync(path.join(base, "file")) || existsSync(path.join(base, "target")), false);
  });
});
