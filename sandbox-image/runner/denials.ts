/**
 * What the program was refused, as far as its own process can see it: kept for the end, when it goes out with the result.
 *
 * A reason and what it was about; the service says which setting would allow it. Notes are taken while the program runs, so that
 * nothing here may disturb it: no method throws, equal notes are counted, and what is kept is bounded whatever the program does.
 */

import type { DENIAL_CAPS, NotedDenial } from "../../src/bridge/protocol.ts";

/** The protocol's caps, checked by the compiler: the runner imports no values from it, since they would bring the schemas along. */
const CAPS: typeof DENIAL_CAPS = { entries: 128, whatChars: 256 };

/** Notes of their own; the rest of {@link CAPS}.entries is for what is only counted, one for each reason. */
const MAX_DISTINCT = 100;
const CUT_MARK = "…";

export type DenialReason = NotedDenial["reason"];

interface Entry {
  readonly reason: DenialReason;
  readonly what: string | null;
  count: number;
}

export class DenialLog {
  readonly #entries: Entry[] = [];
  /** By reason and subject. */
  readonly #index: Record<string, Entry> = Object.create(null) as Record<string, Entry>;
  readonly #noted = new WeakSet();
  readonly #suspected = new WeakMap<object, { readonly reason: DenialReason; readonly what: string }>();

  /** Takes a note; `error` is what the program got for it, and counts once however many functions it passes through. */
  note(reason: DenialReason, what: string, error?: unknown): void {
    try {
      if (isObject(error)) {
        if (this.#noted.has(error)) return;
        this.#noted.add(error);
      }
      this.#add(reason, what.length > CAPS.whatChars ? what.slice(0, CAPS.whatChars - CUT_MARK.length) + CUT_MARK : what);
    } catch {
      // The program has patched what this stands on.
    }
  }

  /** Keeps in mind what is a refusal only if `error` ends the program: many a program looks for what may not be there. */
  suspect(error: unknown, reason: DenialReason, what: string): void {
    if (isObject(error)) this.#suspected.set(error, { reason, what });
  }

  /** Notes what was only suspected of an error. False for an error of which nothing is known. */
  confirm(error: object): boolean {
    if (this.#noted.has(error)) return true;
    const suspicion = this.#suspected.get(error);
    if (suspicion !== undefined) this.note(suspicion.reason, suspicion.what, error);
    return suspicion !== undefined;
  }

  /** In the order in which they were first seen; last, for each reason, the number of those that found no place. */
  list(): readonly NotedDenial[] {
    return this.#entries;
  }

  #add(reason: DenialReason, what: string): void {
    const isFull = this.#entries.length >= MAX_DISTINCT;
    const entry = this.#index[`${reason} ${what}`] ?? (isFull ? this.#index[reason] : undefined);
    if (entry !== undefined) {
      entry.count += 1;
      return;
    }
    const added: Entry = { reason, what: isFull ? null : what, count: 1 };
    this.#index[isFull ? reason : `${reason} ${what}`] = added;
    this.#entries[this.#entries.length] = added;
  }
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
