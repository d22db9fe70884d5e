import assert from "node:assert/strict";
import { chmod, mkdir, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { execFileSync } from "node:child_process";

import { loadKeys } from "../../../src/config/keys.ts";
import { parseKeys, readKeysFile } from "../../../src/config/keys-file.ts";
import { hashKey } from "../../../src/domain/caller.ts";
import { StartupError } from "../../../src/domain/errors.ts";
import { useTempFolder } from "../support/temp-folder.ts";

const FILE = "etc/keys.json";
const [A, B] = [hashKey("a"), hashKey("b")];
const ALICE = { name: "alice", sha256: A, scopes: ["execute"] };
const BOB = { name: "bob", sha256: B, scopes: ["execute", "admin"] };

const problemsOf = (value: unknown): readonly string[] => {
  try {
    parseKeys(typeof value === "string" ? value : JSON.stringify(value), FILE);
  } catch (error) {
    assert.ok(error instanceof StartupError);
    return error.problems;
  }
  return assert.fail("it was accepted");
};

async function refusal(promise: Promise<unknown>): Promise<string> {
  const error: unknown = await promise.then(
    () => assert.fail("it was accepted"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof StartupError, String(error));
  return error.problems.join("\n");
}

describe("keys-file: entries", () => {
  it("have a name, a hash and scopes; limits and the rest may be left out", () => {
    const full = { ...BOB, maxRunning: 4, runtimes: ["node", "jobs"], tools: ["automem.*"], createdAt: "2026-01-31T12:00:00.000Z" };
    assert.deepEqual(parseKeys(JSON.stringify([ALICE, full]), FILE), [ALICE, full]);
    assert.deepEqual(parseKeys(JSON.stringify([{ ...ALICE, tools: [] }]), FILE), [{ ...ALICE, tools: [] }]);
    assert.deepEqual(parseKeys("[]", FILE), []);
  });

  it("may stand among comments; capitals in the hash do not matter", () => {
    const text = `// who may use it\n[{"name": "alice", "sha256": "${A.toUpperCase()}", "scopes": ["execute"]},]`;
    assert.deepEqual(parseKeys(text, FILE), [ALICE]);
  });

  for (const [title, value, problem] of [
    ["no list", {}, "expected a list of keys: "],
    ["something that is no object", [1], "entry 1: "],
    ["a name with strange characters", [{ ...ALICE, name: "a b" }], "entry 1: name: expected 1 to 64 letters, digits, _ . @ and -"],
    ["no name", [ALICE, { sha256: B, scopes: ["execute"] }], "entry 2: name: "],
    ["the name of nobody", [{ ...ALICE, name: "anonymous" }], 'entry 1 ("anonymous"): name: "anonymous" is who comes without a key'],
    [
      "a key in place of its hash",
      [{ ...ALICE, sha256: "cm_secret" }],
      'entry 1 ("alice"): sha256: expected 64 hexadecimal digits: the SHA-256 of the key, not the key itself',
    ],
    ["the key beside its hash", [{ ...ALICE, key: "cm_secret" }], 'entry 1 ("alice"): key: is no known setting'],
    ["no scope", [{ ...ALICE, scopes: [] }], 'entry 1 ("alice"): scopes: is empty: such a key could do nothing; revoke it instead'],
    ["an unknown scope", [{ ...ALICE, scopes: ["root"] }], 'entry 1 ("alice"): scopes.0: expected "execute", "admin", "audit", "metrics"'],
    ["a scope twice", [{ ...ALICE, scopes: ["admin", "admin"] }], 'entry 1 ("alice"): scopes: a scope is given twice'],
    ["scopes as text", [{ ...ALICE, scopes: "execute" }], 'entry 1 ("alice"): scopes: expected a list of scopes'],
    ["a limit of nothing", [{ ...ALICE, maxRunning: 0 }], 'entry 1 ("alice"): maxRunning: '],
    ["a limit that is no whole number", [{ ...ALICE, maxRunning: 1.5 }], 'entry 1 ("alice"): maxRunning: '],
    [
      "no runtime at all",
      [{ ...ALICE, runtimes: [] }],
      'entry 1 ("alice"): runtimes: expected at least one of runtimes; leave the field out to allow all',
    ],
    ["a runtime twice", [{ ...ALICE, runtimes: ["node", "node"] }], 'entry 1 ("alice"): runtimes: an entry is given twice'],
    [
      "a tool without its server",
      [{ ...ALICE, tools: ["automem.*", "recall"] }],
      'entry 1 ("alice"): tools.1: is no pattern of tools: write "server.tool", "server.*" for all tools of a server, or "*" for all',
    ],
    ["tools as text", [{ ...ALICE, tools: "*" }], 'entry 1 ("alice"): tools: expected a list of patterns of tools'],
    ["a pattern of tools twice", [{ ...ALICE, tools: ["*", "*"] }], 'entry 1 ("alice"): tools: an entry is given twice'],
    [
      "a time that is none",
      [{ ...ALICE, createdAt: "today" }],
      'entry 1 ("alice"): createdAt: expected a time such as 2026-01-31T12:00:00Z',
    ],
    [
      "a name twice",
      [ALICE, BOB, { ...ALICE, sha256: hashKey("c") }],
      'entry 3 ("alice"): name: entry 1 has it too; each key needs a name of its own',
    ],
    [
      "a hash twice",
      [ALICE, { ...BOB, sha256: A.toUpperCase() }],
      'entry 2 ("bob"): sha256: entry 1 ("alice") has it too; give each its own key',
    ],
    [
      "too many",
      Array.from({ length: 1001 }, (_, index) => ({ ...ALICE, name: `k${index}`, sha256: hashKey(String(index)) })),
      "holds more than 1000 keys",
    ],
  ] as const) {
    it(`cannot be ${title}: the problem names file, entry and what to change`, () => {
      const [first, ...more] = problemsOf(value);
      assert.ok(first!.startsWith(`${FILE}: ${problem}`), first);
      assert.deepEqual(more, []);
      assert.ok(!first!.includes("cm_secret"), "a key must not reach the log");
    });
  }

  it("are refused with line and column where the text is no JSON", () => {
    assert.match(problemsOf('[\n  {"name": }]')[0]!, /^etc\/keys\.json:2:\d+: expected a value/);
    assert.ok(!problemsOf('[{"sha256": cm_secret}]')[0]!.includes("cm_secret"), "a key must not reach the log");
    assert.match(problemsOf("")[0]!, /^etc\/keys\.json:1:1: /);
  });

  it("have all their problems listed at once", () => {
    assert.equal(
      problemsOf([
        { ...ALICE, scopes: [] },
        { ...BOB, maxRunning: 0, x: 1 },
      ]).length,
      3,
    );
  });
});

describe("keys-file: the file", () => {
  const folder = useTempFolder();
  const write = async (mode = 0o600, text = JSON.stringify([ALICE])): Promise<string> => {
    const file = path.join(folder(), "keys.json");
    await writeFile(file, text);
    await chmod(file, mode);
    return file;
  };

  it("may not be there", async () => {
    assert.equal(await readKeysFile(path.join(folder(), "keys.json")), undefined);
  });

  it("is in order when its user, or a group, can read it", async () => {
    for (const mode of [0o600, 0o640, 0o400]) assert.deepEqual((await readKeysFile(await write(mode)))?.warnings, [], mode.toString(8));
  });

  it("is warned about when everybody can read it", async () => {
    const file = await write(0o644);
    assert.deepEqual((await readKeysFile(file))?.warnings, [
      `${file}: others can read it (mode 0644), and so the names of its keys. Run: chmod 600 ${file}`,
    ]);
  });

  it("is refused when it belongs to another user and lies where everybody can make files", async function () {
    // Only root can give a file to somebody else.
    if (process.getuid?.() !== 0) return this.skip();
    const file = await write();
    execFileSync("chown", ["47311", file]);
    await chmod(path.dirname(file), 0o1777);
    await assert.rejects(readKeysFile(file), /belongs to another user \(47311\), in a folder where everybody can make files/);
  });

  it("is warned about when it belongs to another user than the service's and root", async function () {
    // Only root can give a file to somebody else.
    if (process.getuid?.() !== 0) return this.skip();
    const file = await write();
    execFileSync("chown", ["47311", file]);
    assert.match((await readKeysFile(file))!.warnings[0]!, /belongs to another user \(47311\), who can make keys$/);
  });

  for (const mode of [0o620, 0o602, 0o666]) {
    it(`is refused when others can write it (${mode.toString(8)})`, async () => {
      const file = await write(mode);
      assert.match(
        await refusal(readKeysFile(file)),
        /others can write it \(mode 06\d\d\), and so make keys for themselves\. Run: chmod 600 \//,
      );
    });
  }

  it("is refused in a folder where others can replace it, also through a link", async () => {
    const open = path.join(folder(), "open");
    await mkdir(open);
    const file = path.join(open, "keys.json");
    await writeFile(file, "[]", { mode: 0o600 });
    await chmod(open, 0o777);
    const link = path.join(folder(), "link.json");
    await symlink(file, link);
    for (const name of [file, link])
      assert.match(await refusal(readKeysFile(name)), /others can replace the keys file in it \(mode 0777\)/);
    await chmod(open, 0o1777);
    assert.deepEqual((await readKeysFile(link))?.keys, []);
  });

  it("is refused when it is no regular file, or too large, without waiting for anybody", async () => {
    assert.match(await refusal(readKeysFile(folder())), /is no regular file/);
    const fifo = path.join(folder(), "fifo");
    execFileSync("mkfifo", [fifo]);
    assert.match(await refusal(readKeysFile(fifo)), /is no regular file/);
    assert.match(await refusal(readKeysFile(await write(0o600, " ".repeat(4 * 2 ** 20 + 1)))), /is larger than/);
  });
});

describe("keys: those of the environment and of the file", () => {
  const folder = useTempFolder();
  const settings = (keys: { name: string; key: string }[], keysFileIsNamed = false): Parameters<typeof loadKeys>[0] => ({
    keys,
    keysFile: path.join(folder(), "keys.json"),
    keysFileIsNamed,
  });
  const write = (entries: object[]): Promise<void> => writeFile(path.join(folder(), "keys.json"), JSON.stringify(entries), { mode: 0o600 });

  it("are no keys only where neither was ever set up", async () => {
    assert.equal((await loadKeys(settings([]))).keys, undefined);
    await write([]);
    assert.deepEqual((await loadKeys(settings([]))).keys, []);
  });

  it("are taken together; those of the environment can execute", async () => {
    await write([BOB]);
    const { keys } = await loadKeys(settings([{ name: "alice", key: "a" }]));
    assert.deepEqual(keys, [ALICE, BOB]);
  });

  it("must not share a name or a key", async () => {
    await write([ALICE]);
    assert.match(
      await refusal(loadKeys(settings([{ name: "alice", key: "other" }]))),
      /entry 1 \("alice"\): name: CODE_MODE_API_KEYS has it too/,
    );
    assert.match(
      await refusal(loadKeys(settings([{ name: "eve", key: "a" }]))),
      /entry 1 \("alice"\): sha256: it is the key "eve" of CODE_MODE_API_KEYS/,
    );
  });

  it("are refused where the environment names a file that is not there", async () => {
    assert.match(
      await refusal(loadKeys(settings([{ name: "alice", key: "a" }], true))),
      /^environment: CODE_MODE_API_KEYS_FILE: there is no file \//,
    );
  });
});
