/** `code-mode keys` as a command: what goes to stdout, what is kept, and what happens when two come at once. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmod, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

import { parseKeys } from "../../src/config/keys-file.ts";
import type { KeyEntry } from "../../src/config/keys-file.ts";
import { hashKey } from "../../src/domain/caller.ts";
import { packageRoot } from "../../src/lib/package-info.ts";
import { makeTempFolder } from "../helpers/service.ts";

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

describe("Keys command", function () {
  this.timeout(60_000);
  let folder: string;

  beforeEach(async () => {
    folder = await makeTempFolder();
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  const file = (): string => path.join(folder, "keys.json");
  const read = async (): Promise<KeyEntry[]> => parseKeys(await readFile(file(), "utf8"), "keys.json");
  async function keys(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
    const all = { PATH: process.env["PATH"], HOME: folder, CODE_MODE_API_KEYS_FILE: file(), ...env };
    const ended = await promisify(execFile)(process.execPath, [path.join(packageRoot, "dist", "main.js"), "keys", ...args], {
      env: all,
    }).then(
      ({ stderr, stdout }) => ({ code: 0, stdout, stderr }),
      (error: unknown) => error as Ended,
    );
    assert.doesNotMatch(ended.stdout + ended.stderr, /\n\s+at /, "a stack trace");
    return ended;
  }

  it("prints all of a long list into a pipe whose reader is slow, and leaves quietly when the reader has enough", async () => {
    const entries = Array.from({ length: 1000 }, (_, index) => ({
      name: `key-${index}`,
      sha256: hashKey(`k${index}`),
      scopes: ["execute"],
    }));
    await writeFile(file(), JSON.stringify(entries), { mode: 0o600 });
    const main = path.join(packageRoot, "dist", "main.js");
    const piped = (reader: string): Promise<{ stdout: string; stderr: string }> =>
      promisify(execFile)("sh", ["-c", `"$0" "$1" keys list --json | ${reader}`, process.execPath, main], {
        env: { PATH: process.env["PATH"], HOME: folder, CODE_MODE_API_KEYS_FILE: file() },
        maxBuffer: 2 ** 24,
      });
    const { stdout } = await piped("(sleep 2; cat)");
    assert.ok(stdout.length > 65_536);
    assert.equal((JSON.parse(stdout) as unknown[]).length, 1000);
    assert.equal((await piped("head -c 1")).stderr, "");
  });

  it("prints a new key alone to stdout, and keeps its hash in a file of mode 0600", async () => {
    const { code, stderr, stdout } = await keys([
      "add",
      "alice",
      "--scope",
      "execute,admin",
      "--max-running",
      "4",
      "--runtime",
      "node",
      "--tool",
      "x.*",
    ]);
    assert.equal(code, 0, stderr);
    const key = stdout.trimEnd();
    // 43 characters of base64url are 256 bits.
    assert.match(stdout, /^cm_[A-Za-z0-9_-]{43}\n$/);
    assert.match(stderr, /^The key "alice" is in .*keys\.json, by its hash\. It is shown this once: keep it now\.\n/);
    assert.equal((await stat(file())).mode & 0o777, 0o600);
    const [{ createdAt, ...entry }] = (await read()) as [KeyEntry];
    assert.deepEqual(entry, {
      name: "alice",
      sha256: hashKey(key),
      scopes: ["execute", "admin"],
      maxRunning: 4,
      runtimes: ["node"],
      tools: ["x.*"],
    });
    assert.ok(Math.abs(Date.parse(createdAt!) - Date.now()) < 60_000);
    assert.ok(!(await readFile(file(), "utf8")).includes(key) && !stderr.includes(key));
  });

  it("lists and revokes, and names what there is when a name is wrong", async () => {
    assert.match((await keys(["list"])).stderr, /^There are no keys: /);
    const { stdout: key } = await keys(["add", "alice", "--no-tools"]);
    await keys(["add", "bob", "--scope", "metrics", "--tool", "a.*, b.c"]);
    const list = await keys(["list"], { CODE_MODE_API_KEYS: "quick:0123456789abcdef" });
    assert.match(
      list.stdout,
      /^NAME +SCOPES +MAX RUNNING +RUNTIMES +TOOLS +MADE\nquick +execute +all +all +from CODE_MODE_API_KEYS\nalice +execute +all +none +20\d\d-\d\d-\d\d\nbob +metrics +all +a\.\*,b\.c +20\d\d-/,
    );
    const { stdout: json } = await keys(["list", "--json"]);
    const listed = JSON.parse(json) as object[];
    assert.deepEqual(Object.keys(listed[0]!), ["name", "scopes", "tools", "createdAt", "from"]);
    for (const text of [list.stdout, json]) assert.ok(!text.includes(key.trim()) && !text.includes(hashKey(key.trim())));

    const wrong = await keys(["revoke", "carol"]);
    assert.deepEqual([wrong.code, wrong.stderr], [1, `code-mode: there is no key "carol" in ${file()}. There are: alice, bob\n`]);
    const quick = await keys(["revoke", "quick"], { CODE_MODE_API_KEYS: "quick:0123456789abcdef" });
    assert.deepEqual([quick.code, quick.stderr.includes("comes from CODE_MODE_API_KEYS")], [1, true]);
    assert.equal((await keys(["revoke", "alice"])).code, 0);
    assert.deepEqual(
      (await read()).map(({ name }) => name),
      ["bob"],
    );
  });

  it("of two at once makes both, and of the same name one", async () => {
    const ended = await Promise.all(["a", "b", "c", "c"].map((name) => keys(["add", name])));
    assert.deepEqual(ended.map(({ code }) => code).sort(), [0, 0, 0, 1]);
    const entries = await read();
    assert.deepEqual(entries.map(({ name }) => name).sort(), ["a", "b", "c"]);
    // Each key that was printed is one that is kept.
    const printed = ended.filter(({ code }) => code === 0).map(({ stdout }) => hashKey(stdout.trim()));
    assert.deepEqual(printed.sort(), entries.map(({ sha256 }) => sha256).sort());
    assert.deepEqual(await readdir(folder), ["keys.json"]);
  });

  it("exits with 78 and changes nothing where the file cannot be used", async () => {
    for (const [args, text, mode, message] of [
      [["add", "bob"], "[{", 0o600, /keys\.json:1:\d+: /],
      [["revoke", "alice"], '[{"name": "alice", "key": "cm_secret"}]', 0o600, /entry 1 \("alice"\): key: is no known setting/],
      [["list"], "[]", 0o666, /others can write it \(mode 0666\).*chmod 600/],
    ] as const) {
      await writeFile(file(), text);
      await chmod(file(), mode);
      const { code, stderr, stdout } = await keys(args);
      assert.deepEqual([code, stdout], [78, ""], stderr);
      assert.match(stderr, message);
      assert.ok(!stderr.includes("cm_secret"));
      assert.equal(await readFile(file(), "utf8"), text);
    }
  });

  it("exits with 2 for what makes no sense, and makes no file", async () => {
    for (const args of [
      ["add"],
      ["add", "a b"],
      ["add", "a", "--scope", "root"],
      ["add", "a", "--max-running", "0"],
      ["add", "a", "--runtime", ""],
      ["add", "a", "--tool", "recall"],
      ["add", "a", "--tool", "a.*", "--no-tools"],
      ["rotate"],
    ]) {
      const { code, stderr, stdout } = await keys(args);
      assert.deepEqual([code, stdout], [2, ""], `${args.join(" ")}: ${stderr}`);
      assert.match(stderr, /^error: /);
    }
    assert.deepEqual(await readdir(folder), []);
  });

  it("warns of a runtime that is not there", async () => {
    const { code, stderr } = await keys(["add", "alice", "--runtime", "nodes"]);
    assert.equal(code, 0);
    assert.match(stderr, /Warning: .*runtimes\.json has no runtime "nodes"/);
  });
});
