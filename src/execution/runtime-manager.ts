/**
 * The seam that the rest of the system uses: knows the runtimes, executes, cancels, reports.
 */

import type { Logger } from "pino";

import type { Caller } from "../domain/caller.ts";
import { AppError } from "../domain/errors.ts";
import type { Execution, ExecutionRequest } from "../domain/execution.ts";
import { newExecutionId } from "../domain/ids.ts";
import { narrow } from "../domain/narrow.ts";
import type { EffectivePolicy, RuntimeDefinition } from "../domain/runtime.ts";
import { findUnsupported } from "../domain/unsupported.ts";
import type { OutputSink } from "../sandbox/ports.ts";
import type { Admission } from "./admission.ts";
import type { ExecutionService } from "./execution-service.ts";
import type { ExecutionRecord, ExecutionStore } from "./execution-store.ts";
import { Termination } from "./termination.ts";

export interface RuntimeManagerDeps {
  readonly runtimes: ReadonlyMap<string, RuntimeDefinition>;
  readonly executions: ExecutionService;
  readonly admission: Admission;
  readonly store: ExecutionStore;
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
  /** Called once the program is about to run: from here on there will be a result. */
  readonly onRunning?: (id: string) => void;
  /** Takes what the program prints, as it comes, whatever `outputBytes` keeps of it. Must neither throw nor wait. */
  readonly output?: OutputSink;
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

  status(): ManagerStatus {
    const { admission } = this.#deps;
    return { accepting: this.#accepting, running: admission.running, queued: admission.queued };
  }

  /**
   * Runs a program and gives its result, whatever the program did.
   *
   * Throws an `AppError` when it cannot be run: a runtime that is unknown, unavailable or not for this caller, a limit or permission
   * that the runtime does not grant, a full queue, no engine.
   */
  async execute(request: ExecutionRequest, options: ExecuteOptions): Promise<Execution> {
    if (!this.#accepting) throw shuttingDown();
    const runtime = this.#select(request.runtime, options.caller);
    const policy = narrow(runtime, request);
    const unsupported = findUnsupported(policy.permissions);
    if (unsupported.length > 0) throw cannotRun(runtime.name, unsupported);
    this.#deps.checkRequest(request, policy);
    const running = this.#run(request, policy, options);
    this.#active.add(running);
    try {
      return await running;
    } finally {
      this.#active.delete(running);
    }
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

  async #run(request: ExecutionRequest, policy: EffectivePolicy, options: ExecuteOptions): Promise<Execution> {
    const { executions, logger, store } = this.#deps;
    const { caller } = options;
    const id = newExecutionId();
    const controller = new AbortController();
    const onGone = (): void => {
      controller.abort(new Termination("cancelled", "The caller went away."));
    };
    if (options.signal.aborted) onGone();
    options.signal.addEventListener("abort", onGone, { once: true });
    this.#cancels.set(id, controller);
    store.begin({ id, runtime: policy.runtime, owner: caller.name });
    try {
      const execution = await executions.run({
        id,
        request,
        policy,
        caller,
        signal: controller.signal,
        answered: options.answered ?? Promise.resolve(),
        output: options.output,
        onRunning: () => {
          store.markRunning(id);
          options.onRunning?.(id);
        },
      });
      store.end(id, execution);
      const { exitCode, runtime, signal, status, usage } = execution;
      logger.info({ executionId: id, owner: caller.name, runtime, status, exitCode, signal, usage }, "execution ended");
      return execution;
    } catch (error) {
      store.drop(id);
      throw error;
    } finally {
      this.#cancels.delete(id);
      options.signal.removeEventListener("abort", onGone);
    }
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
