/**
 * What the execution layer asks of whoever serves tools. `mcp/` implements it; {@link NO_TOOL_ACCESS} is for where there are none.
 */

import { AppError } from "../domain/errors.ts";
import type { Denial } from "../domain/execution.ts";
import type { ServerStatus, ToolDescription } from "../domain/server-status.ts";
import type { ToolCallRecord } from "../domain/tool-call.ts";
import { NO_TOOLS } from "../sandbox/ports.ts";
import type { ToolPort } from "../sandbox/ports.ts";

export interface ToolOrder {
  readonly executionId: string;
  /** The key's name. */
  readonly who: string;
  /** Lists of patterns, `undefined` for all: the key's, and the request's. A call must be allowed by each. */
  readonly allowed: readonly (readonly string[] | undefined)[];
  /** Told of each call once it is over. Must not throw. */
  readonly onCall: (call: ToolCallRecord) => void;
}

/** The tools of one execution. */
export interface ToolSession extends ToolPort {
  /** Cancels the calls that are under way, and refuses further ones. Resolves when each is recorded. Idempotent. */
  close(): Promise<void>;
  /** What was called, in the order in which the calls ended; the first ones one by one, the rest added up. */
  readonly calls: readonly ToolCallRecord[];
  /** What a list or a check refused, each with its setting and count. */
  readonly denials: readonly Denial[];
  /** A call was answered by a fallback. */
  readonly degraded: boolean;
}

export interface ToolAccess {
  open(order: ToolOrder): ToolSession;
}

/** The servers behind the tools, for whoever looks at them or operates them. */
export interface ToolServers {
  /** Every server, in the order of the configuration. */
  status(): readonly ServerStatus[];
  /** The tools of all servers that were ever connected, with whether these lists of patterns allow each, and the servers' own. */
  tools(allowed?: readonly (readonly string[] | undefined)[]): readonly ToolDescription[];
  /** Connects anew. Resolves when the attempt is over, whatever came of it. Throws an `AppError` NOT_FOUND. */
  reconnect(name: string): Promise<ServerStatus>;
  /** Resolves when the first attempt is over. Throws an `AppError` NOT_FOUND. */
  enable(name: string): Promise<ServerStatus>;
  /** Resolves when its connection is closed. Throws an `AppError` NOT_FOUND. */
  disable(name: string): Promise<ServerStatus>;
}

const noServer = (name: string): Promise<never> =>
  Promise.reject(
    new AppError({ code: "NOT_FOUND", message: `There is no server ${JSON.stringify(name)}: no servers are configured here.` }),
  );

/** A service without tools. */
export const NO_TOOL_ACCESS = {
  open: (): ToolSession => ({ ...NO_TOOLS, close: () => Promise.resolve(), calls: [], denials: [], degraded: false }),
  status: () => [],
  tools: () => [],
  reconnect: noServer,
  enable: noServer,
  disable: noServer,
} satisfies ToolAccess & ToolServers;
