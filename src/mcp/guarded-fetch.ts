/**
 * Requests to a server whose answers are not to be trusted.
 *
 * No redirect is followed: it would carry the configured credentials wherever the server says. Each request has a signal of its own, so
 * that no listener stays on a longer-lived one. Bodies are read within a cap.
 */

import { LostAnswer } from "./lost-answer.ts";

export interface GuardedRequest {
  readonly method: "GET" | "POST" | "DELETE";
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Aborts the request and the reading of the answer. To be made for this request. */
  readonly abort: AbortController;
}

/** A request that got no answer of HTTP, or one that leads elsewhere. */
export class FetchFailure extends Error {
  override readonly name = "FetchFailure";
  /** The server cannot have seen the request. */
  readonly notSent: boolean;

  constructor(message: string, options: { notSent: boolean; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.notSent = options.notSent;
  }

  get lost(): LostAnswer {
    return new LostAnswer(this.notSent ? "TOOL_UNAVAILABLE" : "CONNECTION_LOST", this.message);
  }
}

/** Failures before the first byte of a request. */
const NOT_SENT: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
  "UND_ERR_CONNECT_TIMEOUT",
]);

/** Any answer of HTTP but a redirect. Throws {@link FetchFailure}. */
export async function guardedFetch(url: URL, { abort, body, headers, method }: GuardedRequest): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { method, headers, body: body ?? null, redirect: "manual", signal: abort.signal });
  } catch (error) {
    const code = codeOf(error);
    throw new FetchFailure(`no answer from ${url.origin}: ${code ?? "the connection broke"}`, {
      notSent: code !== undefined && NOT_SENT.has(code),
      cause: error,
    });
  }
  if (response.status < 300 || response.status > 399 || response.status === 304) return response;
  await discard(response);
  throw new FetchFailure(
    `the server answers with a redirect (${response.status}) to ${placeOf(response.headers.get("location"), url)}, which is not followed: ` +
      "it would take the configured credentials along; if that is where the server is, configure that address",
    { notSent: true },
  );
}

/** The end of a body that nobody wants, so that its connection is free. Never rejects. */
export async function discard(response: Response): Promise<void> {
  await response.body?.cancel().catch(() => undefined);
}

/** The body, or `undefined` when it is longer than `maxBytes`. Rejects when the connection breaks. */
export async function readBody(response: Response, maxBytes: number): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // Leaving the loop cancels the rest.
  for await (const chunk of bodyOf(response)) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The chunks of a body; none where there is no body. */
export async function* bodyOf(response: Response): AsyncGenerator<Uint8Array> {
  if (response.body !== null) yield* response.body as ReadableStream<Uint8Array>;
}

function codeOf(error: unknown): string | undefined {
  const cause = (error as { cause?: { code?: unknown } }).cause;
  return typeof cause?.code === "string" ? cause.code : undefined;
}

/** Without what may be a secret: user, query, fragment. */
function placeOf(location: string | null, base: URL): string {
  if (location === null || !URL.canParse(location, base.href)) return "nowhere";
  const { origin, pathname } = new URL(location, base);
  return `${origin}${pathname}`;
}
