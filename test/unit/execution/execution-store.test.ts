import assert from "node:assert/strict";

import type { Execution } from "../../../src/domain/execution.ts";
import { executionSchema, executionSummarySchema } from "../../../src/domain/execution.ts";
import { describeUnderWay, ExecutionStore, summarize } from "../../../src/execution/execution-store.ts";
import type { StoreLimits } from "../../../src/execution/execution-store.ts";

const LIMITS: StoreLimits = { ttlMs: 1000, maxRecords: 10, maxBytes: 1_000_000 };

describe("execution-store: what the API can show", () => {
  let now: number;
  let store: ExecutionStore;

  const open = (limits: Partial<StoreLimits> = {}): void => {
    now = 1_700_000_000_000;
    store = new ExecutionStore({ ...LIMITS, ...limits }, () => now);
  };
  const begin = (id: string): void => {
    store.begin({ id, runtime: "node", owner: "alice" });
  };
  const result = (id: string, more: Partial<Execution> = {}): Execution => ({
    ...describeUnderWay(store.get(id)!, now),
    status: "completed",
    exitCode: 0,
    ...more,
  });
  const run = (id: string, more: Partial<Execution> = {}): void => {
    begin(id);
    store.end(id, result(id, more));
  };
  const ids = (): string[] => store.list().map(({ id }) => id);

  beforeEach(() => {
    open();
  });

  it("is queued, then running, then its end with the result", () => {
    begin("a");
    const { events } = store.get("a")!;
    const entry = { id: "a", runtime: "node", owner: "alice", createdAtMs: now, events };
    assert.deepEqual(store.get("a"), { ...entry, status: "queued", execution: undefined });
    store.markRunning("a");
    assert.equal(store.get("a")!.status, "running");
    const execution = result("a", { status: "failed", exitCode: 2 });
    store.end("a", execution);
    assert.deepEqual(store.get("a"), { ...entry, status: "failed", execution });
  });

  it("is nothing of one that was refused, or never was", () => {
    begin("a");
    store.drop("a");
    assert.equal(store.get("a"), undefined);
    store.markRunning("b");
    store.end("b", describeUnderWay({ id: "b", runtime: "node", owner: "x", createdAtMs: 0, status: "running", execution: undefined }));
    assert.deepEqual(ids(), []);
  });

  it("is listed newest first, those under way before those that have ended", () => {
    begin("a");
    begin("b");
    run("c");
    run("d");
    begin("e");
    assert.deepEqual(ids(), ["e", "b", "a", "d", "c"]);
  });

  it("goes when its time is over, counted from its end", () => {
    begin("a");
    now += 5000;
    store.end("a", result("a"));
    now += 1000;
    assert.ok(store.get("a") !== undefined);
    now += 1;
    assert.equal(store.get("a"), undefined);
    assert.deepEqual(ids(), []);
  });

  it("goes when there are too many, the oldest end first; what runs stays", () => {
    open({ maxRecords: 2 });
    begin("running");
    for (const id of ["a", "b", "c"]) run(id);
    assert.deepEqual(ids(), ["running", "c", "b"]);
  });

  for (const [title, more] of [
    ["stdout", { stdout: "x".repeat(400_000) }],
    ["stderr", { stderr: "x".repeat(400_000) }],
    ["the result", { result: { text: "x".repeat(400_000) } }],
    ["the structure of the result", { result: Array.from({ length: 9000 }, () => []) }],
    ["the files", { files: [{ path: "temp/a", content: "x".repeat(400_000), encoding: "utf8", size: 400_000 }] }],
    ["what is said of files", { files: [{ path: "*", size: null, error: "x".repeat(400_000) }] }],
    [
      "what is said of what was not kept",
      { persisted: { files: 0, bytes: 0, errors: [{ path: "x".repeat(400_000), error: "" }] as { path: string; error: string }[] } },
    ],
    ["the error", { error: { name: "Error", message: "x".repeat(200_000), stack: "x".repeat(200_000) } }],
  ] as const) {
    it(`goes when the memory is used up, and ${title} counts`, () => {
      for (const id of ["a", "b", "c"]) run(id, { ...more, files: "files" in more ? [...more.files] : [] });
      assert.deepEqual(ids(), ["c", "b"]);
    });
  }

  it("frees the memory of what went", () => {
    for (let count = 0; count < 50; count += 1) {
      run(`${count}`, { stdout: "x".repeat(400_000) });
      now += 1001;
    }
    run("last", { stdout: "x".repeat(400_000) });
    run("very last", { stdout: "x".repeat(400_000) });
    assert.deepEqual(ids(), ["very last", "last"]);
  });

  it("has the form of the API, in a list and under way", () => {
    begin("a");
    const record = store.get("a")!;
    assert.ok(executionSummarySchema.safeParse(summarize(record)).success);
    assert.equal(summarize(record).usage, null);
    const underWay = describeUnderWay(record, now + 250);
    assert.ok(executionSchema.safeParse(underWay).success);
    assert.deepEqual([underWay.status, underWay.usage.totalMs], ["queued", 250]);
    store.end("a", result("a", { signal: "SIGKILL", exitCode: null, status: "killed" }));
    assert.deepEqual(summarize(store.get("a")!), {
      id: "a",
      runtime: "node",
      status: "killed",
      createdAt: new Date(now).toISOString(),
      exitCode: null,
      signal: "SIGKILL",
      usage: { queuedMs: 0, startMs: 0, runMs: 0, totalMs: 0, cpuMs: null, memoryPeakBytes: null },
    });
  });

  describe("while somebody reads it", () => {
    const MANY = "x".repeat(400_000);

    it("stays in memory when it goes, within the cap once more; then the readers of the oldest are cut off", () => {
      const readings = ["a", "b", "c", "d", "e"].map((id) => {
        begin(id);
        const reading = store.get(id)!.events.read();
        store.end(id, result(id, { stdout: MANY }));
        return reading;
      });
      assert.deepEqual(ids(), ["e", "d"]);
      const cutOff = (): boolean[] => readings.map(({ cutOff: { aborted } }) => aborted);
      assert.deepEqual(cutOff(), [true, false, false, false, false]);
      readings[1]!.close();
      run("f", { stdout: MANY });
      assert.deepEqual(cutOff(), [true, false, false, false, false], "there was room for another");
      run("g", { stdout: MANY });
      assert.deepEqual(cutOff(), [true, false, true, false, false]);
    });

    it("stays for its first reader however large it is", () => {
      begin("a");
      const reading = store.get("a")!.events.read();
      store.end("a", result("a", { stdout: "x".repeat(3_000_000) }));
      assert.deepEqual([ids(), reading.cutOff.aborted], [[], false]);
    });

    it("is kept without its output files when they would push most others out; its readers have them", () => {
      for (const id of ["a", "b"]) run(id, { stdout: "x".repeat(200_000) });
      begin("large");
      const { events } = store.get("large")!;
      events.printed("stdout", "hello");
      const reading = events.read();
      const files: Execution["files"] = [
        { path: "temp/large", content: "", encoding: "base64", size: 130_000_000 },
        { path: "temp/link", size: null, error: "is no regular file" },
      ];
      const execution = result("large", { files, stdout: "hello" });
      events.finished(execution);
      store.end("large", execution);

      assert.deepEqual(ids(), ["large", "b", "a"]);
      const kept = store.get("large")!;
      assert.deepEqual([kept.execution?.stdout, kept.execution?.files.length, kept.execution?.files[1]], ["hello", 2, files[1]]);
      assert.match(
        JSON.stringify(kept.execution?.files[0]),
        /"path":"temp\/large","size":130000000,"error":"the output files are too large to be kept/,
      );
      assert.equal(kept.events.execution, kept.execution);
      assert.deepEqual([kept.events.lastId, kept.events.get(1)?.data, kept.events.get(2)?.type], [2, { text: "hello" }, "finished"]);
      assert.deepEqual([events.execution, reading.cutOff.aborted], [execution, false]);
    });

    it("can be read to its end when its time is over", () => {
      begin("a");
      const { events } = store.get("a")!;
      const reading = events.read();
      store.end("a", result("a"));
      now += 5000;
      assert.deepEqual([store.get("a"), reading.cutOff.aborted], [undefined, false]);
    });
  });

  it("stays when another owner's results are too many or too large", () => {
    for (const [limits, more] of [
      [{ maxRecords: 5 }, {}],
      [{}, { stdout: "x".repeat(200_000) }],
    ] as const) {
      open(limits);
      store.begin({ id: "bob's", runtime: "node", owner: "bob" });
      store.end("bob's", result("bob's", more));
      for (let count = 0; count < 20; count += 1) run(`${count}`, more);
      assert.deepEqual(ids(), [...["19", "18", "17", "16"].slice(0, ids().length - 1), "bob's"]);
      assert.ok(ids().length > 3);
    }
  });

  it("counts its events, of which there may be many", () => {
    for (const id of ["a", "b", "c"]) {
      begin(id);
      for (let count = 0; count < 3000; count += 1) store.get(id)!.events.printed("stdout", "x");
      store.end(id, result(id));
    }
    assert.deepEqual(ids(), ["c", "b"]);
  });
});
