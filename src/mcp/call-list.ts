/** What one execution called and was refused, as its result shows it: the first one by one, the rest added up. Bounded, and exact. */

import type { Denial } from "../domain/execution.ts";
import { clipped } from "../domain/shown-text.ts";
import type { ToolCallRecord } from "../domain/tool-call.ts";
import type { ToolFailure } from "../domain/tool-error.ts";

const MAX_LISTED = 1000;
/** Kinds of calls that are added up apart: names that are no tools are the program's own, and without end. */
const MAX_SUMS = 256;
const MAX_DENIALS = 128;
/** In place of names, where there are too many. */
const OTHERS = "others";
const MAX_WHAT_CHARS = 256;

export class CallList {
  readonly #listed: ToolCallRecord[] = [];
  readonly #sums = new Map<string, ToolCallRecord & { count: number }>();
  readonly #denials = new Map<string, Denial & { count: number }>();

  /** Adds a call. True when it is listed by itself. */
  add(call: ToolCallRecord): boolean {
    if (this.#listed.length < MAX_LISTED) {
      this.#listed.push(call);
      return true;
    }
    const known = this.#sums.get(keyOf(call));
    const kind = known !== undefined || this.#sums.size < MAX_SUMS ? call : { ...call, server: OTHERS, tool: OTHERS };
    const sum = this.#sums.get(keyOf(kind)) ?? { ...kind, durationMs: 0, count: 0 };
    sum.count += 1;
    sum.durationMs = Math.round((sum.durationMs + call.durationMs) * 100) / 100;
    this.#sums.set(keyOf(kind), sum);
    return false;
  }

  /** Adds what the failure says of a setting, if it says anything. */
  addDenial({ server, setting, tool }: ToolFailure): void {
    if (setting === undefined) return;
    const what = clipped(`${server}.${tool}`, MAX_WHAT_CHARS);
    const isKnown = this.#denials.has(JSON.stringify([what, setting]));
    const shown = isKnown || this.#denials.size < MAX_DENIALS ? what : OTHERS;
    const key = JSON.stringify([shown, setting]);
    const denial = this.#denials.get(key) ?? { kind: "tool", what: shown, setting, count: 0 };
    denial.count += 1;
    this.#denials.set(key, denial);
  }

  get calls(): ToolCallRecord[] {
    return [...this.#listed, ...this.#sums.values()];
  }

  /** In the order in which they were first noticed. */
  get denials(): Denial[] {
    return [...this.#denials.values()].map(({ count, ...denial }) => (count > 1 ? { ...denial, count } : denial));
  }
}

const keyOf = ({ afterEnd, errorCode, outcome, server, tool }: ToolCallRecord): string =>
  JSON.stringify([server, tool, outcome, errorCode, afterEnd]);
