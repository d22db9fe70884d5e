/** The listening socket of the API, and what a connection may cost before anybody is known to be behind it. */

import { createServer } from "node:http";
import type { RequestListener, Server } from "node:http";

import type { Logger } from "pino";

/** Each takes a file descriptor, of which running executions need some too. */
export const MAX_CONNECTIONS = 2048;
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 120_000;
/** Node looks only this often for those that are over their time. */
const CHECK_INTERVAL_MS = 2000;
/** A crowd is one line in the log, not thousands. */
const WARN_EVERY_MS = 60_000;

/** A server that does not listen yet. */
export function createListener(handler: RequestListener, logger: Pick<Logger, "warn">): Server {
  const server = createServer(
    { headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS, connectionsCheckingInterval: CHECK_INTERVAL_MS },
    handler,
  );
  server.maxConnections = MAX_CONNECTIONS;
  let warnedAt = Number.NEGATIVE_INFINITY;
  server.on("drop", () => {
    const now = performance.now();
    if (now - warnedAt < WARN_EVERY_MS) return;
    warnedAt = now;
    logger.warn({ maxConnections: MAX_CONNECTIONS }, "too many connections at once: new ones are refused");
  });
  return server;
}
