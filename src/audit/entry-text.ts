/** An event as the text of one line: short, without control characters, whatever strangers called their things. */

import type { AuditEvent, AuditEventType, AuditNote } from "../domain/audit-event.ts";
import { escapeControls } from "../domain/escaped-json.ts";

const MAX_TEXT_CHARS = 512;
const MAX_ARGUMENT_CHARS = 4096;
const MAX_LIST = 64;

/** What of an event goes into its entry, with every text clipped. */
export function entryFields(event: AuditEvent | AuditNote): { readonly type: AuditEventType; readonly [field: string]: unknown } {
  const fields: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(event)) fields[name] = name === "arguments" ? clipArguments(value) : clipValue(value);
  return { ...fields, type: event.type };
}

function clipValue(value: unknown): unknown {
  if (typeof value === "string") return clip(value, MAX_TEXT_CHARS);
  if (Array.isArray(value)) return value.slice(0, MAX_LIST).map(clipValue);
  return value;
}

/** As they are where they are short, else the beginning of their JSON. */
function clipArguments(value: unknown): unknown {
  const json = JSON.stringify(value) as string | undefined;
  return json === undefined || json.length <= MAX_ARGUMENT_CHARS ? value : clip(json, MAX_ARGUMENT_CHARS);
}

const clip = (text: string, chars: number): string => (text.length > chars ? `${text.slice(0, chars - 1)}…` : text);

/** The JSON of an entry, without an end of line of any kind in it. */
export const entryJson = (entry: object): string => escapeControls(JSON.stringify(entry));
