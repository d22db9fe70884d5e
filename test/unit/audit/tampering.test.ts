import assert from "node:assert/strict";
import { copyFile, readFile, rm, writeFile } from "node:fs/promises";

import { TestLog } from "./support.ts";

/** Six lines of its own, in one file: start, four texts, ... as `write` makes them. */
const TEXTS = ["a", "b", "c", "d", "e", "f"];

describe("audit log: what was done to it", () => {
  let log: TestLog;

  beforeEach(async () => {
    log = await TestLog.make();
    await log.write(...TEXTS);
  });
  afterEach(() => log.remove());

  it("is nothing, when nothing was", async () => {
    assert.deepEqual(await log.verify(), { chains: 1, lines: 6, problems: [] });
  });

  const CHANGES: readonly (readonly [what: string, change: (lines: string[]) => string[], problems: RegExp[]])[] = [
    ["a line was edited", (lines) => lines.map((line) => line.replace('"version":"c"', '"version":"X"')), [/^3: it was changed/]],
    ["a time was edited", (lines) => lines.with(1, (lines[1] ?? "").replace(/T\d\d/, "T99")), [/^2: it was changed/]],
    ["a line was removed", (lines) => lines.toSpliced(2, 1), [/^4: line 3 is missing before it$/]],
    ["lines were removed", (lines) => lines.toSpliced(1, 3), [/^5: lines 2 to 4 are missing before it$/]],
    ["the first line was removed", (lines) => lines.slice(1), [/^2: line 1 is missing before it$/]],
    ["the last line was removed", (lines) => lines.slice(0, -1), [/^6: lines 6 to 6 are missing at the end$/]],
    ["all lines were removed", () => [], [/^6: lines 1 to 6 are missing at the end$/]],
    ["a line was doubled", (lines) => lines.toSpliced(3, 0, lines[2] ?? ""), [/^3: it was moved, added or doubled/]],
    [
      "two lines were swapped",
      (lines) => lines.with(1, lines[2] ?? "").with(2, lines[1] ?? ""),
      [/^3: line 2 is missing before it$/, /^2: it was moved, added or doubled/],
    ],
    [
      "a line was made up",
      (lines) => [...lines, (lines[5] ?? "").replace('"seq":6', '"seq":7')],
      [/^7: it was changed, or sealed with another key$/],
    ],
    ["a line is no line", (lines) => lines.toSpliced(3, 0, "what?"), [/^this is no line of the log, or not the whole of one$/]],
    ["a line lost its end", (lines) => lines.with(5, (lines[5] ?? "").slice(0, 30)), [/^this is no line/, /^6: lines 6 to 6 are missing/]],
  ];
  for (const [what, change, expected] of CHANGES) {
    it(`is found: ${what}`, async () => {
      const [file = ""] = await log.files();
      await log.change(file, change);
      const problems = await log.problems();
      assert.equal(problems.length, expected.length, problems.join("\n"));
      expected.forEach((pattern, index) => {
        assert.match(problems[index] ?? "", pattern);
      });
    });
  }

  it("is found: an older copy was put back", async () => {
    const [file = ""] = await log.files();
    await copyFile(file, `${log.root}/older`);
    await log.write("g", "h");
    assert.deepEqual(await log.problems(), []);
    await copyFile(`${log.root}/older`, file);
    assert.deepEqual(await log.problems(), ["8: lines 7 to 8 are missing at the end"]);
  });

  it("is found: a line was replaced by one that was sealed well, at the end", async () => {
    const [file = ""] = await log.files();
    const anchor = await readFile(await log.anchor());
    const other = await TestLog.make({ keyFile: log.settings.keyFile, folder: log.settings.folder });
    await log.change(file, (lines) => lines.slice(0, -1));
    await rm(await log.anchor());
    await other.write("forged");
    await writeFile(await log.anchor(), anchor);
    // Whoever has the key can seal; the anchor of before still knows better.
    const problems = await log.problems();
    assert.ok(
      problems.some((problem) => /^6: it is not the line that was written|missing/.test(problem)),
      problems.join("\n"),
    );
    await other.remove();
  });

  it("is found: the anchor is gone, or was edited", async () => {
    const anchor = await log.anchor();
    const text = await readFile(anchor, "utf8");
    await writeFile(anchor, text.replace('"seq":6', '"seq":5'));
    assert.deepEqual(await log.problems(), ["its anchor, beside the key, was changed, or is another key's"]);
    await writeFile(anchor, "{");
    assert.deepEqual(await log.problems(), ["its anchor, beside the key, cannot be read"]);
    await rm(anchor);
    assert.match((await log.problems()).join(), /^it has no anchor beside the key/);
  });

  it("is found: another key", async () => {
    await writeFile(log.settings.keyFile, `${"ab".repeat(32)}\n`);
    const problems = await log.problems();
    assert.ok(problems.filter((problem) => problem.includes("sealed with another key")).length === 6, problems.join("\n"));
  });

  it("is told by the next start too, which goes on all the same", async () => {
    const [file = ""] = await log.files();
    await log.change(file, (lines) => lines.slice(0, 4));
    await log.write("g");
    const entries = await log.entries();
    assert.deepEqual(
      entries.slice(4).map(({ found, seq, type }) => [seq, type, found]),
      [
        [7, "audit.damaged", "lines 5 to 6 are missing at the end"],
        [8, "service.started", undefined],
      ],
    );
    assert.deepEqual(await log.problems(), ["7: lines 5 to 6 are missing before it"]);
  });
});

describe("audit log: files of it that are gone", () => {
  let log: TestLog;

  before(async () => {
    log = await TestLog.make({ maxFileBytes: 4096, maxFiles: 4 });
    const writer = await log.open();
    for (let round = 0; round < 400; round += 1) {
      writer.record({ type: "service.started", version: String(round).padStart(100, "0") });
      writer.ensure();
    }
    await writer.close();
  });
  after(() => log.remove());

  it("by rotation are no harm: the oldest go, the rest is whole", async () => {
    assert.equal((await log.files()).length, 5);
    const { lines, problems } = await log.verify();
    assert.deepEqual(problems, []);
    assert.ok(lines > 60 && lines < 120, String(lines));
  });

  for (const [which, index] of [
    ["the oldest", 0],
    ["one in the middle", 2],
    ["the newest", 4],
  ] as const) {
    it(`otherwise are found: ${which}`, async () => {
      const file = (await log.files())[index] ?? "";
      const text = await readFile(file);
      await rm(file);
      const problems = await log.problems();
      await writeFile(file, text);
      assert.equal(problems.length, 1, problems.join("\n"));
      assert.match(problems[0] ?? "", /lines \d+ to \d+ are missing/);
      assert.deepEqual(await log.problems(), []);
    });
  }
});
