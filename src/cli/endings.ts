/** How the commands end: each hands its exit code to the one place that may end the process. */

/** Exit code of a command. */
export type ExitCode = number;

export interface Endings {
  /** Takes the exit code of the command that ran to its end. */
  readonly onExit: (code: ExitCode) => void;
  /** Ends the process at once. */
  readonly exitNow: (code: ExitCode) => void;
}
