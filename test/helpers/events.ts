/** Reading server-sent events as the HTML standard says, character by character: what a browser would see. */

import assert from "node:assert/strict";

import { executionSchema } from "../../src/domain/execution.ts";
import type { Execution } from "../../src/domain/execution.ts";

export interface SentEvent {
  readonly id: string;
  readonly type: string;
  readonly data: string;
}

/** The events of a whole stream. What is not ended by an empty line is none. */
export function parseEvents(text: string): SentEvent[] {
  const events: SentEvent[] = [];
  let id = "";
  let type = "";
  let data: string[] = [];
  for (const line of text.split(/\r\n|\r|\n/)) {
    if (line === "") {
      if (data.length > 0) events.push({ id, type: type === "" ? "message" : type, data: data.join("\n") });
      type = "";
      data = [];
      continue;
    }
    const colon = line.indexOf(":");
    if (colon === 0) continue;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") data.push(value);
    else if (field === "event") type = value;
    else if (field === "id") id = value;
  }
  return events;
}

/** The texts of a stream's events of this type, joined. */
export const printedIn = (events: readonly SentEvent[], type: "stdout" | "stderr"): string =>
  events
    .filter((event) => event.type === type)
    .map(({ data }) => (JSON.parse(data) as { text: string }).text)
    .join("");

/** Asserts that ids rise by one from `first`, and that the last event is `finished`; gives its execution. */
export function finishedIn(events: readonly SentEvent[], first = 1): Execution {
  assert.deepEqual(
    events.map(({ id }) => id),
    events.map((_, index) => String(first + index)),
  );
  assert.equal(events.at(-1)?.type, "finished");
  assert.equal(events.filter(({ type }) => type === "finished").length, 1);
  return executionSchema.parse(JSON.parse(events.at(-1)!.data));
}
