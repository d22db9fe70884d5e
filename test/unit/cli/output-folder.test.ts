import assert from "node:assert/strict";
import { link, lstat, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import path from "node:path";

import { OutputFolder } from "../../../src/cli/run/output-folder.ts";
import { UsageError } from "../../../src/cli/usage-error.ts";
import type { OutputFile } from "../../../src/domain/execution.ts";
import { useTempFolder } from "../support/temp-folder.ts";

const utf8 = (name: string, content: string): OutputFile => ({ path: name, content, encoding: "utf8", size: content.length });

describe("output-folder: what a stranger's program wrote comes to this host", () => {
  const folder = useTempFolder();
  const at = (...names: string[]): string => path.join(folder(), ...names);
  const out = (): string => at("out");

  it("in a folder that is made, under the names of the workspace, byte for byte, not executable", async () => {
    const target = await OutputFolder.open(at("new", "deep"), { overwrite: false });
    const bytes = Buffer.from([0, 255, 13, 10]);
    const file: OutputFile = { path: "temp/sub/b.bin", content: bytes.toString("base64"), encoding: "base64", size: 4 };
    assert.deepEqual(await target.write([utf8("temp/a.txt", "é\r\n"), file, utf8("temp/empty", "")]), []);
    assert.equal(await readFile(at("new", "deep", "temp", "a.txt"), "utf8"), "é\r\n");
    assert.deepEqual(await readFile(at("new", "deep", "temp", "sub", "b.bin")), bytes);
    assert.equal((await lstat(at("new", "deep", "temp", "a.txt"))).mode & 0o111, 0);
  });

  it("not in a folder that holds something, nor in the place of a file, and that is known before the program runs", async () => {
    await mkdir(out());
    await writeFile(at("out", ".hidden"), "");
    await assert.rejects(OutputFolder.open(out(), { overwrite: false }), (error: unknown) => {
      assert.ok(error instanceof UsageError);
      assert.match(error.message, /the folder is not empty\..*--overwrite/);
      return true;
    });
    await assert.rejects(OutputFolder.open(at("out", ".hidden"), { overwrite: true }), /is no folder/);
    await assert.rejects(OutputFolder.open(at("out", ".hidden", "x"), { overwrite: false }), /is no folder/);
  });

  it("never through a link, to a file or to a folder, also when files may be replaced", async () => {
    await mkdir(at("out", "temp"), { recursive: true });
    await writeFile(at("victim"), "precious");
    await mkdir(at("elsewhere"));
    await symlink(at("victim"), at("out", "temp", "link"));
    await link(at("victim"), at("out", "temp", "hard"));
    await symlink(at("elsewhere"), at("out", "temp", "folder"));
    const target = await OutputFolder.open(out(), { overwrite: true });
    const problems = await target.write([utf8("temp/link", "new"), utf8("temp/hard", "new"), utf8("temp/folder/x", "new")]);
    assert.equal(await readFile(at("victim"), "utf8"), "precious");
    assert.deepEqual(await readdir(at("elsewhere")), []);
    assert.ok((await lstat(at("out", "temp", "link"))).isFile(), "the link is replaced by the file");
    assert.equal(await readFile(at("out", "temp", "hard"), "utf8"), "new");
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? "", /^output file "temp\/folder\/x": was not written: .*folder is no folder$/);
  });

  it("never over a file that came meanwhile, unless files may be replaced", async () => {
    const target = await OutputFolder.open(out(), { overwrite: false });
    await mkdir(at("out", "temp"));
    await writeFile(at("out", "temp", "a"), "old");
    assert.match((await target.write([utf8("temp/a", "new")]))[0] ?? "", /there is something of that name already/);
    assert.equal(await readFile(at("out", "temp", "a"), "utf8"), "old");
    const replacing = await OutputFolder.open(out(), { overwrite: true });
    assert.deepEqual(await replacing.write([utf8("temp/a", "new")]), []);
    assert.equal(await readFile(at("out", "temp", "a"), "utf8"), "new");
    assert.deepEqual(await readdir(at("out", "temp")), ["a"], "nothing half-written is left");
  });

  it("never outside the folder, whatever path is given", async () => {
    const target = await OutputFolder.open(out(), { overwrite: true });
    const paths = ["../x", "/etc/x", "a/../../x", "..", ".", "", "a//b", "a/./b", "a\\b", "a\u0000b", "a\nb"];
    const problems = await target.write(paths.map((name) => utf8(name, "evil")));
    assert.equal(problems.length, paths.length);
    for (const problem of problems) assert.match(problem, /its path is none of a workspace$/);
    assert.deepEqual(await readdir(folder()), ["out"]);
    assert.deepEqual(await readdir(out()), []);
  });

  it("or it is said why not: a file in the place of a folder, a folder in the place of a file, what was not sent", async () => {
    const target = await OutputFolder.open(out(), { overwrite: true });
    const files = [utf8("a", "file"), utf8("a/b", "x"), utf8("c/d", "x"), utf8("c", "y"), { path: "big", size: 9, error: "too large" }];
    const problems = await target.write(files);
    assert.deepEqual(
      problems.map((problem) => problem.replace(/:.*/, "")),
      ['output file "a/b"', 'output file "c"', 'output file "big"'],
    );
    assert.equal(problems[2], 'output file "big": too large');
    assert.deepEqual(await readdir(at("out", "c")), ["d"]);
    assert.deepEqual((await readdir(out())).sort(), ["a", "c"], "nothing half-written is left");
  });
});
