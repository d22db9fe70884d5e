/**
 * The messages of one connection to a server, whatever carries them: reads them within caps, and knows which requests have no answer yet.
 *
 * What a server sends unasked (notifications, requests of its own, answers that nobody waits for, noise) draws on a budget: it is handled
 * as it comes, and a server that sends more than anybody has use for is cut off.
 */

import type { JSONRPCMessage, RequestId } from "@modelcontextprotocol/sdk/types.js";

import { Budget } from "../lib/budget.ts";
import { exceededCap } from "../lib/json-shape.ts";
import type { JsonCaps } from "../lib/json-shape.ts";
import type { LostAnswer } from "./lost-answer.ts";

/** One message. */
export const MAX_MESSAGE_BYTES = 10 * 1024 * 1024;
/** Deep enough for whatever a list of tools may hold: what is wrong with one of them is found tool by tool. */
const CAPS: JsonCaps = { depth: 1000, parts: 1_000_000 };
const UNASKED = { burst: 5000, perSecond: 500, total: Number.POSITIVE_INFINITY };
const CONNECTION_CLOSED = -32_000;

export interface PeerMessagesEvents {
  /** For the SDK. */
  readonly deliver: (message: JSONRPCMessage) => void;
  /** The server sent what ends the connection. */
  readonly offend: (reason: string) => void;
}

export class PeerMessages {
  readonly #events: PeerMessagesEvents;
  readonly #unanswered = new Set<RequestId>();
  readonly #unasked = new Budget(UNASKED);
  #onAllAnswered: (() => void) | undefined;

  constructor(events: PeerMessagesEvents) {
    this.#events = events;
  }

  /** To be told of each message before it is sent. Gives the id of a request, and the id of the request that a cancellation ends. */
  sending(message: JSONRPCMessage): { readonly request?: RequestId; readonly cancelled?: RequestId } {
    if (!("method" in message)) return {};
    if ("id" in message) {
      this.#unanswered.add(message.id);
      return { request: message.id };
    }
    if (message.method !== "notifications/cancelled") return {};
    const cancelled = message.params?.["requestId"] as RequestId;
    this.#unanswered.delete(cancelled);
    return { cancelled };
  }

  isUnanswered(id: RequestId): boolean {
    return this.#unanswered.has(id);
  }

  /** Takes one message of the server. Gives what it is when it cannot be read safely; what is no message at all is noise. */
  receive(bytes: Uint8Array): string | undefined {
    const exceeded = exceededCap(bytes, CAPS);
    if (exceeded === "depth") return `nested more than ${CAPS.depth} levels deep`;
    if (exceeded === "parts") return `made of more than ${CAPS.parts} values`;
    const message = parse(bytes);
    if (message === undefined) {
      this.noise();
      return undefined;
    }
    const answered = "id" in message && !("method" in message) && message.id !== undefined && this.#unanswered.delete(message.id);
    if (answered) this.#answer(message);
    else if (this.#takeUnasked()) this.#events.deliver(message);
    return undefined;
  }

  /** Something came that is no message. */
  noise(): void {
    this.#takeUnasked();
  }

  /** The request gets no answer any more. Does nothing when it had one. */
  lose(id: RequestId, lost: LostAnswer): void {
    if (!this.#unanswered.delete(id)) return;
    this.#answer({ jsonrpc: "2.0", id, error: { code: CONNECTION_CLOSED, message: "Connection closed", data: lost } });
  }

  loseAll(lost: LostAnswer): void {
    for (const id of this.#unanswered) this.lose(id, lost);
  }

  /** Resolves when no request is without an answer. */
  allAnswered(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#unanswered.size === 0) resolve();
      else this.#onAllAnswered = resolve;
    });
  }

  /** Not at once: the SDK takes progress in the next microtask, and not any more when the answer has come. */
  #answer(message: JSONRPCMessage): void {
    queueMicrotask(() => {
      this.#events.deliver(message);
      if (this.#unanswered.size === 0) this.#onAllAnswered?.();
    });
  }

  #takeUnasked(): boolean {
    if (this.#unasked.take(1).kind === "ok") return true;
    this.#events.offend(
      `the server sends more messages than it was asked for: over ${UNASKED.burst} at once and ${UNASKED.perSecond} a second; it was cut off`,
    );
    return false;
  }
}

/** `undefined` for what is no message of JSON-RPC. The SDK checks the rest. */
function parse(bytes: Uint8Array): JSONRPCMessage | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8"));
    const isMessage = typeof value === "object" && value !== null && (value as { jsonrpc?: unknown }).jsonrpc === "2.0";
    return isMessage ? (value as JSONRPCMessage) : undefined;
  } catch {
    return undefined;
  }
}
