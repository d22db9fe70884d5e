/**
 * The configuration that is in force, and how another takes its place while the service runs. The environment is read once, at the start.
 *
 * The files are independent of each other: one that cannot be used keeps what it said before, whatever becomes of the others. A key can
 * be revoked although runtimes.json is broken.
 */

import type { Logger } from "pino";

import type { AuditSink } from "./domain/audit-event.ts";
import { StartupError } from "./domain/errors.ts";
import { coalesce } from "./lib/coalesce.ts";

/** A file of the configuration. */
export interface ReloadablePart {
  /** Its name, for messages. */
  readonly name: string;
  /** Takes what the file says now. Throws, and changes nothing, when that cannot be used. */
  readonly reload: () => Promise<void>;
}

export interface ConfigurationStatus {
  /** When all files were last taken. */
  readonly loadedAt: string;
  /** There when the last reload failed. What was wrong is in the log: it names paths and values of the operator. */
  readonly lastError?: { readonly at: string; readonly message: string };
}

export type ReloadOutcome = { readonly ok: true } | { readonly ok: false; readonly problems: readonly string[] };

export class Configuration {
  readonly #parts: readonly ReloadablePart[];
  readonly #audit: AuditSink;
  readonly #logger: Pick<Logger, "info" | "error">;
  readonly #now: () => Date;
  #status: ConfigurationStatus;
  #closed = false;
  /** Reloads everything. Calls that come in a crowd share a reload; never rejects. */
  readonly reload: () => Promise<ReloadOutcome> = coalesce(() => this.#reload());

  constructor(options: {
    readonly parts: readonly ReloadablePart[];
    readonly audit: AuditSink;
    readonly logger: Pick<Logger, "info" | "error">;
    readonly now?: () => Date;
  }) {
    this.#parts = options.parts;
    this.#audit = options.audit;
    this.#logger = options.logger;
    this.#now = options.now ?? (() => new Date());
    this.#status = { loadedAt: this.#now().toISOString() };
  }

  get status(): ConfigurationStatus {
    return this.#status;
  }

  /** Waits for a reload that is under way, and begins no other. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.reload();
  }

  async #reload(): Promise<ReloadOutcome> {
    if (this.#closed) return { ok: false, problems: ["the service is being stopped"] };
    const problems: string[] = [];
    const failed: string[] = [];
    for (const { name, reload } of this.#parts) {
      try {
        await reload();
      } catch (error) {
        failed.push(name);
        for (const problem of problemsOf(error)) {
          problems.push(problem);
          this.#logger.error({ part: name, problem }, `${name} was not reloaded, what it said before stays in force: ${problem}`);
        }
      }
    }
    const at = this.#now().toISOString();
    this.#audit.record({ type: "configuration.reloaded", ok: failed.length === 0, problems: problems.length });
    if (failed.length > 0) {
      const message = `${failed.join(" and ")} could not be reloaded; what was in force before still is. The service's log says why.`;
      this.#status = { loadedAt: this.#status.loadedAt, lastError: { at, message } };
      return { ok: false, problems };
    }
    this.#status = { loadedAt: at };
    this.#logger.info({ parts: this.#parts.map(({ name }) => name) }, "the configuration was reloaded");
    return { ok: true };
  }
}

function problemsOf(error: unknown): readonly string[] {
  if (error instanceof StartupError) return error.problems;
  return [error instanceof Error ? error.message : String(error)];
}
