/**
 * Cuts known secrets out of what a server writes, before it reaches a log, an error or a status.
 *
 * A secret is found as it is and in the forms in which programs print it: URL-encoded, in JSON, in base64 at any offset, and the single
 * lines of one that has several. Not found is what a server changed in another way; and honest results of tools are not touched, since
 * a value of the environment may be any word.
 */

const MARK = "[redacted]";
/** A shorter value stands in honest text everywhere: to cut it out says more about it than to leave it, and makes logs unreadable. */
const MIN_SECRET_CHARS = 4;
/** Of a piece of base64, or a line: shorter ones stand in honest text too. */
const MIN_PIECE_CHARS = 8;
/** Settings that are no secrets, whoever passes them. */
const NO_SECRETS: ReadonlySet<string> = new Set(["true", "false", "null", "none"]);

export class Redactor {
  readonly #needles: readonly string[];

  constructor(secrets: readonly string[]) {
    const needles = new Set(secrets.filter(isSecret).flatMap(formsOf));
    this.#needles = [...needles];
  }

  /** The text without the secrets. Where they overlap, one mark stands for all. */
  redact(text: string): string {
    const found = this.#find(text);
    if (found.length === 0) return text;
    let redacted = "";
    let at = 0;
    for (const [start, end] of found) {
      redacted += text.slice(at, start) + MARK;
      at = end;
    }
    return redacted + text.slice(at);
  }

  /** A JSON value without the secrets, in its texts and in its keys. */
  redactValue(value: unknown): unknown {
    if (typeof value === "string") return this.redact(value);
    if (Array.isArray(value)) return value.map((item) => this.redactValue(item));
    if (typeof value !== "object" || value === null) return value;
    // Defines, where an assignment to `__proto__` would change the prototype.
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [this.redact(key), this.redactValue(item)]));
  }

  /** Where there are secrets: ascending, and apart from each other. */
  #find(text: string): (readonly [number, number])[] {
    const found: (readonly [number, number])[] = [];
    for (const needle of this.#needles)
      for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + 1)) found.push([at, at + needle.length]);
    found.sort(([first], [second]) => first - second);
    const merged: [number, number][] = [];
    for (const [start, end] of found) {
      const last = merged.at(-1);
      if (last !== undefined && start <= last[1]) last[1] = Math.max(last[1], end);
      else merged.push([start, end]);
    }
    return merged;
  }
}

const isSecret = (value: string): boolean => value.length >= MIN_SECRET_CHARS && !NO_SECRETS.has(value.toLowerCase());

function formsOf(secret: string): string[] {
  const lines = secret.split(/\r?\n/).filter((line) => line !== secret && line.length >= MIN_PIECE_CHARS);
  return [secret, ...lines].flatMap((text) => [
    text,
    encodeURIComponent(text.toWellFormed()),
    new URLSearchParams([["", text]]).toString().slice(1),
    JSON.stringify(text).slice(1, -1),
    ...base64FormsOf(text),
  ]);
}

/** What of the text's base64 is the same whatever stands before and after it, for the three ways in which its bytes can lie. */
function base64FormsOf(text: string): string[] {
  const bytes = Buffer.from(text);
  return [0, 1, 2].flatMap((before) => {
    const whole = Buffer.concat([Buffer.alloc(before), bytes]);
    const inner = whole.toString("base64").slice(Math.ceil((before * 8) / 6), Math.floor((whole.length * 8) / 6));
    if (inner.length < MIN_PIECE_CHARS) return [];
    return [inner, inner.replaceAll("+", "-").replaceAll("/", "_")];
  });
}
