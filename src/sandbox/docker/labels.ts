/** The labels that tie everything in the engine to the service that made it. */

export const LABEL = {
  /** Id of the service that made it. */
  instance: "code-mode.instance",
  /** What it is: `sandbox` or `uid-lease`. */
  kind: "code-mode.kind",
  execution: "code-mode.execution",
  /** The run directory of that service, which holds its liveness socket. */
  runDirectory: "code-mode.run-directory",
  /** The host, boot and mount namespace in which that directory has its meaning. */
  host: "code-mode.host",
} as const;
