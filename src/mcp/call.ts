/** A call of a tool while it is under way: who makes it, what is known of it so far, and what came of it. */

import { clipped } from "../domain/shown-text.ts";
import type { ToolCallRequest, ToolProgress } from "../domain/tool-call.ts";
import type { ToolFailure } from "../domain/tool-error.ts";
import type { FairSemaphore } from "../lib/fair-semaphore.ts";
import type { JsonObject } from "../lib/json-object.ts";
import type { FoundTool, ManagedServer } from "./managed-server.ts";

/** Who calls. */
export interface CallOrigin {
  readonly executionId: string;
  /** The key's name. */
  readonly who: string;
  /** The key's and the request's lists of patterns. */
  readonly allowed: readonly (readonly string[] | undefined)[];
  /** The calls that the execution may have under way at once. */
  readonly slots: FairSemaphore;
}

export interface CallOptions {
  readonly signal: AbortSignal;
  readonly onProgress?: ((progress: ToolProgress) => void) | undefined;
}

export class Call {
  readonly request: ToolCallRequest;
  readonly origin: CallOrigin;
  readonly options: CallOptions;
  readonly beganAt = performance.now();
  /** Set as soon as they are known. */
  server: ManagedServer | undefined;
  tool: FoundTool | undefined;
  /** By name, as they are sent. */
  args: JsonObject | undefined;
  sentAt: number | undefined;
  resultBytes = 0;

  constructor(request: ToolCallRequest, origin: CallOrigin, options: CallOptions) {
    this.request = request;
    this.origin = origin;
    this.options = options;
  }

  /** The names that server and tool have of their own; as the program wrote them where there are none. */
  get target(): { readonly server: string; readonly tool: string } {
    return {
      server: this.server?.name ?? clipped(this.request.server, MAX_NAME_CHARS),
      tool: this.tool?.known === true ? this.tool.name : clipped(this.request.tool, MAX_NAME_CHARS),
    };
  }

  get elapsedMs(): number {
    return performance.now() - this.beganAt;
  }
}

/** How a call ended. */
export type CallEnd =
  | { readonly outcome: "ok" | "fallback"; readonly value: unknown }
  | { readonly outcome: "error" | "denied"; readonly failure: ToolFailure };

const MAX_NAME_CHARS = 256;
