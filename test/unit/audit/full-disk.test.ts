/** A disk that is really full: a small one of its own, which only root can mount. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";

import type { AuditLog } from "../../../src/audit/audit-log.ts";
import { AppError } from "../../../src/domain/errors.ts";
import { eventually } from "../../helpers/service.ts";
import { started, TestLog } from "./support.ts";

const DISK_BYTES = 8 * 2 ** 20;

describe("audit log on a full disk", () => {
  let log: TestLog;
  let writer: AuditLog;

  before(function () {
    // Only root can mount the small disk.
    if (process.getuid?.() !== 0) this.skip();
  });
  beforeEach(async () => {
    log = await TestLog.make({ maxFileBytes: 2 ** 26 });
    await mkdir(log.settings.folder);
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${DISK_BYTES}`, "tmpfs", log.settings.folder]);
  });
  afterEach(async () => {
    try {
      await writer.close();
    } finally {
      execFileSync("umount", [log.settings.folder]);
      await log.remove();
    }
  });

  const ballast = (): string => path.join(log.settings.folder, "ballast");
  const fill = async (): Promise<void> => {
    await assert.rejects(writeFile(ballast(), Buffer.alloc(DISK_BYTES + 1)), /ENOSPC/);
  };
  const refused = (): boolean => {
    try {
      writer.ensure();
      return false;
    } catch (error) {
      assert.ok(error instanceof AppError && error.code === "AUDIT_UNAVAILABLE" && error.retryAfterSeconds === 5, String(error));
      return true;
    }
  };
  /** Events until one does not fit: how many there were. */
  const recordUntilRefused = (): number => {
    for (let count = 1; ; count += 1) {
      writer.record(started("v".repeat(100)));
      if (refused()) return count;
    }
  };

  it("refuses, keeps what comes, and writes all of it when there is room", async () => {
    writer = await log.open();
    await fill();
    const count = recordUntilRefused();
    for (let index = 0; index < 500; index += 1) writer.record(started("waits"));
    assert.deepEqual([writer.status.waiting, writer.status.refuses], [501, true]);
    assert.match(writer.status.problem ?? "", /ENOSPC/);
    // What is there is whole: nothing of the write that failed.
    assert.deepEqual(await log.verify(), { chains: 1, lines: count - 1, problems: [] });
    await rm(ballast());
    await eventually("all is written", () => writer.status.waiting === 0);
    assert.ok(!refused());
    assert.deepEqual(await log.verify(), { chains: 1, lines: count + 500, problems: [] });
  });

  it("adds up exactly what is more than it can keep", async () => {
    writer = await log.open();
    await fill();
    const count = recordUntilRefused();
    const room = 10_000 - writer.status.waiting;
    for (let index = 0; index < room; index += 1) writer.record(started("waits"));
    for (let index = 0; index < 70; index += 1) writer.record(started("lost"));
    for (let index = 0; index < 5; index += 1) writer.record({ type: "service.stopped" });
    // Twenty are entries of their own, and the sum of the others is one: all of them are counted as they are lost.
    for (let index = 0; index < 100; index += 1) writer.record({ type: "authentication.failed", address: "10.0.0.1", count: 2 });
    await rm(ballast());
    await writer.close();
    const entries = await log.entries();
    assert.equal(entries.filter(({ type }) => type === "service.started").length, count + room);
    const sums = entries.filter(({ type }) => type === "audit.lost").map(({ counts }) => counts);
    assert.deepEqual(sums, [{ "service.started": 70, "service.stopped": 5, "authentication.failed": 200 }]);
    assert.deepEqual(await log.verify(), { chains: 1, lines: count + room + 1, problems: [] });
  });

  it("lets executions go on where the operator wants that", async () => {
    log = Object.assign(log, { settings: { ...log.settings, onFailure: "continue" } });
    writer = await log.open();
    await fill();
    for (let index = 0; writer.status.problem === undefined; index += 1) {
      writer.record(started("v".repeat(100)));
      assert.ok(!refused(), String(index));
    }
    assert.equal(writer.status.refuses, false);
    await rm(ballast());
    await eventually("all is written", () => writer.status.waiting === 0);
    assert.deepEqual(await log.problems(), []);
  });

  it("is no harm to a log that ends there: what was written stays whole", async () => {
    writer = await log.open();
    await fill();
    const count = recordUntilRefused();
    await writer.close();
    await rm(ballast());
    assert.deepEqual(await log.verify(), { chains: 1, lines: count - 1, problems: [] });
    await log.write("after");
    assert.deepEqual(await log.verify(), { chains: 1, lines: count, problems: [] });
  });
});
