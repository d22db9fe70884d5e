/** The service's logger: JSON lines, or readable lines in a terminal. Secrets are cut out by name wherever they might appear. */

import { pino } from "pino";
import type { Logger } from "pino";

const REDACTED = [
  "req.headers.authorization",
  "req.headers.cookie",
  "*.authorization",
  "*.apiKey",
  "*.password",
  "*.secret",
  "*.token",
  "*.key",
];

/** `pretty` is for a terminal; pino-pretty shows control characters of logged text as escapes, so a program cannot forge lines. */
export function createLogger(options: { level: string; pretty: boolean }): Logger {
  const { level, pretty } = options;
  const base = { level, redact: { paths: REDACTED, censor: "[redacted]" } };
  return pretty
    ? pino({ ...base, transport: { target: "pino-pretty", options: { destination: 2, ignore: "pid,hostname" } } })
    : pino(base, pino.destination({ dest: 2, sync: false }));
}
