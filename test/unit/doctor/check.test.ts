import assert from "node:assert/strict";
import { stripVTControlCharacters } from "node:util";

import { NotCheckedError, runChecks } from "../../../src/doctor/check.ts";
import type { Check, Outcome } from "../../../src/doctor/check.ts";
import { renderReport } from "../../../src/doctor/render.ts";
import { exitCodeOf, reportOf, reportSchema } from "../../../src/doctor/report.ts";
import type { Report } from "../../../src/doctor/report.ts";
import { StartupError } from "../../../src/domain/errors.ts";

const FINE: Outcome = { status: "ok", found: "fine" };
const check = (id: Check["id"], run: Check["run"], timeoutMs = 1000): Check => ({ id, title: id.toUpperCase(), run, timeoutMs });
const reportFor = (...outcomes: readonly Outcome[]): Report =>
  reportOf(
    "1.2.3",
    new Date(0),
    outcomes.map((outcome, index) => ({ id: `host.check-${"abcdefgh"[index] ?? "z"}`, title: `Check ${index}`, ...outcome })),
  );

describe("check: running them", () => {
  it("keeps their order, whichever is done first", async () => {
    const results = await runChecks([
      check("host.slow", () => new Promise((resolve) => setTimeout(resolve, 20, FINE))),
      check("host.quick", () => FINE),
    ]);
    assert.deepEqual(
      results.map(({ id }) => id),
      ["host.slow", "host.quick"],
    );
  });

  it("lets one that throws, at once or later, fail alone", async () => {
    const results = await runChecks([
      check("host.throws", () => {
        throw new Error("broken");
      }),
      check("host.rejects", () => Promise.reject(new TypeError(""))),
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- what is thrown need not be an error
      check("host.strange", () => Promise.reject("text")),
      check("host.fine", () => FINE),
    ]);
    assert.deepEqual(
      results.map(({ status, found }) => [status, found]),
      [
        ["fail", "the check itself failed: broken"],
        ["fail", "the check itself failed: TypeError"],
        ["fail", "the check itself failed: text"],
        ["ok", "fine"],
      ],
    );
  });

  it("lets one that hangs fail after its time, and waits for no other longer", async () => {
    const began = performance.now();
    const [hanging] = await runChecks([check("host.hangs", () => new Promise(() => undefined), 30)]);
    assert.equal(hanging?.status, "fail");
    assert.match(hanging.found, /longer than 30 ms/);
    assert.ok(performance.now() - began < 1000);
  });

  it("notes one that has nothing to look at, and lists each problem of a set-up", async () => {
    const [absent, one, two] = await runChecks([
      check("host.absent", () => Promise.reject(new NotCheckedError("no engine answers"))),
      check("host.one", () => Promise.reject(new StartupError(["a"]))),
      check("host.two", () => Promise.reject(new StartupError(["a", "b"]))),
    ]);
    assert.deepEqual([absent?.status, absent?.found], ["info", "not checked: no engine answers"]);
    assert.deepEqual([one?.status, one?.found, one?.details], ["fail", "a", undefined]);
    assert.deepEqual([two?.status, two?.found, two?.details], ["fail", "2 problems", ["a", "b"]]);
  });
});

describe("report: totals and exit code", () => {
  const info: Outcome = { status: "info", found: "?" };
  const warn: Outcome = { status: "warn", found: "?" };
  const fail: Outcome = { status: "fail", found: "?" };
  for (const [outcomes, lenient, strict] of [
    [[], 0, 0],
    [[FINE, info], 0, 0],
    [[FINE, warn], 0, 1],
    [[fail, FINE], 1, 1],
    [[warn, fail], 1, 1],
  ] as const) {
    it(`${outcomes.map(({ status }) => status).join(" and ") || "nothing"}: ${lenient}, strict ${strict}`, () => {
      const report = reportFor(...outcomes);
      assert.deepEqual([exitCodeOf(report, false), exitCodeOf(report, true)], [lenient, strict]);
    });
  }

  it("counts each status, and has the form that programs are promised", () => {
    const report = reportFor(FINE, FINE, info, warn, fail);
    assert.deepEqual(report.summary, { ok: 2, info: 1, warn: 1, fail: 1 });
    assert.equal(report.checkedAt, "1970-01-01T00:00:00.000Z");
    assert.deepEqual(reportSchema.parse(JSON.parse(JSON.stringify(report))), report);
  });
});

describe("render: the report for people", () => {
  const advisory = {
    id: "CVE-2000-1",
    component: "runc",
    version: "1.0",
    summary: "a hole",
    here: "What it means.",
    fixed: ["1.1", "1.2"],
  };
  const report = reportOf("1.2.3", new Date(0), [
    { id: "engine.holes", title: "Known holes", status: "warn", found: "one", advisories: [advisory], remedy: "Update." },
    { id: "host.node", title: "Node", status: "ok", found: "24" },
    { id: "sandbox.canary", title: "Layers", status: "fail", found: "2 problems", details: ["first", "second"] },
  ]);

  it("groups the checks, marks them, puts below what to do, and ends with the totals", () => {
    assert.equal(
      renderReport(report, { colour: false }),
      `host
  ✓ Node         24

engine
  ! Known holes  one
      CVE-2000-1 (runc 1.0; fixed in 1.1, 1.2): a hole
        What it means.
      → Update.

sandbox
  ✗ Layers       2 problems
      first
      second

1 ok, 0 notes, 1 warning, 1 failure
`,
    );
  });

  it("differs in colour alone", () => {
    const coloured = renderReport(report, { colour: true });
    assert.ok(coloured.includes("\u001b[31m✗\u001b[0m"));
    assert.equal(stripVTControlCharacters(coloured), renderReport(report, { colour: false }));
  });

  it("writes nothing to the terminal that it was not asked to", () => {
    const hostile = "a\u001b[2Jb\u0007\nc\u202ed";
    const text = renderReport(reportFor({ status: "fail", found: hostile, details: [hostile], remedy: hostile }), { colour: false });
    assert.equal(text.match(/a\\u\{1b\}\[2Jb\\u\{7\}\\u\{a\}c\\u\{202e\}d/g)?.length, 3);
    for (const character of ["\u001b", "\u0007", "\u202e"]) assert.ok(!text.includes(character));
  });
});
