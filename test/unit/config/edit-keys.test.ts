import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, lstat, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import path from "node:path";

import fc from "fast-check";

import { addKey, KeysError, revokeKey } from "../../../src/config/edit-keys.ts";
import { parseKeys } from "../../../src/config/keys-file.ts";
import type { KeyEntry } from "../../../src/config/keys-file.ts";
import { hashKey } from "../../../src/domain/caller.ts";
import { StartupError } from "../../../src/domain/errors.ts";
import { useTempFolder } from "../support/temp-folder.ts";

const entryOf = (name: string): KeyEntry => ({ name, sha256: hashKey(name), scopes: ["execute"] });

describe("edit-keys: changes of the keys file", () => {
  const folder = useTempFolder();
  const file = (): string => path.join(folder(), "keys.json");
  const add = (name: string, to = file()): Promise<void> => addKey(entryOf(name), [], { file: to });
  const read = async (): Promise<KeyEntry[]> => parseKeys(await readFile(file(), "utf8"), "keys.json");
  const names = async (): Promise<string[]> => (await read()).map(({ name }) => name);
  const modeOf = async (name: string): Promise<number> => (await stat(name)).mode & 0o7777;
  const refusal = async (promise: Promise<unknown>): Promise<string> => {
    const error: unknown = await promise.then(
      () => assert.fail("it was changed"),
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof KeysError || error instanceof StartupError, String(error));
    return error.message;
  };

  it("make it, for its user alone, and leave nothing beside it", async () => {
    await add("alice");
    assert.equal(await modeOf(file()), 0o600);
    assert.deepEqual(await readdir(folder()), ["keys.json"]);
    assert.deepEqual(await read(), [entryOf("alice")]);
    await add("bob");
    await revokeKey("alice", { file: file() });
    assert.deepEqual(await names(), ["bob"]);
    await revokeKey("bob", { file: file() });
    assert.deepEqual(await names(), []);
  });

  it("keep what else is in it: other entries with all their fields, comments, order", async () => {
    const text = `// Who may use the service.
[
  // The team
  { "name": "alice", "sha256": "${hashKey("alice")}", "scopes": ["execute", "admin"], "maxRunning": 3 },

  /* the build */ { "name": "ci", "sha256": "${hashKey("ci")}", "scopes": ["execute"], "tools": ["x.*"] },
]
`;
    await writeFile(file(), text, { mode: 0o600 });
    await add("bob");
    const changed = await readFile(file(), "utf8");
    for (const comment of ["// Who may use the service.", "// The team", "/* the build */"]) assert.ok(changed.includes(comment), changed);
    assert.deepEqual((await read()).slice(0, 2), parseKeys(text, "keys.json"));
    assert.deepEqual(await names(), ["alice", "ci", "bob"]);
    await revokeKey("bob", { file: file() });
    await revokeKey("alice", { file: file() });
    assert.match(await readFile(file(), "utf8"), /Who may use.*The team.*the build.*"tools"/s);
    assert.deepEqual(await names(), ["ci"]);
  });

  for (const [title, text] of [
    ["all on one line", `[${["a", "b", "c"].map((name) => JSON.stringify(entryOf(name))).join(",")}]`],
    [
      "with a comment at the end of each line",
      `[\n${["a", "b", "c"].map((name) => `${JSON.stringify(entryOf(name))}, // ${name}\n`).join("")}]`,
    ],
    ["with comments before the commas", `[${["a", "b", "c"].map((name) => `${JSON.stringify(entryOf(name))}/* ${name} */\n`).join(",")}]`],
    ["after a comment that ends with the line", `[// all\n${["a", "b", "c"].map((name) => JSON.stringify(entryOf(name))).join(", ")} ]`],
  ] as const) {
    it(`take each entry out of a file that has them ${title}, and keep its comments`, async () => {
      for (const name of ["a", "b", "c"]) {
        await writeFile(file(), text, { mode: 0o600 });
        await revokeKey(name, { file: file() });
        assert.deepEqual(
          await names(),
          ["a", "b", "c"].filter((other) => other !== name),
        );
        const comments = text.match(/\/\/.*|\/\*.*?\*\//g) ?? [];
        for (const comment of comments) assert.ok((await readFile(file(), "utf8")).includes(comment));
      }
    });
  }

  it("do to any file what they would do to a list", async () => {
    const step = fc.record({ name: fc.constantFrom("a", "b", "c", "d"), revoke: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom("[]", "[ ]\n", "// none\n[\n]", "[\n  // none yet\n]\n"),
        fc.array(step, { maxLength: 10 }),
        async (text, steps) => {
          await writeFile(file(), text, { mode: 0o600 });
          let list: string[] = [];
          for (const { name, revoke } of steps) {
            const present = list.includes(name);
            const done = revoke ? revokeKey(name, { file: file() }) : add(name);
            if (present === revoke) await done;
            else await refusal(done);
            list = revoke ? list.filter((other) => other !== name) : present ? list : [...list, name];
          }
          assert.deepEqual(await names(), list);
        },
      ),
      { numRuns: 25 },
    );
  });

  it("of many at once are all made", async () => {
    const all = Array.from({ length: 20 }, (_, index) => `key-${index}`);
    await Promise.all(all.map((name) => add(name)));
    assert.deepEqual((await names()).sort(), all.sort());
    assert.deepEqual(await readdir(folder()), ["keys.json"]);
  });

  it("are refused for a name that is taken, in the file or in the environment, and for one that is not there", async () => {
    await add("alice");
    assert.equal(await refusal(add("alice")), 'there is a key "alice" already; revoke it first, or choose another name');
    assert.match(
      await refusal(addKey(entryOf("eve"), [{ name: "eve", key: "x" }], { file: file() })),
      /CODE_MODE_API_KEYS has a key "eve" already/,
    );
    assert.equal(await refusal(revokeKey("bob", { file: file() })), `there is no key "bob" in ${file()}. There are: alice`);
    assert.match(await refusal(revokeKey("bob", { file: path.join(folder(), "none.json") })), /There are: none$/);
    assert.deepEqual(await names(), ["alice"]);
  });

  for (const [title, text] of [
    ["does not parse", '[{"name": "alice",'],
    ["is empty", ""],
    ["has an entry that is wrong", '[{"name": "alice", "sha256": "x", "scopes": []}]'],
    ["is no list", "{}"],
  ] as const) {
    it(`leave a file alone that ${title}`, async () => {
      await writeFile(file(), text, { mode: 0o600 });
      for (const done of [add("bob"), revokeKey("alice", { file: file() })]) assert.match(await refusal(done), /keys\.json:/);
      assert.equal(await readFile(file(), "utf8"), text);
      assert.deepEqual(await readdir(folder()), ["keys.json"]);
    });
  }

  it("leave a file alone that others can write", async () => {
    await writeFile(file(), "[]");
    await chmod(file(), 0o666);
    assert.match(await refusal(add("bob")), /others can write it/);
    assert.equal(await readFile(file(), "utf8"), "[]");
  });

  it("take from a file what everybody may read, and leave a group its right", async () => {
    for (const [before, after] of [
      [0o644, 0o640],
      [0o640, 0o640],
      [0o400, 0o600],
    ] as const) {
      await writeFile(file(), "[]");
      await chmod(file(), before);
      await add("alice");
      assert.equal(await modeOf(file()), after);
      await chmod(file(), 0o600);
    }
  });

  it("keep the owner of the file, and give a new one to the owner of the folder", async function () {
    // Only root can give a file to somebody else.
    if (process.getuid?.() !== 0) return this.skip();
    execFileSync("chown", ["47311:47312", folder()]);
    await add("alice");
    assert.deepEqual([(await stat(file())).uid, (await stat(file())).gid], [47_311, 47_312]);
    execFileSync("chown", ["0:47312", file()]);
    await add("bob");
    assert.deepEqual([(await stat(file())).uid, (await stat(file())).gid], [0, 47_312]);
  });

  it("go to what a link leads to, and leave the link", async () => {
    await mkdir(path.join(folder(), "real"));
    const real = path.join(folder(), "real", "keys.json");
    await writeFile(real, "[]", { mode: 0o600 });
    await symlink(real, file());
    await add("alice");
    assert.ok((await lstat(file())).isSymbolicLink());
    assert.deepEqual(await names(), ["alice"]);
    assert.deepEqual(await readdir(path.dirname(real)), ["keys.json"]);
  });

  it("wait for another's, but not for ever, and say what to do", async () => {
    const lock = `${file()}.lock`;
    await writeFile(lock, "1\n");
    const began = performance.now();
    const waiting = addKey(entryOf("alice"), [], { file: file(), lockWaitMs: 100 });
    assert.match(
      await refusal(waiting),
      /another command changes the keys: .*keys\.json\.lock is there\. If none runs, one was killed; then remove that file$/,
    );
    assert.ok(performance.now() - began >= 95);
    assert.deepEqual(await readdir(folder()), ["keys.json.lock"], "the lock is another's");
  });

  it("say why where they cannot be made", async () => {
    assert.match(
      await refusal(add("alice", path.join(folder(), "none", "keys.json"))),
      /cannot be written: the folder .*none is not there; make it$/,
    );
  });
});
