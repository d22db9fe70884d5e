/** Keys of a running service: what a change of the file does to them, and that nothing opens the service. */

import assert from "node:assert/strict";
import { chmod, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { pino } from "pino";

import { KeyRing } from "../../../src/config/key-ring.ts";
import type { ApiKey } from "../../../src/domain/caller.ts";
import { hashKey } from "../../../src/domain/caller.ts";
import { StartupError } from "../../../src/domain/errors.ts";
import { eventually } from "../support/eventually.ts";
import { useTempFolder } from "../support/temp-folder.ts";

const POLL_MS = 15;
const entry = (name: string, more: object = {}): object => ({ name, sha256: hashKey(name), scopes: ["execute"], ...more });
const QUICK = [{ name: "quick", key: "quick" }];

describe("key-ring: the keys of a running service", () => {
  const folder = useTempFolder();
  let ring: KeyRing | undefined;
  let log: { level: number; msg: string }[];
  let changes: string[][];

  const file = (): string => path.join(folder(), "keys.json");
  const write = (...entries: object[]): Promise<void> => writeFile(file(), JSON.stringify(entries), { mode: 0o600 });
  const namesOf = (keys: readonly ApiKey[] | undefined): string[] | undefined => keys?.map(({ name }) => name);
  const names = (): string[] | undefined => namesOf(ring?.keys);
  const looks = (count: number): Promise<unknown> => sleep(count * (POLL_MS + 10));
  const errors = (): string[] => log.filter(({ level }) => level === 50).map(({ msg }) => msg);

  const open = async (settings: { keys?: typeof QUICK; keysFileIsNamed?: boolean } = {}): Promise<KeyRing> => {
    log = [];
    changes = [];
    const logger = pino({ level: "info" }, { write: (line: string) => log.push(JSON.parse(line) as (typeof log)[number]) });
    ring = await KeyRing.open({ settings: { keys: [], keysFile: file(), keysFileIsNamed: false, ...settings }, logger, pollMs: POLL_MS });
    ring.watch((keys) => changes.push(namesOf(keys)!));
    return ring;
  };
  afterEach(() => ring?.close());

  it("are those of the file; a key that comes, changes or goes is taken in by itself", async () => {
    await write(entry("alice"));
    await open();
    assert.deepEqual(names(), ["alice"]);
    await write(entry("alice"), entry("bob"));
    await eventually(() => names()?.length === 2, "bob is known");
    await write(entry("alice", { maxRunning: 2 }), entry("bob"));
    await eventually(() => ring?.keys?.[0]?.maxRunning === 2, "alice is limited");
    await write(entry("bob"));
    await eventually(() => names()?.join() === "bob", "alice is gone");
    assert.deepEqual(changes, [["alice", "bob"], ["alice", "bob"], ["bob"]]);
    assert.deepEqual(
      log
        .filter(({ msg }) => msg.startsWith("the keys have changed"))
        .map(({ level: _, msg: __, ...rest }) => JSON.stringify(rest).replace(/.*"added"/, '"added"')),
      [
        '"added":["bob"],"revoked":[],"changed":[]}',
        '"added":[],"revoked":[],"changed":["alice"]}',
        '"added":[],"revoked":["alice"],"changed":[]}',
      ],
    );
  });

  it("are taken in also when two changes come so close that the file's times do not tell them apart", async () => {
    await write(entry("alice"));
    await open();
    for (const name of ["bobby", "carol", "david", "alice"]) {
      await write(entry(name));
      await eventually(() => names()?.join() === name, name);
    }
  });

  it("stay as they were while the file cannot be used, which is said once, with the reason", async () => {
    await write(entry("alice"));
    await open();
    await writeFile(file(), '[{"name": "alice"');
    await eventually(() => errors().length > 0, "it is said");
    await looks(4);
    assert.deepEqual([names(), errors().length, changes], [["alice"], 1, []]);
    assert.match(errors()[0]!, /^the keys stay as they were, since the keys file cannot be used: .*keys\.json:1:\d+: expected/);
    await writeFile(file(), "");
    await eventually(() => errors().length === 2, "another reason is said too");
    await write(entry("bob"));
    await eventually(() => names()?.join() === "bob", "it is whole again");
    await chmod(file(), 0o666);
    await eventually(() => errors().length === 3, "others can write it");
    assert.match(errors()[2]!, /others can write it/);
    assert.deepEqual(names(), ["bob"]);
  });

  it("are none when the file is emptied, and nobody gets in", async () => {
    await write(entry("alice"));
    await open();
    await write();
    await eventually(() => names()?.length === 0, "alice is gone");
    assert.deepEqual(changes, [[]]);
    assert.ok(log.some(({ level, msg }) => level === 40 && msg === "there is no key: nobody gets in"));
  });

  it("are none when the file is gone, but for those of the environment", async () => {
    await write(entry("alice"));
    await open({ keys: QUICK, keysFileIsNamed: true });
    assert.deepEqual(names(), ["quick", "alice"]);
    await rm(file());
    await eventually(() => names()?.length === 1, "alice is gone");
    assert.deepEqual(names(), ["quick"]);
    await write(entry("alice"));
    await eventually(() => names()?.length === 2, "alice is back");
    await ring?.close();
    await open();
    await rm(file());
    await eventually(() => names()?.length === 0, "nobody is left");
    assert.deepEqual(names(), [], "a list, not the lack of one");
  });

  it("stay while an editor takes the file away and puts it back", async () => {
    await write(entry("alice"));
    await open();
    for (let round = 0; round < 10; round += 1) {
      await rename(file(), `${file()}~`);
      await rename(`${file()}~`, file());
      await sleep(POLL_MS / 3);
    }
    assert.deepEqual([names(), changes], [["alice"], []]);
  });

  it("begin when a file appears where there was none, and then there is no way back", async () => {
    await open();
    assert.equal(names(), undefined);
    await looks(3);
    assert.deepEqual([names(), changes], [undefined, []]);
    await write();
    await eventually(() => names() !== undefined, "there are keys");
    assert.deepEqual([names(), changes], [[], [[]]]);
    assert.ok(log.some(({ msg }) => msg.startsWith("the service has keys from now on")));
    await rm(file());
    await looks(4);
    assert.deepEqual(names(), []);
    await ring?.reload();
    assert.deepEqual(names(), []);
  });

  it("of an empty file are set up, and none: nobody gets in", async () => {
    await write();
    await open();
    assert.deepEqual(names(), []);
    assert.match(log[0]!.msg, /^there is no key in .*keys\.json: nobody gets in\. Make one with `code-mode keys add`$/);
  });

  it("are read at once when somebody says so, who is told what is wrong", async () => {
    await write(entry("alice"));
    await open();
    const reload = (): Promise<void> => ring!.reload();
    await write(entry("bob"));
    await reload();
    assert.deepEqual(names(), ["bob"]);
    await rm(file());
    await reload();
    assert.deepEqual(names(), []);
    await writeFile(file(), "x", { mode: 0o600 });
    for (let count = 0; count < 2; count += 1)
      await assert.rejects(reload(), (error) => error instanceof StartupError && error.message.includes("keys.json:1:1"));
    await looks(4);
    assert.deepEqual([names(), errors()], [[], []], "and it is not said again");
    await write(entry("carol"));
    await reload();
    assert.deepEqual(names(), ["carol"]);
  });

  it("without any file stay unset when somebody says to look", async () => {
    await open();
    await ring!.reload();
    assert.equal(names(), undefined);
  });

  it("are refused at the start when the file cannot be used", async () => {
    await writeFile(file(), "{}", { mode: 0o600 });
    await assert.rejects(open(), StartupError);
  });

  it("are not looked at after the end, not even by a look under way", async () => {
    await write(entry("alice"));
    await open();
    const looking = ring!.reload();
    await Promise.all([ring!.close(), looking, ring!.close()]);
    await write(entry("bob"));
    await looks(4);
    await ring!.reload();
    assert.deepEqual([names(), changes], [["alice"], []]);
  });
});
