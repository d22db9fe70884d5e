/** Staging and moving files on a real disk. */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { chmod, mkdir, readdir, readFile, readlink, rm, stat, symlink, writeFile } from "node:fs/promises";
import path from "node:path";

import type { PersistPart } from "../../../../../src/bridge/persist-reader.ts";
import { commit } from "../../../../../src/sandbox/docker/persist/commit.ts";
import { removeStaged, Staging } from "../../../../../src/sandbox/docker/persist/staging.ts";
import { useTempFolder } from "../../../support/temp-folder.ts";

const EXECUTION = "exe_0123456789abcdefghij";

const whole = (target: string, content: string): PersistPart => ({
  kind: "file",
  path: target,
  size: content.length,
  pieces: [Buffer.from(content)],
  begins: true,
  ends: true,
});

describe("persist: staging and moving", () => {
  const folder = useTempFolder();
  const workspace = (...names: string[]): string => path.join(folder(), "workspace", ...names);
  const run = (...names: string[]): string => path.join(folder(), EXECUTION, ...names);
  const problems: string[] = [];

  const open = (roots: readonly string[] = ["out"]): Staging =>
    new Staging({
      workspaceRoot: workspace(),
      roots,
      executionId: EXECUTION,
      executionRoot: run(),
      onCleanupError: (step) => problems.push(step),
    });

  beforeEach(async () => {
    await mkdir(workspace("out"), { recursive: true });
    await mkdir(run());
    problems.length = 0;
  });
  afterEach(() => assert.deepEqual(problems, []));

  it("shows nothing of a file before it is moved, and nothing of the staging after it", async () => {
    const staging = open();
    await staging.write([whole("out/a", "A"), whole("out/deep/b", "B")]);
    const [hidden, ...others] = await readdir(workspace("out"));
    assert.deepEqual([hidden, others], [`.code-mode-${EXECUTION}-0`, []]);
    assert.equal((await stat(workspace("out", hidden ?? ""))).mode & 0o777, 0o700);
    assert.equal(await readlink(run("staging-0")), workspace("out", hidden ?? ""));
    assert.deepEqual(
      await commit(workspace(), ["out/empty"], staging.files).then(({ bytes, files, refused }) => ({ bytes, files, refused })),
      {
        files: 2,
        bytes: 2,
        refused: [],
      },
    );
    await staging.close();
    await staging.close();
    assert.deepEqual((await readdir(workspace("out"))).sort(), ["a", "deep", "empty"]);
    assert.equal(await readFile(workspace("out/deep/b"), "utf8"), "B");
  });

  it("puts a file together that comes in parts, among others", async () => {
    const staging = open();
    const part = (content: string, at: { begins: boolean; ends: boolean }): PersistPart => ({
      kind: "file",
      path: "out/long",
      size: 9,
      pieces: [Buffer.from(content)],
      ...at,
    });
    await staging.write([whole("out/a", "A"), part("one", { begins: true, ends: false })]);
    await staging.write([part("two", { begins: false, ends: false })]);
    await staging.write([
      part("six", { begins: false, ends: true }),
      whole("out/b", "B"),
      { ...part("x", { begins: true, ends: false }), path: "out/cut" },
    ]);
    await commit(workspace(), [], staging.files.slice(0, 3));
    await staging.close();
    assert.equal(await readFile(workspace("out/long"), "utf8"), "onetwosix");
    assert.deepEqual((await readdir(workspace("out"))).sort(), ["a", "b", "long"]);
  });

  it("stages in the deepest folder that is there, and makes none before it is known what is kept", async () => {
    const staging = open(["out/not/there"]);
    await staging.write([whole("out/not/there/a", "A")]);
    assert.deepEqual(await readdir(workspace("out")), [`.code-mode-${EXECUTION}-0`]);
    await staging.close();
    assert.deepEqual(await readdir(workspace("out")), []);
  });

  it("writes with the same modes whatever the umask of the service is", async () => {
    const before = process.umask(0o077);
    try {
      const staging = open();
      await staging.write([whole("out/a", "A"), whole("out/deep/b", "B")]);
      await commit(workspace(), [], staging.files);
      await staging.close();
    } finally {
      process.umask(before);
    }
    const modes = await Promise.all(["out/a", "out/deep", "out/deep/b"].map(async (name) => (await stat(workspace(name))).mode & 0o7777));
    assert.deepEqual(modes, [0o644, 0o755, 0o644]);
  });

  it("does not stage through a link that has taken the place of the kept folder", async () => {
    await mkdir(path.join(folder(), "victim"));
    await rm(workspace("out"), { recursive: true });
    await symlink(path.join(folder(), "victim"), workspace("out"));
    const staging = open();
    await assert.rejects(staging.write([whole("out/a", "A")]), /no folder stands there/);
    await staging.close();
    assert.deepEqual(await readdir(path.join(folder(), "victim")), []);
  });

  it("does not move through a link that comes while files are staged", async () => {
    await mkdir(path.join(folder(), "victim"));
    const staging = open();
    await staging.write([whole("out/deep/a", "A"), whole("out/b", "B")]);
    await symlink(path.join(folder(), "victim"), workspace("out/deep"));
    const { files, refused } = await commit(workspace(), [], staging.files);
    await staging.close();
    assert.deepEqual([files, refused.map((entry) => entry.path)], [1, ["out/deep/a"]]);
    assert.deepEqual(await readdir(path.join(folder(), "victim")), []);
  });

  it("leaves what stands there in place, with other modes or not", async () => {
    await writeFile(workspace("out/a"), "old");
    await chmod(workspace("out/a"), 0o600);
    const staging = open();
    await staging.write([whole("out/a", "new")]);
    await commit(workspace(), [], staging.files);
    await staging.close();
    assert.deepEqual([await readFile(workspace("out/a"), "utf8"), (await stat(workspace("out/a"))).mode & 0o777], ["new", 0o644]);
  });

  it("is removed by the next start when the service died, but nothing else is", async () => {
    const staging = open();
    await staging.write([whole("out/a", "A")]);
    await mkdir(path.join(folder(), "innocent"));
    await symlink(path.join(folder(), "innocent"), run("staging-7"));
    await removeStaged(run());
    assert.deepEqual([await readdir(workspace("out")), existsSync(path.join(folder(), "innocent"))], [[], true]);
    await staging.close();
  });
});
