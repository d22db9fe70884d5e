/**
 * What one runner sends, in the order in which it may: `ready` and `finished`, once each, and calls of tools between the two; then, for
 * each archive that was asked for, its chunks and `archived`.
 *
 * Anything else ends the connection: there is no honest reason for it.
 */

import type { RunnerConnection, RunnerEvents, RunnerMessage } from "../../bridge/runner-connection.ts";
import type { ToolCalls } from "../../bridge/tool-calls.ts";

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

const TOOL_METHODS: readonly string[] = ["tool.call", "tool.cancel"];

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
  #tools: Pick<ToolCalls, "abort" | "drained" | "message"> | undefined;
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

  /** Takes calls of tools, up to `finished`; they are aborted when the connection ends. Before this, each is a violation. */
  expectToolCalls(tools: Pick<ToolCalls, "abort" | "drained" | "message">): void {
    this.#tools = tools;
  }

  message(message: RunnerMessage): Promise<void> | undefined {
    const { id, method, params } = message;
    const expected = EXPECTED[this.#next];
    if (this.#tools !== undefined && expected === "finished" && TOOL_METHODS.includes(method)) return this.#tools.message(message);
    const receiver =
      expected === undefined ? method === "archived" && this.#archives.shift()?.archived : method === expected && this.#received[expected];
    if (receiver === undefined || receiver === false || id !== undefined) {
      this.#connection?.fail(`the sandbox sent ${JSON.stringify(method)} where it must not`);
      return undefined;
    }
    this.#next += 1;
    receiver.resolve({ params });
    return undefined;
  }

  drained(): void {
    this.#tools?.drained();
  }

  archiveChunk(chunk: Buffer): Promise<void> | undefined {
    const archive = this.#next < EXPECTED.length ? undefined : this.#archives[0];
    if (archive !== undefined) return archive.take(chunk);
    this.#connection?.fail("the sandbox sent files that were not asked for");
    return undefined;
  }

  ended(violation: string | undefined): void {
    this.#tools?.abort();
    this.#closed.resolve({ violation });
  }
}
