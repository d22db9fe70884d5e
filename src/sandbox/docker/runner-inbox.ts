/**
 * What one runner sends, in the order in which it may: `ready`, `finished`, archive chunks, `archived`. Each at most once.
 *
 * Anything else ends the connection: there is no honest reason for it.
 */

import type { RunnerConnection, RunnerEvents } from "../../bridge/runner-connection.ts";

interface Received {
  readonly params: unknown;
}

interface Closed {
  readonly violation: string | undefined;
}

interface Settled<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
}

function settled<T>(): Settled<T> {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/** The order of messages; a later one cannot come before an earlier one, and none comes twice. */
const EXPECTED = ["ready", "finished", "archived"] as const;
type Expected = (typeof EXPECTED)[number];

export class RunnerInbox implements RunnerEvents {
  readonly #received: Readonly<Record<Expected, Settled<Received>>> = { ready: settled(), finished: settled(), archived: settled() };
  readonly #closed = settled<Closed>();
  #next = 0;
  #takeChunk: ((chunk: Buffer) => void) | undefined;
  #connection: RunnerConnection | undefined;

  /** To be called once, before anything can arrive. */
  bind(connection: RunnerConnection): void {
    this.#connection = connection;
  }

  get ready(): Promise<Received> {
    return this.#received.ready.promise;
  }

  get finished(): Promise<Received> {
    return this.#received.finished.promise;
  }

  get archived(): Promise<Received> {
    return this.#received.archived.promise;
  }

  get closed(): Promise<Closed> {
    return this.#closed.promise;
  }

  /** Takes archive chunks from now on; before, one is a violation. */
  collectChunks(take: (chunk: Buffer) => void): void {
    this.#takeChunk = take;
  }

  message(method: string, params: unknown): void {
    const expected = EXPECTED[this.#next];
    if (method !== expected || (expected === "archived" && this.#takeChunk === undefined)) {
      this.#connection?.fail(`the sandbox sent ${JSON.stringify(method)} where it must not`);
      return;
    }
    this.#next += 1;
    this.#received[expected].resolve({ params });
  }

  archiveChunk(chunk: Buffer): void {
    if (this.#takeChunk === undefined || this.#next !== EXPECTED.indexOf("archived"))
      this.#connection?.fail("the sandbox sent files that were not asked for");
    else this.#takeChunk(chunk);
  }

  ended(violation: string | undefined): void {
    this.#closed.resolve({ violation });
  }
}
