/** The audit log as a program that embeds the service sees it: at once, in memory, over a change of the keys and a restart. */

import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";

import { pino } from "pino";

import { startApp } from "../../src/app.ts";
import type { App } from "../../src/app.ts";
import { readAuditKey } from "../../src/audit/audit-key.ts";
import { verifyAuditLog } from "../../src/audit/verify.ts";
import { readEnvironment } from "../../src/config/environment.ts";
import type { ServiceConfig } from "../../src/config/environment.ts";
import type { AuditEntry } from "../../src/domain/audit-event.ts";
import { hashKey } from "../../src/domain/caller.ts";
import { eventually, makeTempFolder, writeSetUp } from "../helpers/service.ts";

const SECRETS = ["alice-0123456789", "bob-0123456789", "stranger-0123456789"] as const;
const keyEntry = (name: string): object => ({ name, sha256: hashKey(`${name}-0123456789`), scopes: ["execute"] });

describe("Audit log of an embedded service", () => {
  let folder: string;
  let config: ServiceConfig;
  let app: App;

  const writeKeys = (...names: string[]): Promise<void> => writeFile(config.keysFile, JSON.stringify(names.map(keyEntry)), { mode: 0o600 });
  const start = async (): Promise<void> => {
    app = await startApp(config, pino({ level: "silent" }));
  };
  const entries = (type: AuditEntry["type"]): AuditEntry[] => app.manager.getSecurityAuditLog().filter((entry) => entry.type === type);
  /** The status, when the answer is there whole: headers come before the end of an execution. */
  const run = async (key: string): Promise<number> => {
    const response = await fetch(`${app.url}/v1/executions`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${key}` },
      body: JSON.stringify({ code: "return 1" }),
    });
    await response.text();
    return response.status;
  };

  before(async () => {
    folder = await makeTempFolder();
    config = readEnvironment({ env: await writeSetUp(folder), cwd: folder });
    await writeKeys("alice");
    await start();
  });
  after(async () => {
    await app.close();
    await rm(folder, { recursive: true, force: true });
  });

  it("is answered at once, the oldest first", async () => {
    assert.equal(await run(SECRETS[0]), 200);
    const log = app.manager.getSecurityAuditLog();
    assert.deepEqual(
      log.map(({ type, who }) => [type, who]),
      [
        ["service.started", undefined],
        ["execution.started", "alice"],
        ["execution.ended", "alice"],
      ],
    );
    assert.deepEqual(
      log.map(({ seq }) => seq),
      [1, 2, 3],
    );
    assert.equal(log.slice(-1)[0]?.type, "execution.ended");
  });

  it("names the keys that came and went, never the keys", async () => {
    await writeKeys("bob");
    await app.reload();
    await eventually("the change is recorded", () => entries("keys.changed").length > 0);
    const [changed] = entries("keys.changed");
    assert.deepEqual([changed?.["added"], changed?.["removed"]], [["bob"], ["alice"]]);
    assert.equal(await run(SECRETS[0]), 401);
    assert.equal(await run(SECRETS[2]), 401);
    assert.equal(await run(SECRETS[1]), 200);
    assert.equal(entries("execution.ended").at(-1)?.["who"], "bob");
    // By address: whatever was tried as a key is not in it.
    assert.equal(
      entries("authentication.failed").reduce((sum, { count = 1 }) => sum + count, 0),
      2,
    );
  });

  it("goes on after a restart, and is whole", async () => {
    const last = app.manager.getSecurityAuditLog().at(-1)?.seq ?? 0;
    await app.close();
    await start();
    const [first] = app.manager.getSecurityAuditLog();
    // The end of the service before is between the two.
    assert.deepEqual([first?.type, first?.seq], ["service.started", last + 2]);
    const { keyFile, folder: logFolder } = config.audit;
    const key = await readAuditKey(keyFile);
    assert.deepEqual((await verifyAuditLog({ folder: logFolder, keyFile, key })).problems, []);
    const text = await readFile(path.join(logFolder, "audit-1-000000000001.jsonl"), "utf8");
    for (const secret of SECRETS) assert.ok(!text.includes(secret) && !text.includes(hashKey(secret)), secret);
    assert.ok(text.includes('"who":"bob"'));
  });
});
