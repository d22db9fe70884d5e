/** Executions from admission to the removal of their sandboxes, with sandboxes that do what the test says. */

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { pino } from "pino";

import { NO_AUDIT } from "../../../src/domain/audit-event.ts";
import type { Caller } from "../../../src/domain/caller.ts";
import { AppError } from "../../../src/domain/errors.ts";
import { executionSchema } from "../../../src/domain/execution.ts";
import type { Execution } from "../../../src/domain/execution.ts";
import type { RuntimeDefinition } from "../../../src/domain/runtime.ts";
import { Admission } from "../../../src/execution/admission.ts";
import type { AdmissionLimits } from "../../../src/execution/admission.ts";
import { ExecutionService } from "../../../src/execution/execution-service.ts";
import { ExecutionStore } from "../../../src/execution/execution-store.ts";
import { NO_TOOL_ACCESS } from "../../../src/execution/tool-access.ts";
import { RuntimeManager } from "../../../src/execution/runtime-manager.ts";
import type { StartedExecution } from "../../../src/execution/runtime-manager.ts";
import { eventually } from "../support/eventually.ts";
import { exits, FakeSandboxes, finishes, untilStopped, violates } from "../support/fake-sandboxes.ts";
import { requestOf, runtimeOf } from "../support/policies.ts";

const never = (): AbortSignal => new AbortController().signal;

interface Setup {
  readonly limits?: Partial<AdmissionLimits>;
  readonly runtimes?: readonly RuntimeDefinition[];
  readonly checkRequest?: () => void;
}

describe("runtime-manager: executions", () => {
  let sandboxes: FakeSandboxes;
  let manager: RuntimeManager;
  let log: { level: number; msg: string; executionId?: string }[];

  const open = ({ checkRequest = () => undefined, limits = {}, runtimes = [runtimeOf()] }: Setup = {}): void => {
    sandboxes = new FakeSandboxes();
    log = [];
    const logger = pino({ level: "info" }, { write: (line: string) => log.push(JSON.parse(line) as (typeof log)[number]) });
    const admission = new Admission({ maxRunning: 4, maxStarting: 2, maxQueued: 10, ...limits });
    manager = new RuntimeManager({
      runtimes: new Map(runtimes.map((runtime) => [runtime.name, runtime])),
      executions: new ExecutionService({ admission, provider: sandboxes, tools: NO_TOOL_ACCESS, audit: NO_AUDIT, logger }),
      servers: NO_TOOL_ACCESS,
      admission,
      store: new ExecutionStore({ ttlMs: 60_000, maxRecords: 100, maxBytes: 1e8 }),
      logger,
      audit: NO_AUDIT,
      checkRequest,
    });
  };
  const start = (fields: object = {}, options: { signal?: AbortSignal; caller?: Caller } = {}): StartedExecution =>
    manager.start(requestOf(fields), { caller: { name: "alice" }, signal: never(), ...options });
  const execute = (fields: object = {}, options: { signal?: AbortSignal; caller?: Caller } = {}): Promise<Execution> =>
    manager.execute(requestOf(fields), { caller: { name: "alice" }, signal: never(), ...options });
  const refusal = async (promise: Promise<unknown>): Promise<AppError> => {
    const error: unknown = await promise.then(
      () => assert.fail("it was run"),
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof AppError, String(error));
    return error;
  };
  const settled = (): Promise<void> =>
    eventually(() => sandboxes.live === 0 && manager.status().running === 0 && manager.status().queued === 0, "everything given back");

  beforeEach(() => {
    open();
  });
  afterEach(settled);

  describe("results", () => {
    it("have the form of the API, and all that the sandbox told", async () => {
      sandboxes.behaviour = (program, sink) => {
        sink.stdout(Buffer.from("out"));
        sink.stderr(Buffer.from("err"));
        const end = finishes({ args: program.args });
        assert.ok(end.kind === "finished");
        return Promise.resolve({
          ...end,
          files: [{ path: "temp/a", content: "A", encoding: "utf8", size: 1 }],
          usage: { cpuMs: 5, memoryPeakBytes: 6 },
        });
      };
      const execution = await execute({ args: ["x"], outputFiles: ["temp/**"] });
      assert.deepEqual(executionSchema.parse(execution), execution);
      const { id, usage, ...rest } = execution;
      assert.match(id, /^exe_[0-9a-z]{20}$/);
      assert.deepEqual([usage.cpuMs, usage.memoryPeakBytes], [5, 6]);
      assert.ok(usage.totalMs >= usage.queuedMs + usage.startMs + usage.runMs - 0.02);
      assert.deepEqual(rest, {
        runtime: "node",
        status: "completed",
        result: { args: ["x"] },
        error: null,
        exitCode: 0,
        signal: null,
        stdout: "out",
        stderr: "err",
        truncated: { stdout: false, stderr: false },
        toolCalls: [],
        network: [],
        denials: [],
        files: [{ path: "temp/a", content: "A", encoding: "utf8", size: 1 }],
        persisted: null,
        warm: false,
        degraded: false,
      });
    });

    it("say truncated for a stream whose end was not seen, and for one over its cap", async () => {
      sandboxes.behaviour = (_program, sink) => {
        sink.stderr(Buffer.from("12345"));
        return Promise.resolve({ ...finishes(), incomplete: { stdout: true, stderr: false } });
      };
      const execution = await execute({ limits: { outputBytes: 4 } });
      assert.deepEqual([execution.stderr, execution.truncated], ["1234", { stdout: true, stderr: true }]);
    });

    it("name every output file that a program that was ended cannot have left", async () => {
      sandboxes.behaviour = () => Promise.resolve(exits(137, true));
      const { files, status } = await execute({ outputFiles: ["temp/a", "temp/**"] });
      assert.equal(status, "out_of_memory");
      const error = "no output files: the program did not end by itself, or its process was gone";
      assert.deepEqual(files, [
        { path: "temp/a", size: null, error },
        { path: "temp/**", size: null, error },
      ]);
    });

    it("are results too when the sandbox breaks the rules, or the engine fails while the program runs", async () => {
      sandboxes.behaviour = () => Promise.resolve(violates("it flooded"));
      assert.equal((await execute()).status, "killed");
      sandboxes.behaviour = () => Promise.reject(new Error("socket hang up /var/run/secret"));
      const execution = await execute();
      assert.equal(execution.status, "killed");
      assert.equal(execution.error?.message, "The sandbox was ended: the container engine failed while the program ran.");
      assert.deepEqual(execution.truncated, { stdout: true, stderr: true });
      assert.ok(!JSON.stringify(execution).includes("hang up"), "the engine's words are for the log");
      assert.ok(log.some(({ executionId, msg }) => executionId === execution.id && msg.includes("failed while the program ran")));
    });

    it("tell a full heap by the runtime's last words, even if no room was left to keep them", async () => {
      sandboxes.behaviour = (_program, sink) => {
        sink.stderr(Buffer.alloc(1000, "x"));
        sink.stderr(Buffer.from("\nFATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n"));
        return Promise.resolve(exits(134));
      };
      const { status, stderr } = await execute({ limits: { outputBytes: 10 } });
      assert.deepEqual([status, stderr], ["out_of_memory", "xxxxxxxxxx"]);
    });

    it("tell how long they waited, started and ran", async () => {
      open({ limits: { maxRunning: 1 } });
      sandboxes.beforeStart = () => sleep(40);
      sandboxes.behaviour = async () => {
        await sleep(80);
        return finishes();
      };
      const [first, second] = await Promise.all([execute(), execute()]);
      const near = (value: number, expected: number): void =>
        assert.ok(value >= expected - 2 && value < expected + 500, `${value}, not ${expected}`);
      near(first.usage.queuedMs, 0);
      assert.ok(first.usage.queuedMs < 40);
      for (const { usage } of [first, second]) {
        near(usage.startMs, 40);
        near(usage.runMs, 80);
      }
      near(second.usage.queuedMs, 120);
      near(second.usage.totalMs, 240);
    });

    it("leave no timer behind", async () => {
      const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
      const before = timers();
      for (let count = 0; count < 30; count += 1) await execute();
      await settled();
      assert.ok(timers() < before + 15, `${timers()} timers, ${before} before`);
    });

    it("hold their slot until the answer is off", async () => {
      let off = (): void => undefined;
      const answered = new Promise<void>((resolve) => (off = resolve));
      await manager.execute(requestOf(), { caller: { name: "alice" }, signal: never(), answered });
      await eventually(() => sandboxes.live === 0, "the sandbox is gone");
      assert.equal(manager.status().running, 1);
      off();
      await settled();
    });

    it("are given as soon as they are known; the slot is held until the sandbox is gone", async () => {
      let remove = (): void => undefined;
      sandboxes.beforeGone = () => new Promise((resolve) => (remove = resolve));
      await execute();
      assert.deepEqual([sandboxes.live, manager.status().running], [1, 1]);
      remove();
      await settled();
    });

    it("are logged once, with who asked and how it ended, and without the program's output", async () => {
      sandboxes.behaviour = (_program, sink) => {
        sink.stdout(Buffer.from("private output"));
        return Promise.resolve(finishes("private result"));
      };
      const { id } = await execute({ code: "private code", env: { A: "private value" } });
      const about = log.filter(({ executionId }) => executionId === id);
      assert.equal(about.length, 1);
      const { level, msg, owner, status } = about[0] as (typeof log)[number] & { owner: string; status: string };
      assert.deepEqual([level, msg, owner, status], [30, "execution ended", "alice", "completed"]);
      assert.ok(!JSON.stringify(log).includes("private"));
    });
  });

  describe("ends that the service decides", () => {
    it("a deadline is timed_out, and says what to do", async () => {
      sandboxes.behaviour = untilStopped;
      const execution = await execute({ timeoutMs: 20 });
      assert.equal(execution.status, "timed_out");
      assert.match(execution.error!.message, /^The program ran longer than 20 ms\. Ask for a longer timeoutMs/);
      assert.ok(execution.usage.runMs >= 19 && execution.usage.runMs < 1000, String(execution.usage.runMs));
    });

    it("a deadline does not count the wait for a slot or the start", async () => {
      sandboxes.beforeStart = () => sleep(60);
      sandboxes.behaviour = async () => {
        await sleep(5);
        return finishes();
      };
      assert.equal((await execute({ timeoutMs: 50 })).status, "completed");
    });

    it("too much output is output_limit, whatever the cap of what is kept", async () => {
      open({ runtimes: [runtimeOf({ limits: { outputCeilingBytes: 16 * 2 ** 20 } })] });
      sandboxes.behaviour = (program, sink, signal) => {
        for (let count = 0; count < 17; count += 1) sink.stderr(Buffer.alloc(2 ** 20, "x"));
        return untilStopped(program, sink, signal);
      };
      const execution = await execute({ limits: { outputBytes: 10 } });
      assert.equal(execution.status, "output_limit");
      assert.equal(execution.error?.message, `The program printed more than ${16 * 2 ** 20} bytes to stderr.`);
      assert.deepEqual([execution.stderr, execution.truncated], ["xxxxxxxxxx", { stdout: false, stderr: true }]);
    });

    it("a cancel by id is cancelled", async () => {
      sandboxes.behaviour = untilStopped;
      const { ended, record, running } = start();
      await running;
      assert.ok(manager.cancel(record.id));
      const execution = await ended;
      assert.deepEqual([execution.status, execution.error?.message], ["cancelled", "The execution was cancelled."]);
      assert.equal(manager.cancel(execution.id), false, "it has ended");
      assert.equal(manager.cancel("exe_00000000000000000000"), false);
    });

    it("a caller who goes away cancels", async () => {
      sandboxes.behaviour = untilStopped;
      const caller = new AbortController();
      const { ended, running } = start({}, { signal: caller.signal });
      await running;
      caller.abort();
      const execution = await ended;
      assert.deepEqual([execution.status, execution.error?.message], ["cancelled", "The caller went away."]);
    });

    it("the first of several reasons stands", async () => {
      sandboxes.behaviour = async (program, sink, signal) => {
        await untilStopped(program, sink, signal);
        await sleep(40);
        return untilStopped(program, sink, signal);
      };
      const { ended, record, running } = start({ timeoutMs: 30 });
      await running;
      setTimeout(() => manager.cancel(record.id), 5);
      assert.equal((await ended).status, "cancelled");
    });

    it("a caller who is gone before the start costs no sandbox", async () => {
      const execution = await execute({}, { signal: AbortSignal.abort() });
      assert.equal(execution.status, "cancelled");
      assert.deepEqual(sandboxes.started, []);
    });

    it("a cancel in the queue is cancelled, and gives the place back", async () => {
      open({ limits: { maxRunning: 1, maxQueued: 1 } });
      sandboxes.behaviour = untilStopped;
      const first = execute();
      await eventually(() => manager.status().running === 1, "the first runs");
      const second = execute();
      assert.equal(manager.status().queued, 1);
      const queued = manager.list().find(({ status }) => status === "queued")!;
      assert.ok(manager.cancel(queued.id));
      const execution = await second;
      assert.deepEqual([execution.id, execution.status], [queued.id, "cancelled"]);
      assert.deepEqual(execution.usage.runMs, 0);
      assert.equal(manager.status().queued, 0);
      manager.cancel(manager.list().find(({ status }) => status === "running")!.id);
      await first;
      assert.equal(sandboxes.started.length, 1);
    });

    it("a cancel while the sandbox starts is cancelled, and leaves nothing", async () => {
      sandboxes.beforeStart = (signal) =>
        new Promise((_, reject) => {
          signal.addEventListener("abort", () => {
            reject(signal.reason as Error);
          });
        });
      const running = execute();
      await eventually(() => manager.list().length === 1, "it is known");
      await sleep(5);
      manager.cancel(manager.list()[0]!.id);
      assert.equal((await running).status, "cancelled");
    });
  });

  describe("refusals", () => {
    it("of an unknown runtime name those that there are", async () => {
      open({ runtimes: [runtimeOf(), { ...runtimeOf(), name: "other" }] });
      const error = await refusal(execute({ runtime: 'no"de' }));
      assert.deepEqual([error.code, error.message], ["NOT_FOUND", 'There is no runtime "no\\"de". There are: node, other.']);
    });

    it("of a runtime that cannot run say why", async () => {
      open({ runtimes: [{ ...runtimeOf(), unavailable: ["permissions.network.allowedHosts: not yet", "no image"] }] });
      const error = await refusal(execute());
      assert.deepEqual(
        [error.code, error.message],
        ["SANDBOX_UNAVAILABLE", 'The runtime "node" cannot run here: permissions.network.allowedHosts: not yet; no image.'],
      );
    });

    it("take the first runtime where none is named", async () => {
      open({
        runtimes: [
          { ...runtimeOf(), name: "first" },
          { ...runtimeOf(), name: "second" },
        ],
      });
      assert.equal((await execute()).runtime, "first");
      assert.equal((await execute({ runtime: "second" })).runtime, "second");
    });

    it("keep a caller with a list of runtimes to it; its first is the default, and it learns of no other", async () => {
      open({ runtimes: ["first", "second", "third"].map((name) => ({ ...runtimeOf(), name })) });
      const caller = { name: "bob", runtimes: ["third", "first", "gone"] };
      assert.equal((await execute({}, { caller })).runtime, "third");
      assert.equal((await execute({ runtime: "first" }, { caller })).runtime, "first");
      for (const runtime of ["second", "gone", "nothing"]) {
        const { code, message } = await refusal(execute({ runtime }, { caller }));
        assert.deepEqual([code, message], ["FORBIDDEN", `The key "bob" may not use the runtime "${runtime}". It may use: third, first.`]);
      }
      const { code, message } = await refusal(execute({}, { caller: { name: "bob", runtimes: ["gone"] } }));
      assert.deepEqual([code, message], ["FORBIDDEN", 'None of the runtimes that the key "bob" may use is there: gone.']);
      assert.deepEqual(
        manager.runtimesFor(caller).map(({ name }) => name),
        ["third", "first"],
      );
      assert.equal(manager.runtimesFor({ name: "alice" }).length, 3);
    });

    it("come before anything is acquired, and leave no record", async () => {
      const taken = new AppError({ code: "INVALID_REQUEST", message: "not so" });
      open({
        checkRequest: () => {
          throw taken;
        },
      });
      assert.equal(await refusal(execute()), taken);
      assert.equal((await refusal(execute({ timeoutMs: 31_000 }))).code, "LIMIT_EXCEEDED");
      assert.equal((await refusal(execute({ permissions: { system: { maxProcesses: 2 } } }))).code, "PERMISSION_WIDENING");
      assert.deepEqual([manager.list(), sandboxes.started], [[], []]);
    });

    it("by a full queue leave those who wait alone", async () => {
      open({ limits: { maxRunning: 1, maxQueued: 1 } });
      let go = (): void => undefined;
      const gate = new Promise<void>((resolve) => (go = resolve));
      sandboxes.behaviour = async () => {
        await gate;
        return finishes();
      };
      const runs = [execute(), execute()];
      const error = await refusal(execute());
      assert.equal(error.code, "QUEUE_FULL");
      assert.ok(error.retryAfterSeconds! >= 1);
      assert.equal(manager.list().length, 2);
      go();
      assert.deepEqual(
        (await Promise.all(runs)).map(({ status }) => status),
        ["completed", "completed"],
      );
    });

    it("by the engine are the request's, once, and the next one works", async () => {
      sandboxes.beforeStart = () => Promise.reject(new AppError({ code: "SANDBOX_UNAVAILABLE", message: "the engine is away" }));
      assert.equal((await refusal(execute())).code, "SANDBOX_UNAVAILABLE");
      assert.deepEqual(manager.list(), []);
      sandboxes.beforeStart = () => Promise.resolve();
      assert.equal((await execute()).status, "completed");
    });
  });

  describe("many at once", () => {
    it("keep to the limits of running and of starting, and all end", async () => {
      open({ limits: { maxRunning: 3, maxStarting: 1, maxQueued: 100 } });
      sandboxes.beforeStart = () => sleep(1);
      sandboxes.behaviour = async () => {
        await sleep(Math.random() * 5);
        return finishes();
      };
      const ends = await Promise.all(Array.from({ length: 40 }, () => execute()));
      assert.equal(new Set(ends.map(({ id }) => id)).size, 40);
      assert.ok(ends.every(({ status }) => status === "completed"));
      assert.ok(sandboxes.mostLive <= 3 && sandboxes.mostLive > 1, `${sandboxes.mostLive} at once`);
      assert.equal(sandboxes.mostStarting, 1);
    });

    it("are shown by status while they go on", async () => {
      open({ limits: { maxRunning: 1 } });
      sandboxes.behaviour = untilStopped;
      const runs = [execute(), execute()];
      await eventually(() => manager.list().some(({ status }) => status === "running"), "one runs");
      assert.deepEqual(
        manager.list().map(({ owner, status }) => [owner, status]),
        [
          ["alice", "queued"],
          ["alice", "running"],
        ],
      );
      for (const { id } of manager.list()) manager.cancel(id);
      await Promise.all(runs);
      assert.deepEqual(
        manager.list().map(({ status }) => status),
        ["cancelled", "cancelled"],
      );
    });
  });

  describe("the shutdown", () => {
    it("waits for what ends within its grace, and takes no more", async () => {
      sandboxes.behaviour = async () => {
        await sleep(30);
        return finishes("done");
      };
      const running = execute();
      const closing = manager.close(5000, () => undefined);
      assert.equal(manager.status().accepting, false);
      const error = await refusal(execute());
      assert.deepEqual([error.code, error.status], ["SHUTTING_DOWN", 503]);
      assert.ok(error.retryAfterSeconds! > 0);
      assert.equal((await running).result, "done");
      await closing;
    });

    it("cancels what takes longer, queued or running", async () => {
      open({ limits: { maxRunning: 1 } });
      sandboxes.behaviour = untilStopped;
      const runs = [execute(), execute()];
      await eventually(() => manager.status().running === 1, "one runs");
      const began = performance.now();
      await manager.close(30, () => undefined);
      assert.ok(performance.now() - began >= 29);
      const ended = await Promise.all(runs);
      for (const { error, status } of ended) assert.deepEqual([status, error?.message], ["cancelled", "The service shuts down."]);
      assert.deepEqual(
        ended.map(({ signal }) => signal),
        ["SIGKILL", null],
        "only one of them had a process",
      );
    });

    it("is over only when every sandbox is gone, and says when only that is left", async () => {
      sandboxes.beforeGone = () => sleep(40);
      const events: string[] = [];
      await execute();
      await manager.close(0, () => events.push(`settled with ${sandboxes.live} left`));
      events.push(`closed with ${sandboxes.live} left`);
      assert.deepEqual(events, ["settled with 1 left", "closed with 0 left"]);
    });

    it("with nothing to do is over at once, also a second time", async () => {
      await manager.close(60_000, () => undefined);
      await manager.close(60_000, () => undefined);
    });
  });

  describe("what fails in the clean-up", () => {
    it("is logged, and the slot is given back all the same", async () => {
      sandboxes.beforeGone = () => {
        sandboxes.live -= 1;
        return Promise.reject(new Error("the engine is away"));
      };
      const { id, status } = await execute();
      assert.equal(status, "completed");
      await settled();
      assert.ok(log.some(({ executionId, level, msg }) => executionId === id && level === 50 && msg.startsWith("clean-up failed")));
    });
  });
});
