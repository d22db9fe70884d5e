/**
 * A server behind streamable HTTP: each message is a POST, whose answer is JSON or a stream of events; one GET listens to what the server
 * says unasked.
 *
 * Instead of the SDK's, with which a request waits for its timeout when its answer cannot come any more: a stream that ended, a 202, a
 * server that died. Here it is lost at once. A stream that broke is not resumed, and nothing is sent twice.
 */

import type { JSONRPCMessage, RequestId } from "@modelcontextprotocol/sdk/types.js";

import { within } from "../lib/deadline.ts";
import { EventTooLongError, readEvents } from "./event-stream-reader.ts";
import { bodyOf, discard, FetchFailure, guardedFetch, readBody } from "./guarded-fetch.ts";
import { LostAnswer, lostToStatus } from "./lost-answer.ts";
import { MAX_MESSAGE_BYTES } from "./peer-messages.ts";
import { PeerTransport } from "./peer-transport.ts";

const MAX_ERROR_BODY_BYTES = 65_536;
const SHOWN_BODY_BYTES = 300;
const LISTEN_AGAIN_MS = { first: 1000, max: 60_000 };
/** A stream that brought its answer may go on for a moment, so that its connection can be used again. */
const STREAM_END_WAIT_MS = 2000;
const TERMINATE_WAIT_MS = 2000;
/** JSON-RPC leaves these to what carries it: they speak of sessions, not of what was asked. */
const isCarriersError = (code: number): boolean => code <= -32_000 && code >= -32_099;

export interface HttpTransportOptions {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
}

export class HttpTransport extends PeerTransport {
  readonly #options: HttpTransportOptions;
  /** Of everything under way; the request's id where it has one. */
  readonly #underWay = new Map<AbortController, RequestId | undefined>();
  #session: string | undefined;
  #protocolVersion: string | undefined;
  #listenTimer: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: HttpTransportOptions) {
    super();
    this.#options = options;
  }

  /** There is nothing to open: the first message does. */
  start(): Promise<void> {
    return Promise.resolve();
  }

  setProtocolVersion(version: string): void {
    this.#protocolVersion = version;
  }

  /** A request that fails is lost; this does not reject. Resolves at once, but for the message that must have come before all others. */
  send(message: JSONRPCMessage): Promise<void> {
    const body = JSON.stringify(message);
    const { cancelled, request } = this.messages.sending(message);
    if (this.isOver()) {
      if (request !== undefined) this.messages.lose(request, new LostAnswer("TOOL_UNAVAILABLE", "the connection is closed"));
      return Promise.resolve();
    }
    const sent = request === undefined ? this.#tell(body) : this.#ask(request, body);
    if (cancelled !== undefined) {
      // Not before the server was told: it may take the end of the connection for no cancellation.
      void sent.then(() => {
        for (const [abort, id] of this.#underWay) if (id === cancelled) abort.abort();
      });
    } else if ("method" in message && message.method === "notifications/initialized") {
      return sent.then(() => void this.#listen(LISTEN_AGAIN_MS.first));
    }
    return Promise.resolve();
  }

  /** Sends what gets no answer. */
  async #tell(body: string): Promise<void> {
    await this.#exchange({ method: "POST", body }, async (response) => {
      await discard(response);
      if (!response.ok) this.onsuspect?.();
    }).catch(() => this.onsuspect?.());
  }

  async #ask(id: RequestId, body: string): Promise<void> {
    const lose = (lost: LostAnswer): void => {
      if (!this.messages.isUnanswered(id)) return;
      if (lost.code !== "RESULT_TOO_LARGE") this.onsuspect?.();
      this.messages.lose(id, lost);
    };
    try {
      await this.#exchange({ method: "POST", body, id }, async (response, abort) => {
        if (response.ok) await this.#readAnswer(id, response, abort);
        else lose(await this.#refusal(id, response));
      });
      lose(new LostAnswer("CONNECTION_LOST", "the server's response ended without the answer"));
    } catch (error) {
      if (error instanceof FetchFailure) lose(error.lost);
      else if (error instanceof EventTooLongError) lose(new LostAnswer("RESULT_TOO_LARGE", error.message));
      else lose(new LostAnswer("CONNECTION_LOST", "the server's response broke off before the answer"));
    }
  }

  async #readAnswer(id: RequestId, response: Response, abort: AbortController): Promise<void> {
    this.#session = response.headers.get("mcp-session-id") ?? this.#session;
    const type = mediaTypeOf(response);
    if (response.status === 200 && type === "text/event-stream") {
      await this.#readAnswerStream(id, response, abort);
    } else if (response.status === 200 && type === "application/json") {
      const body = await readBody(response, MAX_MESSAGE_BYTES);
      if (body === undefined) throw new EventTooLongError(`the server's answer has more than ${MAX_MESSAGE_BYTES} bytes`);
      this.#receive(body, id);
    } else {
      await discard(response);
      this.messages.lose(
        id,
        new LostAnswer("CONNECTION_LOST", `the server answered a request with HTTP ${response.status} and ${type || "no content"}`),
      );
    }
  }

  async #readAnswerStream(id: RequestId, response: Response, abort: AbortController): Promise<void> {
    let endTimer: NodeJS.Timeout | undefined;
    try {
      await readEvents(bodyOf(response), {
        maxEventBytes: MAX_MESSAGE_BYTES,
        onEvent: ({ data, type }) => {
          if (type === "message") this.#receive(data, id);
          if (this.messages.isUnanswered(id)) return;
          endTimer ??= setTimeout(() => {
            abort.abort();
          }, STREAM_END_WAIT_MS);
        },
      });
    } finally {
      clearTimeout(endTimer);
    }
  }

  /** A status of 4xx or 5xx. Its body may be the answer all the same. */
  async #refusal(id: RequestId, response: Response): Promise<LostAnswer> {
    const { status } = response;
    const body = await readBody(response, MAX_ERROR_BODY_BYTES).catch(() => undefined);
    if (body !== undefined && isErrorAnswer(body, id)) {
      this.#receive(body, id);
      if (status === 400 || status === 404) this.onsuspect?.();
    }
    const text = body?.toString("utf8", 0, SHOWN_BODY_BYTES).replace(/\s+/g, " ").trim() ?? "";
    return lostToStatus(status, `${hintOf(status)}${text === "" ? "" : `: ${text}`}`);
  }

  #receive(body: Buffer, id: RequestId | undefined): void {
    const problem = this.messages.receive(body);
    if (problem !== undefined && id !== undefined)
      this.messages.lose(id, new LostAnswer("RESULT_TOO_LARGE", `the server's answer is ${problem}`));
  }

  /** Listens to what the server says unasked, for as long as it likes; many servers say nothing. */
  async #listen(againMs: number): Promise<void> {
    if (this.isOver()) return;
    const startedAt = performance.now();
    try {
      const offered = await this.#exchange({ method: "GET" }, async (response) => {
        if (response.status === 200 && mediaTypeOf(response) === "text/event-stream") {
          await readEvents(bodyOf(response), {
            maxEventBytes: MAX_MESSAGE_BYTES,
            onEvent: ({ data, type }) => {
              if (type === "message") this.#receive(data, undefined);
            },
          });
          return true;
        }
        await discard(response);
        return false;
      });
      if (!offered) return;
    } catch {
      // Whatever it was, the question below finds out whether the server lives.
    }
    if (this.isOver()) return;
    this.onsuspect?.();
    const nextMs = performance.now() - startedAt > LISTEN_AGAIN_MS.max ? LISTEN_AGAIN_MS.first : againMs;
    this.#listenTimer = setTimeout(() => void this.#listen(Math.min(nextMs * 2, LISTEN_AGAIN_MS.max)), nextMs);
  }

  async #exchange<T>(
    { body, id, method }: { method: "GET" | "POST" | "DELETE"; body?: string; id?: RequestId },
    use: (response: Response, abort: AbortController) => Promise<T>,
  ): Promise<T> {
    const abort = new AbortController();
    this.#underWay.set(abort, id);
    try {
      const headers = {
        ...this.#options.headers,
        accept: method === "POST" ? "application/json, text/event-stream" : "text/event-stream",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(this.#session === undefined ? {} : { "mcp-session-id": this.#session }),
        ...(this.#protocolVersion === undefined ? {} : { "mcp-protocol-version": this.#protocolVersion }),
      };
      return await use(await guardedFetch(this.#options.url, { method, headers, abort, ...(body === undefined ? {} : { body }) }), abort);
    } finally {
      this.#underWay.delete(abort);
    }
  }

  close(graceMs = 0): Promise<void> {
    this.#closing ??= this.#close(graceMs);
    return this.#closing;
  }

  async #close(graceMs: number): Promise<void> {
    if (graceMs > 0 && !this.isOver()) await within(this.messages.allAnswered(), graceMs, "the last answers").catch(() => undefined);
    this.finish(new LostAnswer("CONNECTION_LOST", "the connection was closed"));
    await this.#terminate();
  }

  /** Tells the server that the session is over, as far as it listens: its memory of it may be large. */
  async #terminate(): Promise<void> {
    if (this.#session === undefined) return;
    const timer = setTimeout(() => {
      for (const abort of this.#underWay.keys()) abort.abort();
    }, TERMINATE_WAIT_MS);
    await this.#exchange({ method: "DELETE" }, discard).catch(() => undefined);
    clearTimeout(timer);
  }

  protected override release(): void {
    clearTimeout(this.#listenTimer);
    for (const abort of this.#underWay.keys()) abort.abort();
  }
}

const mediaTypeOf = (response: Response): string => (response.headers.get("content-type") ?? "").replace(/;.*/s, "").trim().toLowerCase();

function isErrorAnswer(body: Buffer, id: RequestId): boolean {
  try {
    const message = JSON.parse(body.toString("utf8")) as { id?: unknown; error?: { code?: unknown } } | null;
    const code = message?.error?.code;
    return message?.id === id && typeof code === "number" && !isCarriersError(code);
  } catch {
    return false;
  }
}

function hintOf(status: number): string {
  if (status === 401 || status === 403) return " (the configured credentials are missing or not accepted)";
  if (status === 404) return " (no such address, or a session it does not know any more)";
  return "";
}
