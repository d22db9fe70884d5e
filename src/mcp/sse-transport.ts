/**
 * A server that speaks the older way over HTTP: one long stream of events brings all that it says, and names the address for messages.
 *
 * The end of the stream is the end of the connection: an answer could not come any more.
 */

import type { JSONRPCMessage } from "@modelcontextprotocol/sdk/types.js";

import { readEvents } from "./event-stream-reader.ts";
import { bodyOf, discard, FetchFailure, guardedFetch } from "./guarded-fetch.ts";
import type { HttpTransportOptions } from "./http-transport.ts";
import { LostAnswer, lostToStatus } from "./lost-answer.ts";
import { MAX_MESSAGE_BYTES } from "./peer-messages.ts";
import { PeerTransport } from "./peer-transport.ts";

export class SseTransport extends PeerTransport {
  readonly #options: HttpTransportOptions;
  readonly #underWay = new Set<AbortController>();
  #endpoint: URL | undefined;
  #protocolVersion: string | undefined;

  constructor(options: HttpTransportOptions) {
    super();
    this.#options = options;
  }

  setProtocolVersion(version: string): void {
    this.#protocolVersion = version;
  }

  /** Resolves when the server has named its address for messages. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      const ended = (reason: string): void => {
        this.fail(reason);
        reject(new Error(reason));
      };
      this.#read(resolve).then(
        () => {
          ended("the server's stream of events ended");
        },
        (error: unknown) => {
          ended(error instanceof Error && error.name !== "TypeError" ? error.message : "the server's stream of events broke off");
        },
      );
    });
  }

  async #read(opened: () => void): Promise<void> {
    const abort = new AbortController();
    this.#underWay.add(abort);
    const { headers, url } = this.#options;
    const response = await guardedFetch(url, { method: "GET", headers: { ...headers, accept: "text/event-stream" }, abort });
    if (response.status !== 200 || !(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
      await discard(response);
      throw new FetchFailure(`the server answered with HTTP ${response.status} where a stream of events was expected`, { notSent: false });
    }
    await readEvents(bodyOf(response), {
      maxEventBytes: MAX_MESSAGE_BYTES,
      onEvent: ({ data, type }) => {
        if (type === "endpoint") {
          this.#endpoint ??= this.#endpointOf(data.toString("utf8"));
          opened();
        } else if (type === "message") {
          const problem = this.messages.receive(data);
          if (problem !== undefined && !this.loseUnread(data, data, problem))
            throw new Error(`the server sent a message that is ${problem}`);
        }
      },
    });
  }

  #endpointOf(text: string): URL {
    const { url } = this.#options;
    const endpoint = URL.canParse(text, url.href) ? new URL(text, url) : undefined;
    if (endpoint?.origin === url.origin) return endpoint;
    // Messages carry the configured credentials.
    throw new Error("the server names an address for messages that is not at its own origin; it is not used");
  }

  /** Resolves at once; a request that fails is lost. */
  send(message: JSONRPCMessage): Promise<void> {
    const body = JSON.stringify(message);
    const { request } = this.messages.sending(message);
    void this.#post(body).then((lost) => {
      if (lost === undefined) return;
      this.onsuspect?.();
      if (request !== undefined) this.messages.lose(request, lost);
    });
    return Promise.resolve();
  }

  async #post(body: string): Promise<LostAnswer | undefined> {
    if (this.isOver() || this.#endpoint === undefined) return new LostAnswer("TOOL_UNAVAILABLE", "the connection is closed");
    const abort = new AbortController();
    this.#underWay.add(abort);
    try {
      const headers = {
        ...this.#options.headers,
        "content-type": "application/json",
        ...(this.#protocolVersion === undefined ? {} : { "mcp-protocol-version": this.#protocolVersion }),
      };
      const response = await guardedFetch(this.#endpoint, { method: "POST", headers, body, abort });
      await discard(response);
      return response.ok ? undefined : lostToStatus(response.status);
    } catch (error) {
      return error instanceof FetchFailure ? error.lost : new LostAnswer("CONNECTION_LOST", "the connection broke");
    } finally {
      this.#underWay.delete(abort);
    }
  }

  close(): Promise<void> {
    this.finish(new LostAnswer("CONNECTION_LOST", "the connection was closed"));
    return Promise.resolve();
  }

  protected override release(): void {
    for (const abort of this.#underWay) abort.abort();
  }
}
