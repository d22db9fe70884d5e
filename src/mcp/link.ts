/**
 * One connection to a server, from the handshake to its end. It is never mended: when it is over, another is opened.
 */

import type { Client } from "@modelcontextprotocol/sdk/client/index.js";
import type { Logger } from "pino";
import { z } from "zod";

import type { McpServerDefinition, ServerTransport } from "../domain/mcp-server.ts";
import type { ToolProgress } from "../domain/tool-call.ts";
import { StopSource } from "../lib/stop-source.ts";
import { plainText, readCatalogue } from "./catalogue.ts";
import type { Catalogue } from "./catalogue.ts";
import { HttpTransport } from "./http-transport.ts";
import { LostAnswer } from "./lost-answer.ts";
import type { PeerTransport } from "./peer-transport.ts";
import type { EndingTimes } from "./process-group.ts";
import type { Redactor } from "./redaction.ts";
import { createClient, defaultEnvironment } from "./sdk.ts";
import { ServerStderr } from "./server-stderr.ts";
import { SseTransport } from "./sse-transport.ts";
import { StdioTransport } from "./stdio-transport.ts";

export type TransportKind = "stdio" | "http" | "sse";

export interface LinkOptions {
  readonly definition: McpServerDefinition & { readonly transport: ServerTransport };
  readonly logger: Logger | undefined;
  readonly redactor: Redactor;
  readonly endingTimes: EndingTimes;
  /** The server says that its tools have changed. */
  readonly onToolsChanged: () => void;
}

/** The longest delay of a timer: the SDK's own time limit is set out of the way. */
const NEVER_MS = 2 ** 31 - 1;
const PING_TIMEOUT_MS = 10_000;
const MAX_INFO_CHARS = 100;
const METHOD_NOT_FOUND = -32_601;
/** With these statuses a server says that it does not know how to speak streamable HTTP; with the others of 4xx that it does not want to. */
const OTHER_PROTOCOL: ReadonlySet<number> = new Set([400, 404, 405, 406, 410, 415, 422]);

/** A connection did not come about. The message is for operators, and not redacted yet. */
class ConnectFailure extends Error {
  override readonly name = "ConnectFailure";
}

export class Link {
  readonly kind: TransportKind;
  readonly server: { readonly name: string; readonly version: string } | undefined;
  /** Resolves with the reason, not redacted yet, when the connection is over. */
  readonly ended: Promise<string>;
  readonly #client: Client;
  readonly #transport: PeerTransport;
  #end: (reason: string) => void = () => undefined;
  #probing = false;

  constructor(kind: TransportKind, client: Client, transport: PeerTransport) {
    this.kind = kind;
    this.#client = client;
    this.#transport = transport;
    const info = client.getServerVersion();
    this.server = info && { name: plainText(info.name, MAX_INFO_CHARS), version: plainText(info.version, MAX_INFO_CHARS) };
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    transport.onend = this.#end;
    transport.onsuspect = () => {
      void this.#probe();
    };
  }

  /**
   * One request, sent once. The signal must have been made for it: the SDK never takes its listener off. Rejects with the SDK's error,
   * whose `data` is a {@link LostAnswer} when no answer can come.
   */
  request(
    method: string,
    params: Readonly<Record<string, unknown>>,
    { onProgress, signal }: { signal: AbortSignal; onProgress?: ((progress: ToolProgress) => void) | undefined },
  ): Promise<unknown> {
    const request = { method, params } as Parameters<Client["request"]>[0];
    return this.#client.request(request, z.unknown(), {
      signal,
      timeout: NEVER_MS,
      ...(onProgress === undefined ? {} : { onprogress: onProgress }),
    });
  }

  async #requestWithin(timeoutMs: number, method: string, params: Readonly<Record<string, unknown>>): Promise<unknown> {
    const stop = new StopSource().abortAfter(timeoutMs, () => new Error(`no answer to ${method} within ${timeoutMs} ms`));
    try {
      return await this.request(method, params, { signal: stop.signal });
    } finally {
      stop.close();
    }
  }

  listTools(timeoutMs: number): Promise<Catalogue> {
    return readCatalogue((cursor) => this.#requestWithin(timeoutMs, "tools/list", cursor === undefined ? {} : { cursor }));
  }

  /** Whether the server answers at all; "dead" has ended the connection. */
  async ping(): Promise<"alive" | "silent" | "dead"> {
    try {
      await this.#requestWithin(PING_TIMEOUT_MS, "ping", {});
      return "alive";
    } catch (error) {
      const { code, data } = error as { code?: unknown; data?: unknown };
      if (code === METHOD_NOT_FOUND) return "alive";
      if (!(data instanceof LostAnswer) && code === -32_001) return "silent";
      // Any other error is one of a session that the server does not know any more.
      this.end(data instanceof LostAnswer ? data.reason : reasonOf(error));
      return "dead";
    }
  }

  async #probe(): Promise<void> {
    if (this.#probing) return;
    this.#probing = true;
    await this.ping();
    this.#probing = false;
  }

  /** Says that the connection is over, for a reason of ours. */
  end(reason: string): void {
    this.#end(reason);
  }

  /** Resolves when nothing of the connection is left. Idempotent. `graceMs` is for answers that may be on their way. */
  async close(graceMs = 0): Promise<void> {
    this.#end("the connection was closed");
    await this.#transport.close(graceMs);
  }
}

/** Connects and shakes hands. Rejects with a {@link ConnectFailure}, with nothing left behind. The signal ends the attempt. */
export async function openLink(options: LinkOptions, signal: AbortSignal): Promise<Link> {
  const { transport } = options.definition;
  if (transport.kind !== "http") return connect(transport.kind, options, signal);
  try {
    return await connect("http", options, signal);
  } catch (error) {
    const { cause } = error as ConnectFailure;
    if (!(cause instanceof LostAnswer) || cause.status === undefined || !OTHER_PROTOCOL.has(cause.status)) throw error;
    return connect("sse", options, signal).catch((second: unknown) => {
      throw new ConnectFailure(`streamable HTTP: ${reasonOf(error)}; SSE: ${reasonOf(second)}`);
    });
  }
}

async function connect(kind: TransportKind, options: LinkOptions, signal: AbortSignal): Promise<Link> {
  const client = await createClient();
  const transport = await createTransport(kind, options);
  let endReason: string | undefined;
  transport.onend = (reason) => {
    endReason = reason;
  };
  client.fallbackNotificationHandler = ({ method }) => {
    if (method === "notifications/tools/list_changed") options.onToolsChanged();
    return Promise.resolve();
  };
  const giveUp = (): void => {
    void transport.close();
  };
  signal.addEventListener("abort", giveUp);
  try {
    signal.throwIfAborted();
    await client.connect(transport, { timeout: NEVER_MS });
    return new Link(kind, client, transport);
  } catch (error) {
    await transport.close();
    if (signal.aborted) throw new ConnectFailure(reasonOf(signal.reason));
    const { data } = error as { data?: unknown };
    throw new ConnectFailure(endReason ?? (data instanceof LostAnswer ? data.reason : reasonOf(error)), { cause: data });
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
}

async function createTransport(kind: TransportKind, { definition, endingTimes, logger, redactor }: LinkOptions): Promise<PeerTransport> {
  const { name: server, transport } = definition;
  if (transport.kind === "stdio")
    return new StdioTransport({
      command: transport.command,
      args: transport.args,
      cwd: transport.cwd,
      endingTimes,
      env: { ...(await defaultEnvironment()), ...transport.env },
      stderr: new ServerStderr({ logger, redactor, server }),
      warn: (message) => logger?.warn({ server }, message),
    });
  const place = { url: new URL(transport.url), headers: lowerCased(transport.headers) };
  return kind === "sse" ? new SseTransport(place) : new HttpTransport(place);
}

/** So that those of the protocol take the place of equal ones. */
const lowerCased = (headers: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

/** For operators; not redacted. */
export const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
