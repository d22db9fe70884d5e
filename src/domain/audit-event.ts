/**
 * What the audit log is told: who did what, and what came of it. Never code, results or secrets; arguments of tools only where the
 * operator asks for them.
 */

import type { Denial, FinalStatus } from "./execution.ts";
import type { ToolOutcome } from "./tool-call.ts";
import type { ToolErrorCode } from "./tool-error.ts";

interface OfExecution {
  readonly executionId: string;
  /** The key's name. */
  readonly who: string;
}

export type AuditEvent =
  | ({
      readonly type: "execution.started";
      readonly runtime: string;
      readonly codeSha256: string;
      readonly codeBytes: number;
    } & OfExecution)
  | ({
      readonly type: "execution.ended";
      readonly runtime: string;
      readonly status: FinalStatus;
      readonly durationMs: number;
      readonly toolCalls: number;
      readonly degraded: boolean;
    } & OfExecution)
  /** Taken, and not run: the service could not start it. */
  | ({ readonly type: "execution.not_started"; readonly runtime: string; readonly code: string } & OfExecution)
  /** A request that was refused: no permission, no scope, a full queue. */
  | { readonly type: "request.refused"; readonly who: string | null; readonly code: string; readonly what: string; readonly count: number }
  | ({ readonly type: "denial"; readonly count: number } & Pick<Denial, "kind" | "what" | "setting"> & OfExecution)
  | ({
      readonly type: "tool.call";
      readonly server: string;
      readonly tool: string;
      readonly outcome: ToolOutcome;
      readonly errorCode?: ToolErrorCode;
      readonly requestBytes: number;
      readonly resultBytes: number;
      readonly durationMs: number;
      /** Only where the operator asks for them. */
      readonly arguments?: unknown;
    } & OfExecution)
  | { readonly type: "authentication.failed"; readonly address: string | undefined; readonly count: number }
  | {
      readonly type: "server.state";
      readonly server: string;
      readonly from: string;
      readonly to: string;
      readonly reason: string | undefined;
    }
  | { readonly type: "server.command"; readonly who: string; readonly server: string; readonly command: "reconnect" | "enable" | "disable" }
  | { readonly type: "configuration.reloaded"; readonly ok: boolean; readonly problems: number }
  | { readonly type: "keys.changed"; readonly added: readonly string[]; readonly removed: readonly string[] }
  | { readonly type: "service.started"; readonly version: string }
  | { readonly type: "service.stopped" };

/** What the log says of itself. */
export type AuditNote =
  /** Events that could not be kept while nothing could be written, by their type. */
  | { readonly type: "audit.lost"; readonly counts: Readonly<Record<string, number>> }
  /** What a start found at the end of the log that its writer cannot have left so. */
  | { readonly type: "audit.damaged"; readonly found: string };

/** Every type that a line of the log can have. */
export const AUDIT_EVENT_TYPES = [
  "audit.damaged",
  "audit.lost",
  "authentication.failed",
  "configuration.reloaded",
  "denial",
  "execution.ended",
  "execution.not_started",
  "execution.started",
  "keys.changed",
  "request.refused",
  "server.command",
  "server.state",
  "service.started",
  "service.stopped",
  "tool.call",
] as const satisfies readonly (AuditEvent | AuditNote)["type"][];
export type AuditEventType = (typeof AUDIT_EVENT_TYPES)[number];

/** A line of the log, as it is shown. */
export interface AuditEntry {
  /** Rises by one with each line, over restarts too. */
  readonly seq: number;
  /** ISO 8601. */
  readonly time: string;
  readonly type: AuditEventType;
  /** For how many events it stands, where it adds some up; their numbers are sums then. */
  readonly count?: number;
  readonly [field: string]: unknown;
}

export interface AuditSettings {
  /** False: the recent entries in memory are all there is. */
  readonly enabled: boolean;
  readonly folder: string;
  readonly keyFile: string;
  readonly maxFileBytes: number;
  /** Full files that are kept. */
  readonly maxFiles: number;
  /** What becomes of executions when nothing can be written. */
  readonly onFailure: "refuse" | "continue";
}

/** Who may be told of events. `record` never throws. */
export interface AuditSink {
  record(event: AuditEvent): void;
}

/** The log as those see it who must not go on without it. */
export interface AuditTrail extends AuditSink {
  /** Writes what waits. Throws an `AppError` `AUDIT_UNAVAILABLE` when that cannot be done, and the operator wants nothing unaudited. */
  ensure(): void;
  /** The latest entries, the oldest first. */
  recent(): readonly AuditEntry[];
}

/** Where nobody keeps them. */
export const NO_AUDIT: AuditTrail = { record: () => undefined, ensure: () => undefined, recent: () => [] };
