/** What a connection asks of its transport, beyond what the SDK does. */

import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";

export interface PeerTransport extends Transport {
  /** The connection is over by itself, and why: for operators, not redacted yet. Called once, before `onclose`; not after `close()`. */
  onend?: (reason: string) => void;
  /** Something went wrong that may mean that the server is gone: find out. */
  onsuspect?: () => void;
  /**
   * Ends the connection; resolves when nothing of it is left. Idempotent. Requests without an answer are lost; where each has a
   * connection of its own they get `graceMs` to be answered, or refused in so many words.
   */
  close(graceMs?: number): Promise<void>;
}
