/** What is done to the log between two starts, or by a writer while somebody verifies. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, readFile, writeFile } from "node:fs/promises";
import path from "node:path";

import { TestLog } from "./support.ts";

describe("audit log: its end", () => {
  let log: TestLog;

  beforeEach(async () => {
    log = await TestLog.make();
    await log.write("a", "b");
  });
  afterEach(() => log.remove());

  const forged = (seq: number): string => `{"seq":${seq},"time":"2026-01-01T00:00:00.000Z","type":"x","hmac":"${"a".repeat(64)}"}\n`;

  it("is gone on with where only the anchor is older: its writer was killed between the two", async () => {
    const anchor = await readFile(await log.anchor());
    await log.write("c", "d");
    await writeFile(await log.anchor(), anchor);
    assert.deepEqual(await log.problems(), []);
    await log.write("e");
    assert.deepEqual(
      (await log.entries()).map(({ seq, type }) => [seq, type]),
      [1, 2, 3, 4, 5].map((seq) => [seq, "service.started"]),
    );
    assert.deepEqual(await log.problems(), []);
  });

  for (const [which, seq] of [
    ["the next", 3],
    ["a far", 2 ** 53 - 1],
  ] as const) {
    it(`is not taken from a line that was added, with ${which} number`, async () => {
      const [file = ""] = await log.files();
      await appendFile(file, forged(seq));
      await log.write("c");
      await log.write("d");
      const own = (await log.entries()).filter(({ type }) => (type as string) !== "x");
      assert.deepEqual(
        own.map((entry) => [entry.seq, entry.type]),
        [
          [1, "service.started"],
          [2, "service.started"],
          [3, "audit.damaged"],
          [4, "service.started"],
          [5, "service.started"],
        ],
      );
      assert.equal(own[2]?.["found"], "what follows line 2 is not as it was written");
      const problems = await log.problems();
      assert.equal(problems.length, 1, problems.join("\n"));
      assert.ok(problems[0]?.startsWith(`${seq}: `), problems[0]);
    });
  }

  it("is told by a start when its last line was replaced", async () => {
    const [file = ""] = await log.files();
    await log.change(file, (lines) => [...lines.slice(0, -1), forged(2).trimEnd()]);
    await log.write("c");
    assert.ok((await log.entries()).some(({ found }) => found === "line 2 is not the line that was written"));
    assert.match((await log.problems())[0] ?? "", /^2: it was changed/);
  });

  it("may be a line that is being written, but not one that was whole", async () => {
    const [file = ""] = await log.files();
    const text = await readFile(file, "utf8");
    await appendFile(file, '{"seq":3,"ti');
    assert.deepEqual(await log.problems(), []);
    await writeFile(file, text.slice(0, -1));
    assert.deepEqual(await log.problems(), ["2: lines 2 to 2 are missing at the end"]);
  });

  it("is the end of a line and nothing else: a line with another end is one that was changed", async () => {
    const [file = ""] = await log.files();
    await writeFile(file, (await readFile(file, "utf8")).replace("\n", "\r\n"));
    assert.match((await log.problems()).join(), /^this is no line of the log/);
  });
});

describe("audit log: verified while it is written", () => {
  it("is whole, though files of it go by rotation meanwhile", async () => {
    const log = await TestLog.make({ maxFileBytes: 100_000, maxFiles: 2 });
    await log.write("first");
    const [first = ""] = await log.files();
    const program = `
      import { AuditLog } from ${JSON.stringify(path.resolve("src/audit/audit-log.ts"))};
      const log = await AuditLog.open(${JSON.stringify(log.settings)}, { error() {}, warn() {}, info() {} });
      console.log("open");
      for (;;) {
        for (let i = 0; i < 100; i += 1) log.record({ type: "service.started", version: "v".repeat(200) });
        log.ensure();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }`;
    const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = once(child, "close");
    try {
      await once(child.stdout, "data");
      for (let round = 0; round < 60; round += 1) assert.deepEqual(await log.problems(), []);
      assert.ok(!(await log.files()).includes(first), "nothing was rotated");
    } finally {
      child.kill("SIGKILL");
      await ended;
      await log.remove();
    }
  });
});
