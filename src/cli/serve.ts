/** `code-mode serve`: the service in the foreground. */

import { startApp } from "../app.ts";
import { readEnvironment } from "../config/environment.ts";
import { createLogger } from "../observability/logger.ts";

/** Runs until SIGTERM or SIGINT; a second one ends the process at once. Throws a `StartupError` when it cannot start. */
export async function serve(): Promise<number> {
  const config = readEnvironment();
  const logger = createLogger({ level: config.logLevel, pretty: process.stderr.isTTY });
  const stopped = new Promise<NodeJS.Signals>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, resolve);
  });
  // A signal that comes during the start is obeyed as soon as there is something to close.
  const app = await startApp(config, logger);
  const signal = await stopped;
  logger.info({ signal }, "shutting down");
  await app.close();
  logger.info("stopped");
  return 0;
}
