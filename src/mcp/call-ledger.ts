/** Writes down what came of each call: counters of its server, the audit log, and the service's log. */

import type { Logger } from "pino";

import type { AuditSink } from "../domain/audit-event.ts";
import type { ToolCallRecord } from "../domain/tool-call.ts";
import type { Call, CallEnd } from "./call.ts";

export interface CallLedgerDeps {
  readonly logger: Logger | undefined;
  readonly audit: AuditSink | undefined;
  /** Whether the audit log is told the arguments too. */
  readonly auditArguments: boolean;
  /** Milliseconds of a clock that never goes back. */
  readonly now?: () => number;
}

const UNKNOWN_TOOL = "(unknown)";
/** Lines about calls that did not go well: so many at once, and in each interval. */
const LINES = { count: 50, everyMs: 10_000 };

export class CallLedger {
  readonly #deps: CallLedgerDeps;
  #lines = { since: -Infinity, written: 0, left: 0 };

  constructor(deps: CallLedgerDeps) {
    this.#deps = deps;
  }

  /** To be called once for each call. Gives the record of it, and never throws. */
  enter(call: Call, end: CallEnd): ToolCallRecord {
    const failure = "failure" in end ? end.failure : undefined;
    const record: ToolCallRecord = {
      ...call.target,
      outcome: end.outcome,
      durationMs: Math.round(call.elapsedMs * 100) / 100,
      ...(failure === undefined ? {} : { errorCode: failure.code }),
    };
    // Words of programs that are no tools are theirs to choose: they are counted together.
    call.server?.counters.add(call.tool?.known === true ? call.tool.name : UNKNOWN_TOOL, {
      outcome: end.outcome,
      errorCode: failure?.code,
      serverMs: call.sentAt === undefined ? undefined : performance.now() - call.sentAt,
    });
    this.#audit(call, record);
    this.#log(call, record, failure?.setting);
    return record;
  }

  #audit({ args, origin, request, resultBytes }: Call, record: ToolCallRecord): void {
    const { executionId, who } = origin;
    const { durationMs, errorCode, outcome, server, tool } = record;
    this.#deps.audit?.record({
      type: "tool.call",
      executionId,
      who,
      server,
      tool,
      outcome,
      ...(errorCode === undefined ? {} : { errorCode }),
      durationMs,
      requestBytes: request.sizeBytes,
      resultBytes,
      ...(this.#deps.auditArguments ? { arguments: args ?? request.arguments } : {}),
    });
  }

  /** Without the failure's message, which may say what the arguments or the result were. */
  #log({ origin, request, resultBytes }: Call, record: ToolCallRecord, setting: string | undefined): void {
    const { logger } = this.#deps;
    if (logger === undefined) return;
    const line = { executionId: origin.executionId, who: origin.who, ...record, requestBytes: request.sizeBytes, resultBytes };
    if (record.outcome === "ok") {
      logger.debug(line, "tool call");
      return;
    }
    const now = (this.#deps.now ?? performance.now.bind(performance))();
    if (now - this.#lines.since >= LINES.everyMs) this.#lines = { since: now, written: 0, left: this.#lines.left };
    if (this.#lines.written >= LINES.count) {
      this.#lines.left += 1;
      return;
    }
    const { left } = this.#lines;
    this.#lines.written += 1;
    this.#lines.left = 0;
    const details = { ...line, ...(setting === undefined ? {} : { setting }), ...(left > 0 ? { linesLeftOut: left } : {}) };
    if (record.outcome === "fallback") logger.warn(details, "tool call answered with its mock: the server cannot be reached");
    else logger.info(details, record.outcome === "denied" ? "tool call refused" : "tool call failed");
  }
}
