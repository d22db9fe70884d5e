/** The commands of the README, from a clean clone of what is committed. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

import { packageRoot } from "../../src/lib/package-info.ts";
import { makeTempFolder } from "../helpers/service.ts";

const run = promisify(execFile);

describe("Commands", function () {
  this.timeout(300_000);
  let folder: string;
  let clone: string;

  before(async () => {
    folder = await makeTempFolder();
    clone = path.join(folder, "clone");
    await run("git", ["clone", "--quiet", "--no-hardlinks", packageRoot, clone]);
  });
  after(() => rm(folder, { recursive: true, force: true }));

  const make = async (target: string): Promise<{ text: string; tookMs: number }> => {
    const began = performance.now();
    const env = { ...process.env, CODE_MODE_STATE_DIR: path.join(folder, "state") };
    const { stderr, stdout } = await run("make", [target], { cwd: clone, env, maxBuffer: 2 ** 26 });
    return { text: stdout + stderr, tookMs: performance.now() - began };
  };

  it("runs the demo from nothing, and again quickly", async () => {
    const first = await make("demo");
    assert.match(first.text, /Trend: 403 more each month/);
    assert.equal(first.text.match(/refused: .*(ENOENT|ECONNREFUSED|EPERM)/g)?.length, 3, first.text);
    assert.match(first.text, /notes\.write_file +denied, TOOL_DENIED/);
    assert.match(first.text, /3 of 3 notes are known/);
    const second = await make("demo");
    assert.ok(second.tookMs < 20_000, `the second run took ${second.tookMs} ms`);
    assert.doesNotMatch(second.text, /Installing packages/);
  });

  it("explains its commands", async () => {
    const { text } = await make("help");
    for (const target of ["demo", "test", "start", "sandbox-image", "check", "soak", "clean"])
      assert.match(text, new RegExp(`make ${target}\\b`));
  });
});
