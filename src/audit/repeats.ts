/**
 * Adds up what repeats. Of each kind the first events are let through one by one; those after them are one sum, exact, that is given out
 * when the execution is over, or the time. A program can cause a hundred thousand denials a second.
 *
 * Kinds that strangers can make up are limited in number, for each type: what is beyond is added up.
 */

import type { EntryFields } from "./entry-text.ts";

export const SINGLE_EVENTS = 20;
const MAX_KINDS = 256;

/** Fields that are no part of the kind, but added up. */
const SUMMED = ["count", "durationMs", "requestBytes", "resultBytes"] as const;
/** Fields that are neither: they would tell only of the first. */
const LEFT_OUT: ReadonlySet<string> = new Set(["arguments", ...SUMMED]);
/** What can come often. All others are rare by themselves, or bounded by what the service does. */
const REPEATING: ReadonlySet<string> = new Set([
  "tool.call",
  "denial",
  "authentication.failed",
  "request.refused",
  "server.state",
  "server.command",
]);

interface Kind {
  seen: number;
  /** Of those that were not let through. */
  readonly sum: Record<string, number>;
  readonly event: EntryFields;
}

/** The events of one execution, or of all else in a while. */
export class Repeats {
  readonly #kinds = new Map<string, Kind>();
  /** By type. */
  readonly #numbers = new Map<string, number>();

  /** True when the event is to be kept as it is. */
  admit(event: EntryFields): boolean {
    if (!REPEATING.has(event.type)) return true;
    const kind = this.#kindOf(event);
    kind.seen += 1;
    if (kind.seen <= SINGLE_EVENTS) return true;
    for (const field of SUMMED) {
      const value = event[field] ?? (field === "count" ? 1 : undefined);
      if (typeof value === "number") kind.sum[field] = (kind.sum[field] ?? 0) + value;
    }
    return false;
  }

  /** The sums so far, each with the fields of its kind; begins anew. */
  take(): EntryFields[] {
    const sums = [...this.#kinds.values()]
      .filter(({ sum }) => "count" in sum)
      .map(({ event, sum }) => ({ ...without(event), ...sum, type: event.type }));
    this.#kinds.clear();
    this.#numbers.clear();
    return sums;
  }

  #kindOf(event: EntryFields): Kind {
    const key = JSON.stringify(without(event));
    const known = this.#kinds.get(key);
    if (known !== undefined) return known;
    const { type } = event;
    const number = this.#numbers.get(type) ?? 0;
    this.#numbers.set(type, number + 1);
    if (number < MAX_KINDS) return this.#add(key, event);
    return this.#kinds.get(type) ?? this.#add(type, { type, ...ofExecution(event), others: true }, SINGLE_EVENTS);
  }

  #add(key: string, event: EntryFields, seen = 0): Kind {
    const kind = { seen, sum: {}, event };
    this.#kinds.set(key, kind);
    return kind;
  }
}

const without = (event: EntryFields): object => Object.fromEntries(Object.entries(event).filter(([name]) => !LEFT_OUT.has(name)));

const ofExecution = ({ executionId, who }: EntryFields): object => (executionId === undefined ? {} : { executionId, who });
