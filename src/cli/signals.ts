/**
 * SIGINT and SIGTERM of a command: the first one asks it to come to an end, a second one ends the process at once.
 *
 * The second is handled here and not left to the system, which spares the first process of a container from signals it does not handle.
 */

import { constants } from "node:os";

export const STOP_SIGNALS = ["SIGINT", "SIGTERM"] as const;
export type StopSignal = (typeof STOP_SIGNALS)[number];

/** What a shell adds to the number of the signal that ended a command. */
const SIGNAL_EXIT_CODE = 128;

/** The exit code of a command that a signal ended. */
export const exitCodeOfSignal = (signal: NodeJS.Signals): number => SIGNAL_EXIT_CODE + constants.signals[signal];

export interface StopSignals {
  /** Aborted by the first signal, with its name as the reason. */
  readonly aborted: AbortSignal;
  /** The first signal, once it has come. */
  readonly received: StopSignal | undefined;
  /** Ends the command as a signal would. */
  raise(signal: StopSignal): void;
  /** Lets the signals be as they were before. Idempotent. */
  close(): void;
}

/** Listens from now on. `exit` ends the process. */
export function watchStopSignals(exit: (code: number) => void): StopSignals {
  const controller = new AbortController();
  let received: StopSignal | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (received !== undefined) {
      exit(exitCodeOfSignal(signal));
      return;
    }
    received = signal as StopSignal;
    controller.abort(received);
  };
  for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
  return {
    aborted: controller.signal,
    get received() {
      return received;
    },
    raise: onSignal,
    close: () => {
      for (const signal of STOP_SIGNALS) process.off(signal, onSignal);
    },
  };
}
