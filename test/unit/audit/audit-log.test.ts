import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, chmod, mkdir, readdir, stat, symlink, writeFile } from "node:fs/promises";
import path from "node:path";

import fc from "fast-check";

import { openAuditKey } from "../../../src/audit/audit-key.ts";
import type { AuditLog } from "../../../src/audit/audit-log.ts";
import { SINGLE_EVENTS } from "../../../src/audit/repeats.ts";
import type { AuditEntry } from "../../../src/domain/audit-event.ts";
import { denial, started, TestLog } from "./support.ts";

describe("audit log", () => {
  let log: TestLog;
  let writer: AuditLog;

  const open = async (settings: Parameters<typeof TestLog.make>[0] = {}): Promise<void> => {
    log = await TestLog.make(settings);
    writer = await log.open();
  };
  afterEach(async () => {
    await writer.close();
    await log.remove();
  });

  const countOf = (entries: readonly AuditEntry[]): number => entries.reduce((sum, { count = 1 }) => sum + count, 0);

  describe("what is written", () => {
    it("is one line for each event, numbered without a gap, over restarts too", async () => {
      await open();
      writer.record(started("1.0.0"));
      writer.record({ type: "server.state", server: "automem", from: "connecting", to: "down", reason: "gone" });
      await writer.close();
      writer = await log.open();
      writer.record({ type: "service.stopped" });
      await writer.close();
      const entries = await log.entries();
      assert.deepEqual(
        entries.map(({ seq, type }) => [seq, type]),
        [
          [1, "service.started"],
          [2, "server.state"],
          [3, "service.stopped"],
        ],
      );
      assert.deepEqual(entries[1]?.["reason"], "gone");
      assert.deepEqual(await log.problems(), []);
    });

    it("is on its way to the disk when ensure returns", async () => {
      await open();
      writer.record(started("now"));
      writer.ensure();
      assert.equal((await log.entries()).length, 1);
    });

    it("is for its owner only, and so is the key", async () => {
      await open();
      writer.record(started("x"));
      writer.ensure();
      const [file = ""] = await log.files();
      for (const [place, mode] of [
        [log.settings.folder, 0o700],
        [file, 0o600],
        [log.settings.keyFile, 0o600],
        [await log.anchor(), 0o600],
      ] as const)
        assert.equal((await stat(place)).mode & 0o777, mode, place);
    });

    it("stays one short line, whatever strangers call their things", async () => {
      await open();
      for (const text of ['x\n{"seq":99}', "\u001b[2J", "\u2028\u2029\u0085", "\0", "\ud800", '"\\', "😀".repeat(500_000)])
        writer.record({ type: "request.refused", who: text, code: "FORBIDDEN", what: text, count: 1 });
      const entry = {
        type: "tool.call",
        executionId: "e",
        who: "w",
        server: "s",
        tool: "t",
        outcome: "ok",
        requestBytes: 1,
        resultBytes: 1,
      } as const;
      writer.record({ ...entry, durationMs: 1, arguments: { deep: ["x".repeat(100_000)] } });
      await writer.close();
      const lines = await log.lines();
      assert.equal(lines.length, 8);
      // eslint-disable-next-line no-control-regex -- these are what must not be there
      for (const line of lines) assert.ok(line.length < 8192 && !/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(line), line.slice(0, 200));
      assert.deepEqual(await log.problems(), []);
    });
  });

  describe("what repeats", () => {
    it("is added up after the first, exactly and quickly: 142,000 denials are a second's work of one program", async () => {
      await open();
      const began = performance.now();
      for (let index = 0; index < 142_000; index += 1) writer.record(denial());
      const tookMs = performance.now() - began;
      writer.record({
        type: "execution.ended",
        executionId: "exe_1",
        who: "alice",
        runtime: "node",
        status: "completed",
        durationMs: 1,
        toolCalls: 0,
        degraded: false,
      });
      await writer.close();
      const entries = await log.entries();
      assert.equal(entries.length, SINGLE_EVENTS + 2);
      assert.equal(entries.at(-1)?.type, "execution.ended");
      assert.equal(entries.at(-2)?.count, 142_000 - SINGLE_EVENTS);
      assert.ok(tookMs < 5000, `${tookMs} ms`);
    });

    it("has sums that are those of what was recorded, of any events in any order", async () => {
      const word = fc.constantFrom("a", "b", "c");
      const event = fc.oneof(
        fc.record({
          type: fc.constant("denial" as const),
          executionId: word,
          who: word,
          kind: fc.constant("file" as const),
          what: fc.nat(400).map(String),
          setting: word,
          count: fc.integer({ min: 1, max: 9 }),
        }),
        fc.record({ type: fc.constant("authentication.failed" as const), address: word, count: fc.constant(1) }),
        fc.record({
          type: fc.constant("tool.call" as const),
          executionId: word,
          who: word,
          server: word,
          tool: word,
          outcome: fc.constant("ok" as const),
          requestBytes: fc.nat(9),
          resultBytes: fc.nat(9),
          durationMs: fc.nat(9),
        }),
      );
      await open();
      await fc.assert(
        fc.asyncProperty(fc.array(event, { maxLength: 1500, minLength: 500, size: "max" }), async (events) => {
          const own = await TestLog.make();
          try {
            const target = await own.open();
            for (const one of events) target.record(one);
            await target.close();
            const entries = await own.entries();
            for (const type of ["denial", "authentication.failed", "tool.call"]) {
              const expected = countOf(events.filter((one) => one.type === type) as unknown as AuditEntry[]);
              assert.equal(countOf(entries.filter((entry) => entry.type === type)), expected, type);
            }
            const bytes = (list: readonly object[]): number =>
              list.reduce((sum, one) => sum + ((one as { resultBytes?: number }).resultBytes ?? 0), 0);
            assert.equal(bytes(entries.filter(({ type }) => type === "tool.call")), bytes(events));
            assert.deepEqual(await own.problems(), []);
          } finally {
            await own.remove();
          }
        }),
        { numRuns: 8 },
      );
    });

    it("takes bounded memory: kinds that are made up are added up by type", async () => {
      await open();
      for (let index = 0; index < 20_000; index += 1) {
        writer.record(denial({ what: `/made/up/${index}` }));
        writer.record({ type: "authentication.failed", address: `10.0.${index >> 8}.${index & 255}`, count: 1 });
      }
      // Others' events are not lost among them.
      writer.record({ type: "server.state", server: "automem", from: "connected", to: "down", reason: undefined });
      await writer.close();
      const all = await log.entries();
      assert.ok(all.some((entry) => entry.type === "server.state" && entry["server"] === "automem"));
      const entries = all.filter(({ type }) => type === "denial");
      assert.ok(entries.length < 300, String(entries.length));
      assert.equal(countOf(entries), 20_000);
      assert.deepEqual(entries.filter((entry) => entry["others"] === true).length, 1);
    });
  });

  describe("its writers", () => {
    it("have a chain each, and leave it to the next", async () => {
      await open();
      const second = await log.open();
      second.record(started("second"));
      writer.record(started("first"));
      await second.close();
      const third = await log.open();
      third.record(started("third"));
      await third.close();
      await writer.close();
      assert.deepEqual(
        (await log.files()).map((file) => path.basename(file)),
        ["audit-1-000000000001.jsonl", "audit-2-000000000001.jsonl"],
      );
      assert.deepEqual(
        (await log.entries()).map(({ seq, version }) => [seq, version]),
        [
          [1, "first"],
          [1, "second"],
          [2, "third"],
        ],
      );
      assert.deepEqual(await log.verify(), { chains: 2, lines: 3, problems: [] });
    });

    it("can be killed in the middle: what is there is whole, and the next one goes on", async () => {
      await open();
      await writer.close();
      const program = `
      import { AuditLog } from ${JSON.stringify(path.resolve("src/audit/audit-log.ts"))};
      const log = await AuditLog.open(${JSON.stringify(log.settings)}, { error() {}, warn() {}, info() {} });
      for (let i = 0; ; i += 1) {
        log.record({ type: "service.started", version: "v".repeat(i % 300) });
        if (i % 7 === 0) log.ensure();
        if (i === 500) console.log("written");
        if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
      }`;
      const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      await once(child.stdout, "data");
      child.kill("SIGKILL");
      await once(child, "close");
      assert.deepEqual(await log.problems(), []);
      await log.write("after");
      const entries = await log.entries();
      assert.ok(entries.length > 400, String(entries.length));
      assert.deepEqual(
        entries.map(({ seq }) => seq),
        entries.map((_, index) => index + 1),
      );
      assert.deepEqual(await log.problems(), []);
    });

    it("take away a line that a crash cut off, and say so", async () => {
      await open();
      writer.record(started("a"));
      await writer.close();
      const [file = ""] = await log.files();
      await appendFile(file, '{"seq":2,"time":"20');
      await log.write("b");
      const entries = await log.entries();
      assert.deepEqual(
        entries.map(({ found, seq, type }) => [seq, type, found]),
        [
          [1, "service.started", undefined],
          [2, "audit.damaged", `19 bytes of an unfinished line at the end of ${path.basename(file)}`],
          [3, "service.started", undefined],
        ],
      );
      assert.deepEqual(await log.problems(), []);
    });
  });

  describe("a key", () => {
    const refused = async (
      settings: Parameters<typeof TestLog.make>[0],
      prepare: (test: TestLog) => Promise<unknown>,
      message: RegExp,
    ): Promise<void> => {
      await open();
      await writer.close();
      const other = await TestLog.make(settings);
      try {
        await mkdir(path.dirname(other.settings.keyFile), { recursive: true });
        await prepare(other);
        await assert.rejects(other.open(), (error: Error) => message.test(error.message), "it must be refused");
      } finally {
        await other.remove();
      }
    };

    it("is one, however many start at once", async () => {
      await open();
      await writer.close();
      const { folder } = log.settings;
      const keyFile = path.join(log.root, "fresh", "audit.key");
      const keys = await Promise.all(Array.from({ length: 50 }, () => openAuditKey(keyFile, folder)));
      assert.equal(new Set(keys.map((key) => key.toString("hex"))).size, 1);
      assert.deepEqual(await readdir(path.dirname(keyFile)), ["audit.key"]);
    });

    it("that others can read is refused", () =>
      refused(
        {},
        async ({ settings: { keyFile } }) => {
          await writeFile(keyFile, "0".repeat(64));
          await chmod(keyFile, 0o644);
        },
        /CODE_MODE_AUDIT_KEY_FILE: .*chmod 600/,
      ));

    it("that is a link is refused", () =>
      refused(
        {},
        async ({ root, settings: { keyFile } }) => {
          await writeFile(path.join(root, "elsewhere"), "0".repeat(64), { mode: 0o600 });
          await symlink(path.join(root, "elsewhere"), keyFile);
        },
        /CODE_MODE_AUDIT_KEY_FILE: .*cannot be opened/,
      ));

    it("that is none is refused, and not shown", () =>
      refused({}, ({ settings: { keyFile } }) => writeFile(keyFile, "hunter2", { mode: 0o600 }), /^(?!.*hunter2).*holds no key/));

    it("that lies in the folder of the log is refused", async () => {
      await open();
      await writer.close();
      const { folder } = log.settings;
      const inside = { ...log.settings, keyFile: path.join(folder, "audit.key") };
      const other = await TestLog.make(inside);
      try {
        await assert.rejects(other.open(), /lies in the folder of the log/);
      } finally {
        await other.remove();
      }
    });
  });

  describe("reading", () => {
    it("gives the recent entries at once, the oldest first", async () => {
      await open();
      for (let index = 0; index < 1200; index += 1) writer.record(started(String(index)));
      const recent = writer.recent();
      assert.deepEqual([recent.length, recent[0]?.["version"], recent.at(-1)?.["version"]], [1000, "200", "1199"]);
    });

    it("gives pages of all entries, the newest first, each once, over all files", async () => {
      await open({ maxFileBytes: 4096, maxFiles: 1000 });
      for (let index = 1; index <= 500; index += 1) {
        writer.record(index % 5 === 0 ? { type: "service.stopped" } : started(String(index)));
        if (index % 10 === 0) writer.ensure();
      }
      const all: number[] = [];
      let before: number | undefined;
      do {
        const page = await writer.query({ before, limit: 37 });
        all.push(...page.entries.map(({ seq }) => seq));
        before = page.next;
      } while (before !== undefined);
      assert.deepEqual(
        all,
        Array.from({ length: 500 }, (_, index) => 500 - index),
      );
      assert.ok((await log.files()).length > 5);

      const stopped = await writer.query({ type: "service.stopped", limit: 1000 });
      assert.equal(stopped.entries.length, 100);
      const none = await writer.query({ sinceMs: Date.now() + 60_000, limit: 10 });
      assert.deepEqual(none, { entries: [], next: undefined });
      assert.ok(!("hmac" in (stopped.entries[0] ?? {})));
    });

    it("is from memory where nothing is kept", async () => {
      await open({ enabled: false });
      writer.record(started("a"));
      writer.record(denial());
      writer.ensure();
      assert.deepEqual(
        (await writer.query({ limit: 10 })).entries.map(({ type }) => type),
        ["denial", "service.started"],
      );
      await assert.rejects(stat(log.settings.folder), /ENOENT/);
    });
  });
});
