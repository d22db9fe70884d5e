/**
 * What a server writes to its error output, line by line into the log with the server's name.
 *
 * It is a stranger's text: control characters become escapes, known secrets are cut out, long lines are cut, and of a flood the first
 * lines of each interval are logged and the rest is counted.
 */

import type { Logger } from "pino";

import { printable } from "../domain/escaped-json.ts";
import { LineSplitter } from "./line-splitter.ts";
import type { Redactor } from "./redaction.ts";

const LINES_PER_INTERVAL = 50;
const INTERVAL_MS = 10_000;
/** Secrets are looked for in this much of a line; less of it is shown, so that none is shown by half. */
const MAX_LINE_BYTES = 16_384;
const SHOWN_CHARS = 2000;
const LAST_LINES = 5;
const LAST_LINE_CHARS = 200;
/** npm ends with news of itself, which would take the place of what went wrong. */
const ADVERTISEMENT = "npm notice";

export class ServerStderr {
  readonly #logger: Logger | undefined;
  readonly #redactor: Redactor;
  readonly #server: string;
  readonly #splitter: LineSplitter;
  /** As they came: most are never looked at. */
  readonly #lastLines: string[] = [];
  #intervalBegan = Number.NEGATIVE_INFINITY;
  #logged = 0;
  #dropped = 0;

  constructor({ logger, redactor, server }: { logger: Logger | undefined; redactor: Redactor; server: string }) {
    this.#logger = logger;
    this.#redactor = redactor;
    this.#server = server;
    this.#splitter = new LineSplitter({
      maxLineBytes: MAX_LINE_BYTES,
      onLine: (line) => {
        this.#line(line.toString("utf8"));
      },
      onLongLine: ({ start }) => {
        this.#line(start.toString("utf8"));
      },
    });
  }

  push(chunk: Buffer): void {
    this.#splitter.push(chunk);
  }

  /** The process is over: logs what is left. */
  end(): void {
    this.#splitter.end();
    this.#reportDropped();
  }

  /** The end of what was written, for the reason of a failure; empty when nothing was. */
  get lastWords(): string {
    return this.#lastLines.map((line) => this.#shown(line).slice(0, LAST_LINE_CHARS)).join(" | ");
  }

  #line(raw: string): void {
    if (raw.trim() === "") return;
    if (!raw.startsWith(ADVERTISEMENT)) this.#lastLines.push(raw);
    if (this.#lastLines.length > LAST_LINES) this.#lastLines.shift();
    const now = performance.now();
    if (now - this.#intervalBegan > INTERVAL_MS) {
      this.#reportDropped();
      this.#intervalBegan = now;
      this.#logged = 0;
    }
    if (this.#logged >= LINES_PER_INTERVAL) {
      this.#dropped += 1;
      return;
    }
    this.#logged += 1;
    this.#logger?.info({ server: this.#server, stderr: this.#shown(raw) }, "MCP server's error output");
  }

  #shown(raw: string): string {
    return printable(this.#redactor.redact(raw)).slice(0, SHOWN_CHARS);
  }

  #reportDropped(): void {
    if (this.#dropped === 0) return;
    this.#logger?.warn({ server: this.#server, dropped: this.#dropped }, "lines of an MCP server's error output were not logged: too many");
    this.#dropped = 0;
  }
}
