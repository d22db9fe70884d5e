/** What the audit log is told: who did what, and what came of it. Never code, arguments, results or secrets. */

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
  | { readonly type: "request.refused"; readonly who: string; readonly code: string; readonly what: string }
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
  | { readonly type: "service.started"; readonly version: string }
  | { readonly type: "service.stopped" };

export type AuditEventType = AuditEvent["type"];

/** Who may be told of events. `record` never throws. */
export interface AuditSink {
  record(event: AuditEvent): void;
}

/** Where nobody keeps them. */
export const NO_AUDIT: AuditSink = { record: () => undefined };
