/**
 * Runs one execution from admission to the removal of its sandbox.
 *
 * Until the program is delivered a failure is an error of the API; from then on everything is a result with a status. The caller has
 * the result as soon as it is known; the slot is held until everything is cleaned up.
 */

import { createHash } from "node:crypto";

import type { Logger } from "pino";

import type { AuditTrail } from "../domain/audit-event.ts";
import type { Caller } from "../domain/caller.ts";
import { explainDenials } from "../domain/denials.ts";
import type { Execution, ExecutionRequest, Usage } from "../domain/execution.ts";
import type { EffectivePolicy } from "../domain/runtime.ts";
import { CleanupStack } from "../lib/cleanup-stack.ts";
import type { SemaphorePermit } from "../lib/fair-semaphore.ts";
import { StopSource } from "../lib/stop-source.ts";
import type { OutputSink, Sandbox, SandboxEnd, SandboxProvider } from "../sandbox/ports.ts";
import type { Admission } from "./admission.ts";
import type { EventLog } from "./event-log.ts";
import { OutputCollector } from "./output-collector.ts";
import type { CollectedOutput } from "./output-collector.ts";
import { judge, Termination } from "./termination.ts";
import type { Verdict } from "./termination.ts";
import { NO_TOOL_ACCESS } from "./tool-access.ts";
import type { ToolAccess, ToolOrder, ToolSession } from "./tool-access.ts";

export interface ExecutionServiceDeps {
  readonly admission: Admission;
  readonly provider: SandboxProvider;
  readonly tools: ToolAccess;
  readonly audit: AuditTrail;
  readonly logger: Logger;
}

export interface ExecutionOrder {
  readonly id: string;
  readonly request: ExecutionRequest;
  readonly policy: EffectivePolicy;
  /** Slots are shared out among callers. */
  readonly caller: Caller;
  /** Aborted with a {@link Termination} to cancel. */
  readonly signal: AbortSignal;
  /** Resolves when the answer is off; the slot is held until then. */
  readonly answered: Promise<void>;
  /** Takes what is kept of what the program prints. */
  readonly events: EventLog;
  /** Takes what the program prints too: all of it, as it comes. */
  readonly output: OutputSink | undefined;
  /** Called when the program is about to be delivered. */
  readonly onRunning: () => void;
}

const NOTHING_PRINTED: CollectedOutput = { stdout: "", stderr: "", truncated: { stdout: false, stderr: false } };

export class ExecutionService {
  readonly #deps: ExecutionServiceDeps;
  /** Executions whose result is out, but whose sandbox is not gone yet. */
  readonly #cleaning = new Set<Promise<void>>();

  constructor(deps: ExecutionServiceDeps) {
    this.#deps = deps;
  }

  /** Resolves when every sandbox that has ended is removed. */
  async cleanedUp(): Promise<void> {
    while (this.#cleaning.size > 0) await Promise.all(this.#cleaning);
  }

  /**
   * Runs one program. Throws `QUEUE_FULL` at once, before there is a promise; rejects with an `AppError` when it could not be started.
   */
  run(order: ExecutionOrder): Promise<Execution> {
    return this.#runWith(this.#deps.admission.acquire(order.caller, order.signal), order);
  }

  async #runWith(waiting: Promise<SemaphorePermit>, order: ExecutionOrder): Promise<Execution> {
    const { id } = order;
    const timing = new Timing();
    const cleanup = new CleanupStack({
      onError: (step, error) => {
        this.#deps.logger.error({ executionId: id, step, err: error }, "clean-up failed; the next start reclaims what is left");
      },
    });
    try {
      const slot = await waiting;
      cleanup.defer("release the slot", async () => {
        await order.answered;
        slot.release();
      });
      const sandbox = await this.#acquireSandbox(order, timing, cleanup);
      this.#audit(order);
      order.onRunning();
      return await this.#runIn(sandbox, order, timing);
    } catch (error) {
      if (!(error instanceof Termination)) throw error;
      // No process was there that a signal could have ended.
      const verdict = { ...judge(STOPPED_BEFORE_START, error, ""), signal: null };
      return describe(order, timing, verdict, { output: NOTHING_PRINTED, end: STOPPED_BEFORE_START, tools: NO_TOOL_ACCESS.open() });
    } finally {
      const cleaning = cleanup.close().finally(() => this.#cleaning.delete(cleaning));
      this.#cleaning.add(cleaning);
    }
  }

  async #acquireSandbox({ caller, id, policy, signal }: ExecutionOrder, timing: Timing, cleanup: CleanupStack): Promise<Sandbox> {
    const { admission, provider } = this.#deps;
    const startSlot = await admission.acquireStart(caller, signal);
    timing.queued();
    try {
      const sandbox = await provider.start(id, policy, signal, cleanup);
      timing.started();
      return sandbox;
    } finally {
      startSlot.release();
    }
  }

  async #runIn(sandbox: Sandbox, order: ExecutionOrder, timing: Timing): Promise<Execution> {
    const { policy, request, signal } = order;
    const { limits } = policy;
    const stop = new StopSource()
      .follow(signal)
      .abortAfter(
        limits.timeoutMs,
        () =>
          new Termination(
            "timed_out",
            `The program ran longer than ${limits.timeoutMs} ms. Ask for a longer timeoutMs, if the runtime allows it, or do less.`,
          ),
      );
    const collector = new OutputCollector({
      caps: { keptBytes: limits.outputBytes, ceilingBytes: limits.outputCeilingBytes },
      events: order.events,
      onCeiling: (stream) => {
        stop.abort(new Termination("output_limit", `The program printed more than ${limits.outputCeilingBytes} bytes to ${stream}.`));
      },
    });
    const tools = this.#openTools(order);
    try {
      const end = await sandbox
        .run(request, { output: both(collector, order.output), tools }, stop.signal)
        .catch((error: unknown) => this.#engineFailed(order.id, error));
      timing.ran();
      await tools.close();
      const output = collector.collect();
      const reason: unknown = stop.signal.reason;
      const termination = reason instanceof Termination ? reason : undefined;
      return describe(order, timing, judge(end, termination, collector.stderrTail()), { output, end, tools });
    } finally {
      await tools.close();
      stop.close();
      collector.close();
    }
  }

  /** No program is delivered before the log has it. Throws an `AppError` where it cannot be written. */
  #audit({ caller, id, policy, request: { code } }: ExecutionOrder): void {
    const { audit } = this.#deps;
    const codeSha256 = createHash("sha256").update(code).digest("hex");
    audit.record({
      type: "execution.started",
      executionId: id,
      who: caller.name,
      runtime: policy.runtime,
      codeSha256,
      codeBytes: Buffer.byteLength(code),
    });
    audit.ensure();
  }

  #openTools({ caller, events, id, request }: ExecutionOrder): ToolSession {
    const onCall: ToolOrder["onCall"] = (call) => {
      events.called(call);
    };
    return this.#deps.tools.open({ executionId: id, who: caller.name, allowed: [caller.tools, request.tools], onCall });
  }

  /** The program was delivered, so it may have run: that is a result, and nothing that a caller should send again blindly. */
  #engineFailed(id: string, error: unknown): SandboxEnd {
    this.#deps.logger.error({ executionId: id, err: error }, "the sandbox failed while the program ran");
    return {
      kind: "violation",
      reason: "the container engine failed while the program ran",
      usage: { cpuMs: null, memoryPeakBytes: null },
      incomplete: { stdout: true, stderr: true },
    };
  }
}

/** A sink that hands on to two; whatever the first makes of it, the second gets all. */
function both(first: OutputSink, second: OutputSink | undefined): OutputSink {
  if (second === undefined) return first;
  return {
    stdout: (chunk) => {
      first.stdout(chunk);
      second.stdout(chunk);
    },
    stderr: (chunk) => {
      first.stderr(chunk);
      second.stderr(chunk);
    },
  };
}

const STOPPED_BEFORE_START: SandboxEnd = {
  kind: "stopped",
  usage: { cpuMs: null, memoryPeakBytes: null },
  incomplete: { stdout: false, stderr: false },
};

/** The phases of an execution, in milliseconds. A phase that was not reached took no time. */
class Timing {
  readonly #beganAt = performance.now();
  #queuedAt: number | undefined;
  #startedAt: number | undefined;
  #ranAt: number | undefined;

  queued(): void {
    this.#queuedAt = performance.now();
  }

  started(): void {
    this.#startedAt = performance.now();
  }

  ran(): void {
    this.#ranAt = performance.now();
  }

  phases(): Pick<Usage, "queuedMs" | "startMs" | "runMs" | "totalMs"> {
    const now = performance.now();
    const queuedAt = this.#queuedAt ?? now;
    const startedAt = this.#startedAt ?? now;
    const ranAt = this.#ranAt ?? now;
    const round = (ms: number): number => Math.round(ms * 100) / 100;
    return {
      queuedMs: round(queuedAt - this.#beganAt),
      startMs: round(startedAt - queuedAt),
      runMs: round(ranAt - startedAt),
      totalMs: round(now - this.#beganAt),
    };
  }
}

/** What came of a program, with what it was given. */
interface Run {
  readonly end: SandboxEnd;
  readonly output: CollectedOutput;
  readonly tools: Pick<ToolSession, "calls" | "denials" | "degraded">;
}

/** The execution as the API shows it. */
function describe(order: ExecutionOrder, timing: Timing, verdict: Verdict, { end, output, tools }: Run): Execution {
  const noticed = end.kind === "finished" ? explainDenials(end.finished.denials, order.policy) : [];
  return {
    id: order.id,
    runtime: order.policy.runtime,
    ...verdict,
    stdout: output.stdout,
    stderr: output.stderr,
    truncated: {
      stdout: output.truncated.stdout || end.incomplete.stdout,
      stderr: output.truncated.stderr || end.incomplete.stderr,
    },
    toolCalls: [...tools.calls],
    network: [],
    denials: [...noticed, ...tools.denials],
    files: outputFiles(order, end),
    persisted: persisted(order, end),
    usage: { ...timing.phases(), ...end.usage },
    warm: false,
    degraded: tools.degraded,
  };
}

/** The output files; where the program's end left none to read, an entry that says so for each pattern that was asked for. */
function outputFiles({ request }: ExecutionOrder, end: SandboxEnd): Execution["files"] {
  if (end.kind === "finished") return [...end.files];
  return request.outputFiles.map((path) => ({
    path,
    size: null,
    error: "no output files: the program did not end by itself, or its process was gone",
  }));
}

/** What was kept; where the program's end left nothing to keep, an entry that says so for each folder. */
function persisted({ policy }: ExecutionOrder, end: SandboxEnd): Execution["persisted"] {
  if (end.kind === "finished") return end.persisted;
  const kept = policy.permissions.fileSystem.write.filter(({ persist }) => persist);
  if (kept.length === 0) return null;
  const error = "nothing was kept: the program did not end by itself, or its process was gone";
  return { files: 0, bytes: 0, errors: kept.map(({ path }) => ({ path, error })) };
}
