import assert from "node:assert/strict";

import type { AuditEvent } from "../../../src/domain/audit-event.ts";
import { denial, started, TestLog } from "./support.ts";

const call = (text: string, args?: unknown): AuditEvent => ({
  ...{ type: "tool.call", executionId: "exe_1", who: text, server: text, tool: text, outcome: "ok" },
  ...{ requestBytes: 1, resultBytes: 1, durationMs: 1, arguments: args },
});

describe("audit log: how much it takes", () => {
  let log: TestLog;

  beforeEach(async () => {
    // Of many files, one is larger than a query reads.
    log = await TestLog.make({ maxFileBytes: 2 ** 26 });
  });
  afterEach(() => log.remove());

  it("is any number of events in one turn", async () => {
    const writer = await log.open();
    for (let index = 0; index < 25_000; index += 1) writer.record(started(String(index)));
    await writer.close();
    assert.deepEqual(await log.verify(), { chains: 1, lines: 25_000, problems: [] });
  });

  for (const [what, text] of [
    ["control characters", "\0"],
    ["what JSON leaves as it is", "\u007f"],
    ["characters of three bytes", "語"],
    ["characters of two units", "😀"],
    ["halves of characters", "\ud800"],
    ["quotes", '"'],
  ] as const) {
    it(`is 8 KB of a line, of ${what} too`, async () => {
      const many = text.repeat(100_000);
      const writer = await log.open();
      writer.record(call(many, { text: many }));
      writer.record(call(many, [text.repeat(2000)]));
      writer.record({ type: "keys.changed", added: Array.from({ length: 100 }, () => many), removed: [many] });
      writer.record({ type: "server.state", server: many, from: many, to: many, reason: many });
      await writer.close();
      const bytes = (await log.lines()).map((line) => Buffer.byteLength(line));
      assert.equal(bytes.length, 4);
      assert.ok(
        bytes.every((length) => length <= 8192),
        bytes.join(),
      );
      // A start finds the end of the log, whatever is in its last line.
      await log.write("next");
      assert.deepEqual((await log.entries()).at(-1)?.["version"], "next");
      assert.deepEqual(await log.verify(), { chains: 1, lines: 5, problems: [] });
    });
  }

  it("is little memory for long names, however many there are", async () => {
    const writer = await log.open();
    const before = process.memoryUsage().rss;
    for (let index = 0; index < 256; index += 1) writer.record(denial({ what: `${index}${"x".repeat(1_000_000)}` }));
    const taken = process.memoryUsage().rss - before;
    await writer.close();
    assert.ok(taken < 128 * 2 ** 20, `${taken} bytes`);
  });

  it("is read back to the first entry, page by page, though it is more than one query reads", async () => {
    const writer = await log.open();
    const count = 40_000;
    for (let index = 0; index < count; index += 1) writer.record(started("v".repeat(500)));
    const seen: number[] = [];
    for (let before: number | undefined = count + 1; before !== undefined;) {
      const { entries, next } = await writer.query({ before, limit: 1000 });
      seen.push(...entries.map(({ seq }) => seq));
      before = next;
    }
    // None of these is in the part that one query reads: it says where to go on all the same.
    const rare = await writer.query({ type: "denial", limit: 1 });
    await writer.close();
    assert.deepEqual(
      seen,
      Array.from(seen, (_, index) => count - index),
    );
    assert.equal(seen.length, count);
    assert.equal(rare.entries.length, 0);
    assert.ok((rare.next ?? 0) > 1, String(rare.next));
  });

  it("is nothing at first, which is whole too", async () => {
    await log.write();
    assert.deepEqual(await log.verify(), { chains: 1, lines: 0, problems: [] });
    await log.write("a");
    assert.deepEqual(await log.verify(), { chains: 1, lines: 1, problems: [] });
  });

  it("is nothing after its end", async () => {
    const writer = await log.open();
    writer.record(started("last"));
    await writer.close();
    const lines = await log.lines();
    writer.record(started("too late"));
    writer.ensure();
    await writer.close();
    assert.deepEqual(await log.lines(), lines);
    assert.equal((await log.lines()).length, 1);
  });
});
