/** An event as the text of one line: short, without control characters, whatever strangers called their things. */

import type { AuditEvent, AuditEventType, AuditNote } from "../domain/audit-event.ts";
import { escapeControls } from "../domain/escaped-json.ts";

/** As an escape, such as \u0000. */
const MAX_CHARACTER_BYTES = 6;
/** Of a text as it stands in its line. With these no line is longer than 8 KB. */
const MAX_TEXT_BYTES = 1024;
const MAX_ARGUMENT_BYTES = 3072;
/** Of all texts of a list together. */
const MAX_LIST_BYTES = 2048;
const MAX_TEXT_CHARS = 512;

/** What of an event goes into its entry. */
export interface EntryFields {
  readonly type: AuditEventType;
  readonly count?: number;
  readonly [field: string]: unknown;
}

/** The fields of an event, with every text clipped. */
export function entryFields(event: AuditEvent | AuditNote): EntryFields {
  const fields: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(event)) fields[name] = name === "arguments" ? clipArguments(value) : clipValue(value);
  return { ...fields, type: event.type };
}

/** The JSON of an entry, without an end of line of any kind in it. */
export const entryJson = (entry: unknown): string => escapeControls(JSON.stringify(entry));

function clipValue(value: unknown): unknown {
  if (typeof value === "string") return clip(value, MAX_TEXT_CHARS, MAX_TEXT_BYTES);
  return Array.isArray(value) ? clipList(value.map(String)) : value;
}

/** The first texts of a list, and how many more there are. */
function clipList(texts: readonly string[]): string[] {
  const kept: string[] = [];
  let bytes = 0;
  for (const text of texts) {
    const clipped = clip(text, MAX_TEXT_CHARS, MAX_TEXT_BYTES);
    bytes += encodedBytes(clipped);
    if (bytes > MAX_LIST_BYTES) return [...kept, `… ${texts.length - kept.length} more`];
    kept.push(clipped);
  }
  return kept;
}

/** As they are where they are short, else the beginning of their JSON. */
function clipArguments(value: unknown): unknown {
  const json = JSON.stringify(value) as string | undefined;
  if (json === undefined || Buffer.byteLength(escapeControls(json)) <= MAX_ARGUMENT_BYTES) return value;
  return clip(json, MAX_ARGUMENT_BYTES, MAX_ARGUMENT_BYTES);
}

function clip(text: string, maxChars: number, maxBytes: number): string {
  if (text.length <= maxChars && (text.length * MAX_CHARACTER_BYTES <= maxBytes || encodedBytes(text) <= maxBytes)) return text;
  let bytes = Buffer.byteLength("…");
  let kept = "";
  for (const character of text.slice(0, maxChars - 1)) {
    bytes += encodedBytes(character);
    if (bytes > maxBytes) break;
    kept += character;
  }
  return `${kept}…`;
}

const encodedBytes = (text: string): number => Buffer.byteLength(entryJson(text)) - '""'.length;
