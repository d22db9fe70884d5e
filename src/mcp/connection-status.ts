/**
 * How a connection to a server tells of its state.
 *
 * `connecting`: an attempt is under way. `connected`: calls are sent. `degraded`: the server is there and not all is well: calls are sent
 * where there is a connection (its health check says so, its list of tools is not complete), else an attempt follows (it does not list
 * its tools). `down`: no connection, and an attempt follows by itself unless the configuration has a problem; or what the health check
 * looks at is not there, and is looked at again soon. `disabled`: by the configuration.
 */

import type { ServerState } from "../domain/server-status.ts";
import type { Catalogue } from "./catalogue.ts";
import type { TransportKind } from "./link.ts";

export interface StateChange {
  readonly from: ServerState;
  readonly to: ServerState;
  /** For operators: redacted, in printable characters. */
  readonly reason: string | undefined;
}

export interface ConnectionEvents {
  /** Each change of the state, in order. Must not throw. */
  readonly onState?: ((change: StateChange) => void) | undefined;
  /** The catalogue is another one. Must not throw. */
  readonly onCatalogue?: ((catalogue: Catalogue) => void) | undefined;
}

/** JSON-able. Times are ISO 8601. */
export interface ConnectionStatus {
  readonly state: ServerState;
  /** What is spoken, or configured while there is no connection. */
  readonly transport: TransportKind | undefined;
  /** What the server calls itself. */
  readonly serverInfo: { readonly name: string; readonly version: string } | undefined;
  /** Why it is in this state; `undefined` while all is well. Redacted, for operators: may name paths of the host. */
  readonly reason: string | undefined;
  /** The last reason there was, kept when all is well again. */
  readonly lastError: string | undefined;
  /** Failures since a connection was last stable. */
  readonly retries: number;
  readonly nextRetryAt: string | undefined;
  /** Of the last ping. */
  readonly latencyMs: number | undefined;
  readonly connectedAt: string | undefined;
  /** Of the last check. */
  readonly health: { readonly ok: boolean; readonly checkedAt: string } | undefined;
  /** Connections that came about so far. */
  readonly connections: number;
}
