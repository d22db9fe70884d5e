/** How a caller wants an execution answered: `Accept`, and `Prefer` of RFC 7240. */

import type { Request } from "express";

/** JSON at the end; a stream of events; or at once, to be fetched later. */
export type AnswerForm = "json" | "stream" | "async";

/** A caller who wants both an answer at once and a stream gets the first, and can join the stream. */
export function answerForm(request: Request): AnswerForm {
  if (prefers(request.headers["prefer"], "respond-async")) return "async";
  return wantsStream(request) ? "stream" : "json";
}

/** Only by its name, not by a wildcard, and not where JSON is asked for first. */
function wantsStream(request: Request): boolean {
  const isNamed = /(^|[\s,])text\/event-stream($|[\s,;])/i.test(request.headers.accept ?? "");
  const best = request.accepts(["application/json", "text/event-stream", "text/event-stream;charset=utf-8"]);
  return isNamed && best !== false && best !== "application/json";
}

/**
 * A preference, and its value and parameters, which may be quoted. A name ends where its characters do, so that there is one way only to
 * read a header: several would be slow for a hostile one.
 */
const PREFERENCE = /[\s,]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?![!#$%&'*+.^_`|~0-9A-Za-z-])((?:[^",]|"(?:[^"\\]|\\.)*")*)(?:,|$)/y;

/** Whether a `Prefer` header has the preference, without a value. What cannot be read is ignored, as the RFC wants it. */
export function prefers(header: string | string[] | undefined, preference: string): boolean {
  const text = [header ?? []].flat().join(",");
  PREFERENCE.lastIndex = 0;
  for (let match = PREFERENCE.exec(text); match !== null; match = PREFERENCE.exec(text)) {
    const [, name, rest = ""] = match;
    if (name?.toLowerCase() === preference && /^\s*(=\s*(""|)\s*)?(;|$)/.test(rest)) return true;
  }
  return false;
}
