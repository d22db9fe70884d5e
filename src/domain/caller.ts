/** Who asks, and what the service grants that caller beyond what a runtime does. */

export const SCOPES = ["execute", "admin", "audit", "metrics"] as const;
export type Scope = (typeof SCOPES)[number];

/** The one that executions belong to: a key by its name. */
export interface Caller {
  readonly name: string;
  /** Executions at once; what the service takes altogether when left out. */
  readonly maxRunning?: number;
  /** Runtimes that it may use, the first of them by default; all when left out. */
  readonly runtimes?: readonly string[];
}

/** Whoever reaches a service that has no keys. No key may bear this name. */
export const ANONYMOUS = "anonymous";
