/** What carries messages to a server and back, and how it comes to its end: what all transports have in common. */

import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import type { JSONRPCMessage } from "@modelcontextprotocol/sdk/types.js";

import { answerIdOf } from "./answer-id.ts";
import { LostAnswer } from "./lost-answer.ts";
import { PeerMessages } from "./peer-messages.ts";

export abstract class PeerTransport implements Transport {
  onmessage?: (message: JSONRPCMessage) => void;
  onclose?: () => void;
  onerror?: (error: Error) => void;
  /** The connection is over by itself, and why: for operators, not redacted yet. Called once, before `onclose`; not after `close()`. */
  onend?: (reason: string) => void;
  /** Something went wrong that may mean that the server is gone: find out. */
  onsuspect?: () => void;

  protected readonly messages = new PeerMessages({
    deliver: (message) => this.onmessage?.(message),
    offend: (reason) => {
      this.fail(reason);
    },
  });
  #over = false;

  abstract start(): Promise<void>;
  abstract send(message: JSONRPCMessage): Promise<void>;

  /**
   * Ends the connection; resolves when nothing of it is left. Idempotent. Requests without an answer are lost; where each has a
   * connection of its own they get `graceMs` to be answered, or refused in so many words.
   */
  abstract close(graceMs?: number): Promise<void>;

  /** Lets go of what the transport holds. Called once, when no request waits for an answer any more. */
  protected abstract release(): void;

  // A method, since it changes while something is awaited, where the compiler cannot see it.
  protected isOver(): boolean {
    return this.#over;
  }

  /** The connection is over by itself. */
  protected fail(reason: string): void {
    if (this.#over) return;
    this.onend?.(reason);
    this.finish(new LostAnswer("CONNECTION_LOST", reason));
  }

  /** The connection is over: what has no answer gets none. */
  protected finish(lost: LostAnswer): void {
    if (this.#over) return;
    this.#over = true;
    this.messages.loseAll(lost);
    this.release();
    // After the answers that are on their way, also to what is sent in this turn.
    setImmediate(() => this.onclose?.());
  }

  /** A message that is not read costs its call alone. False where nobody can say whose it is. */
  protected loseUnread(start: Buffer, end: Buffer, problem: string): boolean {
    const id = answerIdOf(start, end);
    if (id === undefined || !this.messages.isUnanswered(id)) return false;
    this.messages.lose(id, new LostAnswer("RESULT_TOO_LARGE", `the server's answer is ${problem}`));
    return true;
  }
}
