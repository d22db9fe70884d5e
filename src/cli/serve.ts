/** `code-mode serve`: the service in the foreground. */

import { startApp } from "../app.ts";
import { readEnvironment } from "../config/environment.ts";
import { createLogger } from "../observability/logger.ts";
import { watchStopSignals } from "./signals.ts";

/** Runs until SIGTERM or SIGINT; a second one ends the process at once. Throws a `StartupError` when it cannot start. */
export async function serve(exitNow: (code: number) => void): Promise<number> {
  const config = readEnvironment();
  const logger = createLogger({ level: config.logLevel, pretty: process.stderr.isTTY });
  // A signal that comes during the start is obeyed as soon as there is something to close.
  const signals = watchStopSignals(exitNow);
  const app = await startApp(config, logger);
  await whenAborted(signals.aborted);
  logger.info({ signal: signals.received }, "shutting down");
  await app.close();
  logger.info("stopped");
  return 0;
}

function whenAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else
      signal.addEventListener("abort", () => {
        resolve();
      });
  });
}
