/**
 * Every way in which a program can end leads here, with Node's own semantics for exit codes and handlers.
 *
 *     the program has a result        → process.exit
 *     process.exit(n)                 → `exit` handlers → process.reallyExit
 *     the event loop is empty         → `beforeExit`, `exit` handlers → (Node would just stop) → process.exit
 *     an error that nobody caught     → `exit` handlers → (Node would print it and abort) → process.exit
 *
 * `process.reallyExit` is the one place where they meet: the outcome is sent from there.
 */

import process from "node:process";

import type { ErrorReporter } from "./error-report.ts";
import { finish } from "./finish.ts";
import type { FinishDeps, Outcome } from "./finish.ts";
import { apply, ErrorClass } from "./intrinsics.ts";
import { processInternals } from "./node-internals.ts";
import type { RefusalWatch } from "./refusal-watch.ts";
import { restoreBuiltIns } from "./restore-built-ins.ts";

/** Node's exit code for a top-level await that never settles. */
const UNSETTLED_EXIT_CODE = 13;
/** Node's exit code for an error in a handler of `uncaughtException`. */
const HANDLER_FAILED_EXIT_CODE = 7;

const NEVER_SETTLES =
  "The program waits for a promise that can never settle: nothing is left that could settle it, no timer, no connection, no other work. " +
  "A promise whose resolve is never called, or a stream or server that was never started, are the usual reasons.";

export interface EndingDeps extends FinishDeps {
  readonly reporter: ErrorReporter;
  readonly watch: RefusalWatch;
}

export class Ending {
  readonly #deps: EndingDeps;
  /** Comes back where the program has replaced `process.reallyExit` by something that does. */
  readonly #exit: (...code: Parameters<typeof process.exit>) => void = process.exit.bind(process);
  readonly #reallyExit = processInternals.reallyExit;
  /** JSON text. */
  #result = "null";
  #failure: { readonly thrown: unknown } | undefined;
  /** What the main module itself threw: Node wraps what is no Error. */
  #mainFailure: { readonly reason: unknown } | undefined;
  #isSettled = false;
  #isExiting = false;
  #isFinishing = false;

  constructor(deps: EndingDeps) {
    this.#deps = deps;
  }

  /** From here on no way out misses {@link finish}. */
  install(): void {
    process.exit = (...code) => this.#leave(...code);
    this.#watchEmptyLoop();
    this.#watchErrors();
    processInternals.reallyExit = (code = 0) => this.#end(code);
  }

  /** The program has come to a result: the rest of its event loop is not waited for. */
  complete(result: string): never {
    this.#result = result;
    this.#isSettled = true;
    return this.#leave();
  }

  /** The program has run through without a result; it ends with its event loop. */
  settle(): void {
    this.#isSettled = true;
  }

  /** The program could not be started, or its result cannot be sent. */
  fail(thrown: unknown): never {
    this.#failure = { thrown };
    this.#isSettled = true;
    return this.#leave(1);
  }

  /** Notes what the main module threw, before it goes the way of every rejection that nobody handles. */
  noteMainFailure(reason: unknown): void {
    this.#mainFailure = { reason };
    this.#isSettled = true;
  }

  /** Node's own process.exit: the program may have replaced the one it sees. */
  #leave(...code: Parameters<typeof process.exit>): never {
    this.#isExiting = true;
    try {
      this.#exit(...code);
    } finally {
      // For a code that was refused.
      this.#isExiting = false;
    }
    return this.#end(Number(process.exitCode ?? 0));
  }

  /** Node emits `exit` by itself when nothing is left to do. Going through process.exit instead, the handlers run just the same. */
  #watchEmptyLoop(): void {
    const { emit } = processInternals;
    processInternals.emit = (event, ...parameters) => {
      if (event !== "exit" || !processInternals._exiting || this.#isExiting) return apply(emit, process, [event, ...parameters]);
      if (!this.#isSettled && this.#failure === undefined) {
        this.#failure = { thrown: { name: "Error", message: NEVER_SETTLES } };
        process.exitCode ??= UNSETTLED_EXIT_CODE;
      }
      processInternals._exiting = false;
      return this.#leave();
    };
  }

  #watchErrors(): void {
    const { _fatalException: handle } = processInternals;
    processInternals._fatalException = (error, fromPromise) => {
      const hasHandler = process.listenerCount("uncaughtException") > 0 || process.hasUncaughtExceptionCaptureCallback();
      if (!hasHandler) this.#failWith(error, fromPromise);
      try {
        if (apply(handle, process, [error, fromPromise])) return true;
        // The error came out of an `exit` handler: those do not run twice.
        this.#failWith(error, fromPromise);
        return this.#end(Number(process.exitCode ?? 1));
      } catch (thrown) {
        this.#failWith(thrown, false);
        processInternals._exiting = false;
        return this.#leave(HANDLER_FAILED_EXIT_CODE);
      }
    };
  }

  #failWith(error: unknown, fromPromise: boolean): void {
    const isWrapped = fromPromise && this.#mainFailure !== undefined && isUnhandledRejection(error);
    this.#failure = { thrown: isWrapped ? this.#mainFailure?.reason : error };
  }

  #end(code: number): never {
    const exitCode = code & 0xff;
    if (!this.#isFinishing) {
      this.#isFinishing = true;
      try {
        restoreBuiltIns();
        finish(this.#deps, { ...this.#outcome(), exitCode });
      } catch {
        // The service is gone, or the program broke what the runner stands on. Either way nobody is left to be told.
      }
    }
    return apply(this.#reallyExit, process, [exitCode]);
  }

  #outcome(): Omit<Outcome, "exitCode"> {
    const { reporter, watch } = this.#deps;
    if (this.#failure === undefined) return { result: this.#result, error: null, denials: watch.log.list() };
    const { thrown } = this.#failure;
    watch.noteFatal(thrown);
    return { result: "null", error: reporter.report(thrown), denials: watch.log.list() };
  }
}

function isUnhandledRejection(error: unknown): boolean {
  return error instanceof ErrorClass && (error as NodeJS.ErrnoException).code === "ERR_UNHANDLED_REJECTION";
}
