/**
 * What is checked before a call of a tool goes out: lists, size, shape and content of the arguments, calls a minute, calls at once.
 *
 * Knows servers by their limits only, and connects to none. Each check throws a `ToolFailure` that says what to do. Where it is not
 * `enabled`, the calls a minute and the content of arguments are not looked at; all else is.
 */

import type { McpServerDefinition } from "../domain/mcp-server.ts";
import { clipped } from "../domain/shown-text.ts";
import { ToolFailure } from "../domain/tool-error.ts";
import { FairSemaphore } from "../lib/fair-semaphore.ts";
import type { SemaphorePermit } from "../lib/fair-semaphore.ts";
import { findShapeProblem } from "./argument-caps.ts";
import { findArgumentProblems } from "./argument-check.ts";
import type { ArgumentProblem } from "./argument-check.ts";
import { showPath } from "./json-path.ts";
import { RateWindow } from "./rate-window.ts";
import type { Reservation } from "./rate-window.ts";
import { findListRefusal } from "./tool-lists.ts";
import type { ListedTool } from "./tool-lists.ts";

export interface SecurityManagerOptions {
  /** Whether calls a minute and the content of arguments are checked. Default: true. */
  readonly enabled?: boolean;
  /** Milliseconds of a clock that never goes back. */
  readonly now?: () => number;
}

/** The limits of one server. */
export type ServerLimits = Pick<McpServerDefinition, "tools" | "rateLimit" | "maxPayloadBytes">;

/** Where a call goes, for messages: the names of its own that server and tool have. */
export interface Target {
  readonly server: string;
  readonly tool: string;
}

export interface CheckedArguments {
  readonly value: Readonly<Record<string, unknown>>;
  /** The tool's JSON Schema; left out where it is not known. */
  readonly schema?: unknown;
}

/** A call that may go out. */
export interface Admission {
  /** It goes out now: from here on it counts among the calls of the minute. */
  sent(): void;
  /** It is over, or does not go out. Idempotent. */
  release(): void;
}

/** How much of its limits a server has in use. */
export interface LimitsInUse {
  readonly callsThisMinute: number;
  readonly callsUnderWay: number;
  readonly callsWaiting: number;
}

interface Guard {
  limits: ServerLimits;
  rate: RateWindow;
  slots: FairSemaphore;
}

export class SecurityManager {
  readonly enabled: boolean;
  readonly #now: () => number;
  readonly #guards = new Map<string, Guard>();

  constructor({ enabled = true, now = () => performance.now() }: SecurityManagerOptions = {}) {
    this.enabled = enabled;
    this.#now = now;
  }

  /** Puts limits in force, in place of those that the server had. What was counted under a limit that stays the same still counts. */
  setServer(server: string, limits: ServerLimits): void {
    const { maxConcurrent, requestsPerMinute } = limits.rateLimit;
    const known = this.#guards.get(server);
    this.#guards.set(server, {
      limits,
      rate: known?.limits.rateLimit.requestsPerMinute === requestsPerMinute ? known.rate : new RateWindow(requestsPerMinute, this.#now),
      slots: known?.limits.rateLimit.maxConcurrent === maxConcurrent ? known.slots : new FairSemaphore(maxConcurrent),
    });
  }

  removeServer(server: string): void {
    this.#guards.delete(server);
  }

  /** Throws TOOL_DENIED where a list keeps the tool from a program. `allowed`: the key's and the request's lists, in this order. */
  checkAccess(target: Target, tool: ListedTool, allowed: readonly (readonly string[] | undefined)[]): void {
    const refusal = findListRefusal(tool, { server: this.#guards.get(tool.server)?.limits.tools, allowed });
    if (refusal === undefined) return;
    const message = `${nameOf(target)} ${refusal.problem}. Do without it, or have the list changed.`;
    throw new ToolFailure({ code: "TOOL_DENIED", ...target, message, setting: refusal.setting });
  }

  /** Which list keeps the tool from a program, if any. */
  listThatDenies(tool: ListedTool, allowed: readonly (readonly string[] | undefined)[]): string | undefined {
    return findListRefusal(tool, { server: this.#guards.get(tool.server)?.limits.tools, allowed })?.setting;
  }

  /** Throws PAYLOAD_TOO_LARGE. */
  checkSize(target: Target, bytes: number): void {
    const max = this.#guards.get(target.server)?.limits.maxPayloadBytes ?? Infinity;
    if (bytes <= max) return;
    throw new ToolFailure({
      code: "PAYLOAD_TOO_LARGE",
      ...target,
      message: `The arguments of ${nameOf(target)} take ${bytes} bytes as JSON; at most ${max} are sent. Send less, or in several calls.`,
      setting: `mcpServers.${target.server}.maxPayloadBytes`,
    });
  }

  /** Throws INVALID_ARGUMENTS. The value is JSON. */
  checkArguments(target: Target, { schema, value }: CheckedArguments): void {
    const shape = findShapeProblem(value, { harmless: this.enabled });
    const problems = shape === undefined && this.enabled ? findArgumentProblems(schema, value) : [];
    if (shape === undefined && problems.length === 0) return;
    const found: readonly ArgumentProblem[] = shape === undefined ? problems : [shape];
    const text = found.map(({ path, problem }) => `${showPath(path)} ${problem}`).join("; ");
    throw new ToolFailure({
      code: "INVALID_ARGUMENTS",
      ...target,
      message: `${nameOf(target)} was not called: ${text}.`,
      setting: INVALID_ARGUMENTS_SETTING,
    });
  }

  /**
   * A place among the calls of the minute and of those under way, the second of which is waited for. Parties, such as executions, share
   * both fairly. Throws RATE_LIMITED at once; rejects with the signal's reason when it is aborted first.
   */
  async admit(target: Target, party: string, signal: AbortSignal): Promise<Admission> {
    const guard = this.#guards.get(target.server);
    if (guard === undefined) return { sent: () => undefined, release: () => undefined };
    const place = this.enabled ? this.#reserve(guard, target, party) : undefined;
    let permit: SemaphorePermit;
    try {
      permit = guard.slots.tryAcquire({ name: party }) ?? (await guard.slots.acquire({ name: party }, signal));
    } catch (error) {
      place?.release();
      throw error;
    }
    return {
      sent: () => place?.sent(),
      release: () => {
        place?.release();
        permit.release();
      },
    };
  }

  /** The party makes no calls any more. */
  forget(party: string): void {
    for (const { rate } of this.#guards.values()) rate.forget(party);
  }

  inUse(server: string): LimitsInUse {
    const guard = this.#guards.get(server);
    return { callsThisMinute: guard?.rate.used ?? 0, callsUnderWay: guard?.slots.taken ?? 0, callsWaiting: guard?.slots.waiting ?? 0 };
  }

  #reserve({ rate }: Guard, target: Target, party: string): Reservation {
    const decision = rate.reserve(party);
    if ("reservation" in decision) return decision.reservation;
    const { retryAfterMs } = decision;
    throw new ToolFailure({
      code: "RATE_LIMITED",
      ...target,
      message: `${nameOf(target)} was not called: the ${rate.limit} calls a minute of ${clipped(target.server)} are used up. Try again in ${retryAfterMs} ms (data.retryAfterMs).`,
      data: { retryAfterMs, requestsPerMinute: rate.limit },
      setting: `mcpServers.${target.server}.rateLimit.requestsPerMinute`,
    });
  }
}

/** Of refused arguments: there is no setting to change. */
export const INVALID_ARGUMENTS_SETTING = "none: the arguments must fit the tool's schema";

const nameOf = ({ server, tool }: Target): string => `${clipped(server)}.${clipped(tool)}`;
