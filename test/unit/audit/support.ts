/** An audit log of a test: its own folder and key, and what there is to know about it afterwards. */

import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";

import { pino } from "pino";

import { AuditLog } from "../../../src/audit/audit-log.ts";
import { readAuditKey } from "../../../src/audit/audit-key.ts";
import { verifyAuditLog } from "../../../src/audit/verify.ts";
import type { Verification } from "../../../src/audit/verify.ts";
import type { AuditEntry, AuditEvent, AuditSettings } from "../../../src/domain/audit-event.ts";
import { makeTempFolder } from "../../helpers/service.ts";

/** One line each, when it is recorded. */
export const started = (version: string): AuditEvent => ({ type: "service.started", version });

export const denial = (more: Partial<Extract<AuditEvent, { type: "denial" }>> = {}): AuditEvent => ({
  ...{ type: "denial", executionId: "exe_1", who: "alice", kind: "file", what: "/etc/passwd", setting: "none", count: 1 },
  ...more,
});

export class TestLog {
  readonly root: string;
  readonly settings: AuditSettings;

  private constructor(root: string, settings: Partial<AuditSettings>) {
    this.root = root;
    this.settings = {
      ...{ enabled: true, folder: path.join(root, "log"), keyFile: path.join(root, "key", "audit.key") },
      ...{ maxFileBytes: 2 ** 20, maxFiles: 8, onFailure: "refuse" },
      ...settings,
    };
  }

  static async make(settings: Partial<AuditSettings> = {}): Promise<TestLog> {
    return new TestLog(await makeTempFolder(), settings);
  }

  open(): Promise<AuditLog> {
    return AuditLog.open(this.settings, pino({ level: "silent" }));
  }

  /** Opens the log, writes an entry for each text, and closes it. */
  async write(...texts: readonly string[]): Promise<void> {
    const log = await this.open();
    for (const text of texts) {
      log.record(started(text));
      log.ensure();
    }
    await log.close();
  }

  async verify(): Promise<Verification> {
    const { folder, keyFile } = this.settings;
    return verifyAuditLog({ folder, keyFile, key: await readAuditKey(keyFile) });
  }

  /** The problems, in short. */
  async problems(): Promise<string[]> {
    return (await this.verify()).problems.map(({ problem, seq }) => (seq === undefined ? problem : `${seq}: ${problem}`));
  }

  /** Paths of the files, the oldest first. */
  async files(): Promise<string[]> {
    return (await readdir(this.settings.folder)).sort().map((name) => path.join(this.settings.folder, name));
  }

  async anchor(): Promise<string> {
    const folder = path.dirname(this.settings.keyFile);
    const name = (await readdir(folder)).find((entry) => entry.endsWith(".anchor"));
    if (name === undefined) throw new Error("there is no anchor");
    return path.join(folder, name);
  }

  async lines(): Promise<string[]> {
    const texts = await Promise.all((await this.files()).map((file) => readFile(file, "utf8")));
    return texts.join("").split("\n").slice(0, -1);
  }

  async entries(): Promise<AuditEntry[]> {
    return (await this.lines()).map((line) => JSON.parse(line) as AuditEntry);
  }

  /** Changes the lines of one file. */
  async change(file: string, change: (lines: string[]) => string[]): Promise<void> {
    const lines = (await readFile(file, "utf8")).split("\n").slice(0, -1);
    await writeFile(
      file,
      change(lines)
        .map((line) => `${line}\n`)
        .join(""),
    );
  }

  remove(): Promise<void> {
    return rm(this.root, { recursive: true, force: true });
  }
}
