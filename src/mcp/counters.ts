/** What became of the calls of one server, by tool: counts, and how long the server took. */

import type { CallCounters } from "../domain/server-status.ts";
import type { ToolOutcome } from "../domain/tool-call.ts";
import { TOOL_ERRORS } from "../domain/tool-error.ts";
import type { ToolErrorCode } from "../domain/tool-error.ts";

/** Upper bounds of the histogram's buckets, milliseconds. */
const BUCKETS_MS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000] as const;
/** As many names as a server's list can have; a server that changes it for ever must not fill the memory. */
const MAX_TOOLS = 2048;
/** Of the tools beyond those, together. */
const OTHERS = "(others)";

export interface CountedCall {
  readonly outcome: ToolOutcome;
  readonly errorCode: ToolErrorCode | undefined;
  /** From when it was sent to its end; `undefined` where it was not sent. */
  readonly serverMs: number | undefined;
}

export class ServerCounters {
  readonly #all = new Counter();
  readonly #byTool = new Map<string, Counter>();

  add(tool: string, call: CountedCall): void {
    this.#all.add(call);
    this.#of(tool).add(call);
  }

  read(): CallCounters & { byTool: Record<string, CallCounters> } {
    return { ...this.#all.read(), byTool: Object.fromEntries([...this.#byTool].map(([tool, counter]) => [tool, counter.read()])) };
  }

  #of(tool: string): Counter {
    const known = this.#byTool.get(tool);
    if (known !== undefined) return known;
    if (this.#byTool.size >= MAX_TOOLS && tool !== OTHERS) return this.#of(OTHERS);
    const counter = new Counter();
    this.#byTool.set(tool, counter);
    return counter;
  }
}

class Counter {
  readonly #outcomes: Record<ToolOutcome, number> = { ok: 0, error: 0, denied: 0, fallback: 0 };
  readonly #errors = new Map<ToolErrorCode, number>();
  readonly #buckets = Array.from({ length: BUCKETS_MS.length + 1 }, () => 0);
  #answered = 0;
  #sumMs = 0;

  add({ errorCode, outcome, serverMs }: CountedCall): void {
    this.#outcomes[outcome] += 1;
    if (errorCode !== undefined) this.#errors.set(errorCode, (this.#errors.get(errorCode) ?? 0) + 1);
    const isAnswered = errorCode === undefined || TOOL_ERRORS[errorCode].sent === "yes";
    if (serverMs === undefined || !isAnswered) return;
    this.#answered += 1;
    this.#sumMs += serverMs;
    const place = BUCKETS_MS.findIndex((bound) => serverMs <= bound);
    const index = place < 0 ? BUCKETS_MS.length : place;
    this.#buckets[index] = (this.#buckets[index] ?? 0) + 1;
  }

  read(): CallCounters {
    const { denied, error, fallback, ok } = this.#outcomes;
    const requests = ok + error + denied + fallback;
    return {
      requests,
      ok,
      error,
      denied,
      fallback,
      successRate: shareOf(ok, ok + error + fallback),
      denialRate: shareOf(denied, requests),
      fallbackPercent: requests === 0 ? null : (100 * fallback) / requests,
      errors: Object.fromEntries(this.#errors),
      latency: {
        count: this.#answered,
        sumMs: this.#sumMs,
        buckets: this.#buckets.map((count, index) => ({ upToMs: BUCKETS_MS[index] ?? null, count })),
      },
    };
  }
}

const shareOf = (part: number, whole: number): number | null => (whole === 0 ? null : part / whole);
