import assert from "node:assert/strict";
import { chmod, mkdir, stat, writeFile } from "node:fs/promises";
import path from "node:path";

import { judgeAuditLog } from "../../../src/doctor/configuration-checks.ts";
import { TestLog } from "./support.ts";

describe("audit log: its folder", () => {
  let log: TestLog;
  const modeOf = async (place: string): Promise<number> => (await stat(place)).mode & 0o7777;

  beforeEach(async () => {
    log = await TestLog.make();
    await mkdir(log.settings.folder);
  });
  afterEach(() => log.remove());

  const holdsOthers = async (mode: number): Promise<void> => {
    await writeFile(path.join(log.settings.folder, "something"), "");
    await chmod(log.settings.folder, mode);
  };

  it("is closed to others where it holds nothing else", async () => {
    await chmod(log.settings.folder, 0o1777);
    await log.write("a");
    assert.equal(await modeOf(log.settings.folder), 0o700);
  });

  it("is left as it is where it holds other things: others need them", async () => {
    await holdsOthers(0o755);
    await log.write("a");
    assert.equal(await modeOf(log.settings.folder), 0o755);
    assert.deepEqual(await log.verify(), { chains: 1, lines: 1, problems: [] });
  });

  it("is refused where it holds other things and others can write to it", async () => {
    await holdsOthers(0o1777);
    await assert.rejects(log.open(), /CODE_MODE_AUDIT_DIR: .* name a folder of its own/);
    assert.equal(await modeOf(log.settings.folder), 0o1777);
  });

  it("is looked at by the doctor, who changes nothing, makes no key and does not say it", async () => {
    const { folder, keyFile } = log.settings;
    await chmod(folder, 0o755);
    assert.equal((await judgeAuditLog(log.settings)).status, "ok");
    await assert.rejects(stat(path.dirname(keyFile)), /ENOENT/);
    assert.equal(await modeOf(folder), 0o755);

    await mkdir(path.dirname(keyFile));
    await writeFile(keyFile, "hunter2", { mode: 0o600 });
    const garbage = await judgeAuditLog(log.settings);
    assert.equal(garbage.status, "fail");
    assert.match(JSON.stringify(garbage), /holds no key/);
    assert.doesNotMatch(JSON.stringify(garbage), /hunter2/);
  });
});
