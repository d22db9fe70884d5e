import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";

import { InputBudget, readInputs, readProgram, readStdin } from "../../../src/cli/run/host-files.ts";
import { UsageError } from "../../../src/cli/usage-error.ts";
import { useTempFolder } from "../support/temp-folder.ts";

const budget = (maxBytes = 1000, maxFiles = 10): InputBudget => new InputBudget({ maxBytes, maxFiles });
const NOTHING = Readable.from([]);

const refuses = (message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof UsageError, String(error));
  assert.match(error.message, message);
  return true;
};

describe("host-files: the program", () => {
  const folder = useTempFolder();
  const file = (name: string): string => path.join(folder(), name);

  it("is a file of any name, or stdin", async () => {
    await writeFile(file("a.txt"), "\uFEFFreturn 1");
    assert.equal(await readProgram(file("a.txt"), NOTHING, budget()), "return 1");
    assert.equal(await readProgram("-", Readable.from([Buffer.from("é").subarray(0, 1), Buffer.from("é").subarray(1)]), budget()), "é");
  });

  it("that cannot be had is an error that says why", async () => {
    await mkdir(file("folder"));
    await writeFile(file("latin1.js"), Buffer.from([0x66, 0xe9]));
    await writeFile(file("large.js"), "x".repeat(1001));
    await symlink("loop", file("loop"));
    for (const [name, message] of [
      ["missing.ts", /missing\.ts: there is no such file$/],
      ["large.js/x.ts", /there is no such file$/],
      ["folder", /folder: is a folder$/],
      ["latin1.js", /no UTF-8 text: .*latin1\.js$/],
      ["large.js", /large\.js is too large: .*CODE_MODE_MAX_BODY_BYTES/],
      ["loop", /is a link, or leads through too many$/],
      ["x.tsx", /JSX is not understood/],
      ["x.JSX", /JSX is not understood/],
    ] as const)
      await assert.rejects(readProgram(file(name), NOTHING, budget()), refuses(message), name);
    await assert.rejects(readProgram("/dev/zero", NOTHING, budget()), refuses(/is no regular file$/));
    await assert.rejects(readProgram("-", Readable.from([Buffer.alloc(1001)]), budget()), refuses(/the program on stdin is too large/));
  });
});

describe("host-files: stdin", () => {
  it("is kept as it is, or refused", async () => {
    assert.equal(await readStdin(Readable.from([Buffer.from("\uFEFFa\n")]), budget()), "\uFEFFa\n");
    await assert.rejects(readStdin(Readable.from([Buffer.from([0xff])]), budget()), refuses(/--input/));
  });
});

describe("host-files: input files", () => {
  const folder = useTempFolder();
  const file = (name: string): string => path.join(folder(), name);
  const read = async (specs: Parameters<typeof readInputs>[0], limits = budget()): Promise<{ files: string[]; leftOut: string[] }> => {
    const { files, leftOut } = await readInputs(specs, limits);
    return { files: files.map(({ content, path: name }) => `${name}: ${Buffer.from(content, "base64").toString()}`), leftOut };
  };

  beforeEach(async () => {
    await mkdir(file("in/sub"), { recursive: true });
    await writeFile(file("in/b.txt"), "b");
    await writeFile(file("in/sub/a.txt"), "a");
    await writeFile(file("one.bin"), Buffer.from([1]));
  });

  it("keep their own name, or get another", async () => {
    assert.deepEqual((await read([{ name: undefined, source: file("one.bin") }])).files, ["one.bin: \u0001"]);
    assert.deepEqual((await read([{ name: "x/y", source: file("one.bin") }])).files, ["x/y: \u0001"]);
  });

  it("of a folder are all in it, in order", async () => {
    assert.deepEqual((await read([{ name: undefined, source: `${file("in")}/` }])).files, ["in/b.txt: b", "in/sub/a.txt: a"]);
    assert.deepEqual((await read([{ name: "q/", source: file("in") }])).files, ["q/b.txt: b", "q/sub/a.txt: a"]);
    assert.deepEqual((await read([{ name: ".", source: file("in") }])).files, ["b.txt: b", "sub/a.txt: a"]);
  });

  it("do not come through a link in a folder, nor from a pipe or device there, and that is said", async () => {
    await symlink("/etc/hostname", file("in/link"));
    await symlink("/etc", file("in/sub/etc"));
    execFileSync("mkfifo", [file("in/pipe")]);
    const { files, leftOut } = await read([{ name: "in", source: file("in") }]);
    assert.deepEqual(files, ["in/b.txt: b", "in/sub/a.txt: a"]);
    assert.deepEqual(
      leftOut.map((line) => line.replace(`${folder()}/`, "")),
      ["in/link: is a link, and was left out", "in/pipe: is no regular file, and was left out", "in/sub/etc: is a link, and was left out"],
    );
  });

  it("come through a link that was named", async () => {
    await symlink("one.bin", file("named"));
    assert.deepEqual((await read([{ name: undefined, source: file("named") }])).files, ["named: \u0001"]);
  });

  it("are bounded in number and in size, together", async () => {
    const twice = [
      { name: "x", source: file("in") },
      { name: "y", source: file("in") },
    ];
    await assert.rejects(read(twice, budget(1000, 3)), refuses(/the runtime takes 3 input files/));
    await assert.rejects(read(twice, budget(3)), refuses(/too large/));
    await assert.rejects(read([{ name: "x", source: "/dev/zero" }]), refuses(/is no regular file/));
    await assert.rejects(read([{ name: "x", source: file("missing") }]), refuses(/there is no such file/));
  });
});
