/** Who asks, and what the service grants that caller beyond what a runtime does. */

import { createHash } from "node:crypto";

export const SCOPES = ["execute", "admin", "audit", "metrics"] as const;
export type Scope = (typeof SCOPES)[number];

/** The one that executions belong to: a key by its name. */
export interface Caller {
  readonly name: string;
  /** Executions at once; what the service takes altogether when left out. */
  readonly maxRunning?: number | undefined;
  /** Runtimes that it may use, the first of them by default; all when left out. */
  readonly runtimes?: readonly string[] | undefined;
  /** Patterns of the tools that its programs may call; all when left out. */
  readonly tools?: readonly string[] | undefined;
}

/** A key as the service keeps it: by its hash, never as it is. */
export interface ApiKey extends Caller {
  /** 64 hexadecimal digits. */
  readonly sha256: string;
  readonly scopes: readonly Scope[];
}

/** Whoever reaches a service that has no keys. No key may bear this name. */
export const ANONYMOUS = "anonymous";

export const KEY_NAME = /^[A-Za-z0-9_.@-]{1,64}$/;

/** A plain hash is enough: a key is random and long, so that there is nothing to guess. */
export const hashKey = (key: string): string => createHash("sha256").update(key).digest("hex");
