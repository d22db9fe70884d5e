/**
 * What one runner sends, in the order in which it may: `ready` and `finished`, once each; then, for each archive that was asked for,
 * its chunks and `archived`.
 *
 * Anything else ends the connection: there is no honest reason for it.
 */

import type { RunnerConnection, RunnerEvents } from "../../bridge/runner-connection.ts";

export interface Received {
  readonly params: unknown;
}

export interface Closed {
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

/** The order of messages before the archives; none comes twice. */
const EXPECTED = ["ready", "finished"] as const;
type Expected = (typeof EXPECTED)[number];

/** An archive that was asked for and is not over yet. */
interface ExpectedArchive {
  readonly take: (chunk: Buffer) => Promise<void>;
  readonly archived: Settled<Received>;
}

export class RunnerInbox implements RunnerEvents {
  readonly #received: Readonly<Record<Expected, Settled<Received>>> = { ready: settled(), finished: settled() };
  readonly #archives: ExpectedArchive[] = [];
  readonly #closed = settled<Closed>();
  #next = 0;
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

  get closed(): Promise<Closed> {
    return this.#closed.promise;
  }

  /**
   * Takes one more archive, after those that are expected already; what was not announced so is a violation. No more is read while a
   * chunk is being taken. Resolves with what `archived` says.
   */
  expectArchive(take: (chunk: Buffer) => Promise<void>): Promise<Received> {
    const archived = settled<Received>();
    this.#archives.push({ take, archived });
    return archived.promise;
  }

  message(method: string, params: unknown): void {
    const expected = EXPECTED[this.#next];
    const receiver =
      expected === undefined ? method === "archived" && this.#archives.shift()?.archived : method === expected && this.#received[expected];
    if (receiver === undefined || receiver === false) {
      this.#connection?.fail(`the sandbox sent ${JSON.stringify(method)} where it must not`);
      return;
    }
    this.#next += 1;
    receiver.resolve({ params });
  }

  archiveChunk(chunk: Buffer): Promise<void> | undefined {
    const archive = this.#next < EXPECTED.length ? undefined : this.#archives[0];
    if (archive !== undefined) return archive.take(chunk);
    this.#connection?.fail("the sandbox sent files that were not asked for");
    return undefined;
  }

  ended(violation: string | undefined): void {
    this.#closed.resolve({ violation });
  }
}
