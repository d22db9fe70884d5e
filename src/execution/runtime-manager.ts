/**
 * The seam that the rest of the system uses: knows the runtimes, executes, cancels, reports.
 */

import type { Logger } from "pino";

import type { AuditEntry, AuditTrail } from "../domain/audit-event.ts";
import type { Caller } from "../domain/caller.ts";
import { AppError } from "../domain/errors.ts";
import type { Execution, ExecutionRequest, FinalStatus } from "../domain/execution.ts";
import { newExecutionId } from "../domain/ids.ts";
import { narrow } from "../domain/narrow.ts";
import type { EffectivePolicy, RuntimeDefinition } from "../domain/runtime.ts";
import type { ServerStatus } from "../domain/server-status.ts";
import { findUnsupported } from "../domain/unsupported.ts";
import type { OutputSink } from "../sandbox/ports.ts";
import type { Admission } from "./admission.ts";
import type { ExecutionOrder, ExecutionService } from "./execution-service.ts";
import { describeUnderWay } from "./execution-store.ts";
import type { ExecutionRecord, ExecutionStore } from "./execution-store.ts";
import { Termination } from "./termination.ts";
import type { ToolServers } from "./tool-access.ts";

export interface RuntimeManagerDeps {
  readonly runtimes: ReadonlyMap<string, RuntimeDefinition>;
  readonly executions: ExecutionService;
  readonly admission: Admission;
  readonly store: ExecutionStore;
  readonly servers: Pick<ToolServers, "status">;
  readonly audit: AuditTrail;
  readonly logger: Logger;
  /** Refuses what the sandbox layer knows that it cannot take, before anything is acquired. Throws an `AppError`. */
  readonly checkRequest: (request: ExecutionRequest, policy: EffectivePolicy) => void;
}

export interface ExecuteOptions {
  /** Who asks; the execution belongs to that name. */
  readonly caller: Caller;
  /** Aborted when the caller is gone. */
  readonly signal: AbortSignal;
  /** Resolves when the caller has taken the answer, or is gone. The slot is held until then: unread answers are bounded by it. */
  readonly answered?: Promise<void>;
  /** Takes what the program prints, as it comes, whatever `outputBytes` keeps of it. Must neither throw nor wait. */
  readonly output?: OutputSink;
}

/** An execution that was taken: it runs, or waits for a slot. */
export interface StartedExecution {
  readonly record: ExecutionRecord;
  /** Resolves when the program is about to run, or was cancelled before it could. Rejects as `ended` does. */
  readonly running: Promise<void>;
  /** The result. Rejects with an `AppError` when the program could not be started. */
  readonly ended: Promise<Execution>;
}

export interface ManagerStatus {
  readonly accepting: boolean;
  readonly running: number;
  readonly queued: number;
}

const SHUTDOWN_RETRY_SECONDS = 5;

export class RuntimeManager {
  readonly #deps: RuntimeManagerDeps;
  readonly #cancels = new Map<string, AbortController>();
  readonly #active = new Set<Promise<unknown>>();
  #runtimes: ReadonlyMap<string, RuntimeDefinition>;
  #accepting = true;

  constructor(deps: RuntimeManagerDeps) {
    this.#deps = deps;
    this.#runtimes = deps.runtimes;
  }

  /** The runtimes, in the order of the configuration; the first is the default. */
  get runtimes(): ReadonlyMap<string, RuntimeDefinition> {
    return this.#runtimes;
  }

  /** Takes other runtimes in their place. What was accepted before keeps the policy that it came with. */
  replaceRuntimes(runtimes: ReadonlyMap<string, RuntimeDefinition>): void {
    this.#runtimes = runtimes;
  }

  /** The runtimes that a caller may use; the first is the one that it gets by default. */
  runtimesFor({ runtimes: names }: Caller): RuntimeDefinition[] {
    const runtimes = this.#runtimes;
    if (names === undefined) return [...runtimes.values()];
    return names.flatMap((name) => runtimes.get(name) ?? []);
  }

  /** Whether there may be more than one caller, so that none may take all. */
  get isShared(): boolean {
    return this.#deps.admission.isShared;
  }

  status(): ManagerStatus {
    const { admission } = this.#deps;
    return { accepting: this.#accepting, running: admission.running, queued: admission.queued };
  }

  /** How the MCP servers are, at once: each with its state, why it is in it, its tools and what was called. */
  getMCPStatus(): readonly ServerStatus[] {
    return this.#deps.servers.status();
  }

  /** What the audit log was told lately, at once, the oldest first: `.slice(-10)` are the latest. */
  getSecurityAuditLog(): readonly AuditEntry[] {
    return this.#deps.audit.recent();
  }

  /**
   * Runs a program and gives its result, whatever the program did.
   *
   * Throws an `AppError` when it cannot be run: a runtime that is unknown, unavailable or not for this caller, a limit or permission
   * that the runtime does not grant, a full queue, no engine.
   */
  async execute(request: ExecutionRequest, options: ExecuteOptions): Promise<Execution> {
    return this.start(request, options).ended;
  }

  /** As {@link execute}, with the execution at once. What can be refused at once is thrown, a full queue too. */
  start(request: ExecutionRequest, options: ExecuteOptions): StartedExecution {
    return this.#begin(request, this.#check(request, options.caller), options);
  }

  /**
   * As {@link start}, for a caller who does not wait. `ended` never rejects: the execution is kept with a result that says so when the
   * program could not be started.
   */
  submit(request: ExecutionRequest, { caller }: Pick<ExecuteOptions, "caller">): StartedExecution {
    const policy = this.#check(request, caller);
    return this.#begin(request, policy, { caller, signal: new AbortController().signal }, { detached: true });
  }

  get(id: string): ExecutionRecord | undefined {
    return this.#deps.store.get(id);
  }

  /** Newest first. */
  list(): ExecutionRecord[] {
    return this.#deps.store.list();
  }

  /** Cancels an execution that is queued or running; false when there is none of that id. */
  cancel(id: string): boolean {
    const controller = this.#cancels.get(id);
    controller?.abort(new Termination("cancelled", "The execution was cancelled."));
    return controller !== undefined;
  }

  /**
   * Stops accepting, waits up to `graceMs` for what runs, cancels the rest, and waits until every sandbox is gone. `onSettled` is
   * called when every execution has its result and only the removal is left.
   */
  async close(graceMs: number, onSettled: () => void): Promise<void> {
    this.#accepting = false;
    const settled = Promise.allSettled(this.#active);
    const timer = setTimeout(() => {
      for (const controller of this.#cancels.values()) controller.abort(new Termination("cancelled", "The service shuts down."));
    }, graceMs);
    await settled;
    clearTimeout(timer);
    onSettled();
    await this.#deps.executions.cleanedUp();
  }

  /** The policy that a request gets. */
  #check(request: ExecutionRequest, caller: Caller): EffectivePolicy {
    if (!this.#accepting) throw shuttingDown();
    this.#deps.audit.ensure();
    const runtime = this.#select(request.runtime, caller);
    const policy = narrow(runtime, request);
    const unsupported = findUnsupported(policy.permissions);
    if (unsupported.length > 0) throw cannotRun(runtime.name, unsupported);
    this.#deps.checkRequest(request, policy);
    return policy;
  }

  #begin(
    request: ExecutionRequest,
    policy: EffectivePolicy,
    { answered = Promise.resolve(), caller, output, signal }: ExecuteOptions,
    { detached = false } = {},
  ): StartedExecution {
    const { executions, store } = this.#deps;
    const record = store.begin({ id: newExecutionId(), runtime: policy.runtime, owner: caller.name });
    const { events, id } = record;
    const cancel = new AbortController();
    const release = whenAborted(signal, () => {
      cancel.abort(new Termination("cancelled", "The caller went away."));
    });
    let onRunning = (): void => undefined;
    const running = new Promise<void>((resolve) => (onRunning = resolve));
    const order: ExecutionOrder = {
      ...{ id, request, policy, caller, answered, events, output, signal: cancel.signal },
      onRunning: () => {
        store.markRunning(id);
        events.started(id, policy.runtime);
        onRunning();
      },
    };
    let outcome: Promise<Execution>;
    try {
      outcome = executions.run(order);
    } catch (error) {
      release();
      store.drop(id);
      throw error;
    }
    this.#cancels.set(id, cancel);
    const ended = this.#conclude(record, outcome, detached).finally(() => {
      this.#cancels.delete(id);
      this.#active.delete(ended);
      release();
    });
    this.#active.add(ended);
    const begun = Promise.race([running, ended.then(() => undefined)]);
    // Whoever waits for one of them sees a failure; nobody has to wait.
    for (const promise of [ended, begun]) promise.catch(() => undefined);
    return { record, running: begun, ended };
  }

  /** Keeps the result and tells the readers. Of an execution that came to nothing only a detached one is kept. */
  async #conclude(record: ExecutionRecord, outcome: Promise<Execution>, detached: boolean): Promise<Execution> {
    const { logger, store } = this.#deps;
    const { events, id, owner } = record;
    try {
      const execution = await outcome;
      events.finished(execution);
      store.end(id, execution);
      this.#auditEnd(record, execution);
      const { exitCode, runtime, signal, status, usage } = execution;
      logger.info({ executionId: id, owner, runtime, status, exitCode, signal, usage }, "execution ended");
      return execution;
    } catch (error) {
      const execution = notStarted(record, error);
      const code = error instanceof AppError ? error.code : "INTERNAL";
      this.#deps.audit.record({ type: "execution.not_started", executionId: id, who: owner, runtime: record.runtime, code });
      // Others may wait for it, or read its events.
      events.finished(execution);
      if (!detached) {
        store.drop(id);
        throw error;
      }
      store.end(id, execution);
      logger.error({ executionId: id, owner, err: error }, "an execution that nobody waits for could not be started");
      return execution;
    }
  }

  /** Refused calls of tools are in the log already, each as a call. */
  #auditEnd({ id, owner }: ExecutionRecord, { degraded, denials, runtime, status, toolCalls, usage }: Execution): void {
    const { audit } = this.#deps;
    const execution = { executionId: id, who: owner };
    for (const { count = 1, kind, setting, what } of denials) {
      if (kind !== "tool") audit.record({ type: "denial", ...execution, kind, what, setting, count });
    }
    const calls = toolCalls.reduce((sum, { count = 1 }) => sum + count, 0);
    audit.record({
      type: "execution.ended",
      ...execution,
      runtime,
      status: status as FinalStatus,
      durationMs: usage.totalMs,
      toolCalls: calls,
      degraded,
    });
  }

  #select(name: string | undefined, caller: Caller): RuntimeDefinition {
    const allowed = this.runtimesFor(caller);
    const runtime = name === undefined ? allowed[0] : allowed.find((candidate) => candidate.name === name);
    if (runtime === undefined) {
      const names = allowed.map((candidate) => candidate.name).join(", ");
      // To a key with a list a runtime that is not on it is the same as one that does not exist.
      throw caller.runtimes === undefined
        ? new AppError({ code: "NOT_FOUND", message: `There is no runtime ${JSON.stringify(name)}. There are: ${names}.` })
        : new AppError({
            code: "FORBIDDEN",
            message:
              allowed.length === 0
                ? `None of the runtimes that the key "${caller.name}" may use is there: ${caller.runtimes.join(", ")}.`
                : `The key "${caller.name}" may not use the runtime ${JSON.stringify(name)}. It may use: ${names}.`,
          });
    }
    if (runtime.unavailable.length > 0) {
      throw cannotRun(runtime.name, runtime.unavailable);
    }
    return runtime;
  }
}

const cannotRun = (runtime: string, reasons: readonly string[]): AppError =>
  new AppError({ code: "SANDBOX_UNAVAILABLE", message: `The runtime "${runtime}" cannot run here: ${reasons.join("; ")}.` });

const shuttingDown = (): AppError =>
  new AppError({
    code: "SHUTTING_DOWN",
    message: "The service shuts down and takes no more work.",
    retryAfterSeconds: SHUTDOWN_RETRY_SECONDS,
  });

/** What an execution is that the service could not start. */
function notStarted(record: ExecutionRecord, error: unknown): Execution {
  const name = "NotStarted";
  const message =
    error instanceof AppError
      ? `The program did not run: ${error.message}`
      : "The program did not run, by a fault of the service. Its log has the details under this execution's id.";
  return { ...describeUnderWay(record), status: "killed", error: { name, message, stack: `${name}: ${message}` } };
}

/** Calls the listener when the signal is aborted, also if it is already; gives a function that takes it away. */
function whenAborted(signal: AbortSignal, listener: () => void): () => void {
  if (signal.aborted) listener();
  else signal.addEventListener("abort", listener, { once: true });
  return () => {
    signal.removeEventListener("abort", listener);
  };
}
