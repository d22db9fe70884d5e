/** `code-mode serve`: the service in the foreground. */

import { closeSync, constants, openSync } from "node:fs";

import { startApp } from "../app.ts";
import { readEnvironment } from "../config/environment.ts";
import { createLogger } from "../observability/logger.ts";
import { watchStopSignals } from "./signals.ts";

/**
 * Runs until SIGTERM or SIGINT; a second one ends the process at once. SIGHUP reloads the configuration. Throws a `StartupError` when it
 * cannot start.
 */
export async function serve(exitNow: (code: number) => void): Promise<number> {
  const config = readEnvironment();
  const logger = createLogger({ level: config.logLevel, pretty: process.stderr.isTTY });
  // A signal that comes during the start is obeyed as soon as there is something to close, or to reload.
  const signals = watchStopSignals(exitNow);
  const hasTerminal = canOpenTerminal();
  let hangUps = 0;
  const terminal = { isGone: false };
  let onHangUp = (): void => undefined;
  const onSignal = (): void => {
    hangUps += 1;
    onHangUp();
  };
  process.on("SIGHUP", onSignal);

  const app = await startApp(config, logger);
  onHangUp = () => {
    // A terminal that is closed sends the same signal: then there is nobody left to stop the service.
    terminal.isGone = hasTerminal && !canOpenTerminal();
    if (terminal.isGone) signals.raise("SIGTERM");
    else void app.reload();
  };
  if (hangUps > 0) onHangUp();
  await whenAborted(signals.aborted);
  logger.info({ signal: signals.received }, "shutting down");
  await app.close();
  logger.info("stopped");
  if (terminal.isGone) {
    // Node aborts when it ends by itself and cannot give its terminal back.
    process.off("SIGHUP", onSignal);
    process.kill(process.pid, "SIGHUP");
  }
  return 0;
}

/** Whether this process has a terminal, be it behind pipes. */
function canOpenTerminal(): boolean {
  try {
    closeSync(openSync("/dev/tty", constants.O_RDONLY | constants.O_NOCTTY | constants.O_NONBLOCK));
    return true;
  } catch {
    return false;
  }
}

function whenAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      resolve();
    };
    if (signal.aborted) done();
    else signal.addEventListener("abort", done, { once: true });
  });
}
