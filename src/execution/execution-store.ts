/**
 * The executions that the API can show: those under way, and the recent ones for a while, within a cap on memory.
 *
 * Results are strangers' data: they live here only, and go when their time or the room is over: then the oldest of the owner who has
 * the most. One that somebody still reads stays for them, within the same cap once more; where that is not enough, readers are cut off.
 */

import type { Execution, ExecutionSummary, Status } from "../domain/execution.ts";
import { EventLog } from "./event-log.ts";

export interface ExecutionRecord {
  readonly id: string;
  readonly runtime: string;
  /** Name of the key that started it. */
  readonly owner: string;
  /** Milliseconds since the epoch. */
  readonly createdAtMs: number;
  readonly status: Status;
  /** There once it has ended. */
  readonly execution: Execution | undefined;
  readonly events: EventLog;
}

export interface StoreLimits {
  readonly ttlMs: number;
  readonly maxRecords: number;
  /** For the results together, as {@link estimateBytes} has it. */
  readonly maxBytes: number;
}

interface Ended {
  readonly record: ExecutionRecord & { readonly execution: Execution };
  readonly bytes: number;
  readonly endedAtMs: number;
}

export class ExecutionStore {
  readonly #limits: StoreLimits;
  readonly #now: () => number;
  readonly #active = new Map<string, ExecutionRecord>();
  /** In the order in which they ended. */
  readonly #ended = new Map<string, Ended>();
  #bytes = 0;
  /** What is kept for its readers only, with its bytes; the oldest first. */
  readonly #lingering = new Map<EventLog, number>();
  #lingeringBytes = 0;

  constructor(limits: StoreLimits, now: () => number = Date.now) {
    this.#limits = limits;
    this.#now = now;
  }

  begin(entry: { id: string; runtime: string; owner: string }): ExecutionRecord {
    const record = { ...entry, createdAtMs: this.#now(), status: "queued", execution: undefined, events: new EventLog() } as const;
    this.#active.set(entry.id, record);
    return record;
  }

  markRunning(id: string): void {
    const record = this.#active.get(id);
    if (record !== undefined) this.#active.set(id, { ...record, status: "running" });
  }

  /**
   * Keeps the result for a while. Of one that would push most others out, it keeps all but the contents of its output files: those go to
   * whoever reads it by now.
   */
  end(id: string, execution: Execution): void {
    const record = this.#active.get(id);
    if (record === undefined) return;
    this.#active.delete(id);
    const { status } = execution;
    const bytes = estimateBytes(execution) + record.events.overheadBytes;
    if (bytes <= this.#limits.maxBytes * LARGEST_SHARE) this.#keep({ ...record, status, execution }, bytes);
    else {
      const slim = withoutContents(execution);
      const events = record.events.endingWith(slim);
      this.#keep({ ...record, status, execution: slim, events }, estimateBytes(slim) + events.overheadBytes);
      if (record.events.isRead) this.#linger(record.events, bytes);
    }
    this.#evict();
  }

  #keep(record: Ended["record"], bytes: number): void {
    this.#ended.set(record.id, { record, bytes, endedAtMs: this.#now() });
    this.#bytes += bytes;
  }

  /** Forgets one that came to nothing: it was refused. */
  drop(id: string): void {
    this.#active.delete(id);
  }

  get(id: string): ExecutionRecord | undefined {
    this.#evict();
    return this.#active.get(id) ?? this.#ended.get(id)?.record;
  }

  /** Newest first; those under way before those that have ended. */
  list(): ExecutionRecord[] {
    this.#evict();
    return [...[...this.#active.values()].reverse(), ...[...this.#ended.values()].map(({ record }) => record).reverse()];
  }

  #evict(): void {
    const expired = this.#now() - this.#limits.ttlMs;
    for (const ended of this.#ended.values()) {
      if (ended.endedAtMs >= expired) break;
      this.#forget(ended);
    }
    while (this.#bytes > this.#limits.maxBytes) this.#forget(this.#oldestOfGreediest(({ bytes }) => bytes));
    while (this.#ended.size > this.#limits.maxRecords) this.#forget(this.#oldestOfGreediest(() => 1));
  }

  /** The oldest of the owner who has the most, so that one owner's flood does not take what others wait to fetch. */
  #oldestOfGreediest(share: (ended: Ended) => number): Ended {
    const shares = new Map<string, number>();
    for (const ended of this.#ended.values()) shares.set(ended.record.owner, (shares.get(ended.record.owner) ?? 0) + share(ended));
    const most = Math.max(...shares.values());
    for (const ended of this.#ended.values()) if (shares.get(ended.record.owner) === most) return ended;
    throw new Error("nothing is kept, and yet it is too much");
  }

  #forget({ bytes, record }: Ended): void {
    this.#ended.delete(record.id);
    this.#bytes -= bytes;
    if (record.events.isRead) this.#linger(record.events, bytes);
  }

  #linger(events: EventLog, bytes: number): void {
    this.#lingering.set(events, bytes);
    this.#lingeringBytes += bytes;
    events.onUnread(() => {
      this.#release(events);
    });
    for (const [oldest] of this.#lingering) {
      // The newest stays, however large it is: no result is too large for its first reader.
      if (this.#lingeringBytes <= this.#limits.maxBytes || oldest === events) return;
      this.#release(oldest);
      oldest.cutOff();
    }
  }

  #release(events: EventLog): void {
    this.#lingeringBytes -= this.#lingering.get(events) ?? 0;
    this.#lingering.delete(events);
  }
}

/** The most that one result may take of the room for all. */
const LARGEST_SHARE = 0.5;

function withoutContents(execution: Execution): Execution {
  const error = "the output files are too large to be kept: they went to those only who were reading when the program ended";
  return { ...execution, files: execution.files.map((file) => ("content" in file ? { path: file.path, size: file.size, error } : file)) };
}

/** What an array or object takes in memory, and an item in it, beyond the JSON text of it. */
const CONTAINER_BYTES = 32;
const ITEM_BYTES = 8;
/** What an output file takes beyond its path and content. */
const FILE_BYTES = 256;
/** What a tool call takes beyond its names. */
const TOOL_CALL_BYTES = 160;

/** Of a JSON value in memory: millions of empty lists take more than ten times what their text does. */
function estimateJsonBytes(value: unknown): number {
  const text = JSON.stringify(value);
  let bytes = text.length;
  for (let index = 0; index < text.length; index += 1) {
    const character = text.charCodeAt(index);
    if (character === 0x5b || character === 0x7b) bytes += CONTAINER_BYTES;
    else if (character === 0x2c) bytes += ITEM_BYTES;
  }
  return bytes;
}

/** What a result holds in memory, roughly; text takes one or two bytes a character. */
function estimateBytes(execution: Execution): number {
  const files = execution.files.reduce(
    (sum, file) => sum + FILE_BYTES + file.path.length + ("content" in file ? file.size : file.error.length),
    0,
  );
  const notKept = (execution.persisted?.errors ?? []).reduce((sum, { error, path }) => sum + FILE_BYTES + path.length + error.length, 0);
  const { error } = execution;
  const errorChars = error === null ? 0 : error.name.length + error.message.length + error.stack.length;
  const denials = execution.denials.reduce((sum, { setting, what }) => sum + what.length + setting.length, 0);
  const calls = execution.toolCalls.reduce((sum, { server, tool }) => sum + TOOL_CALL_BYTES + server.length + tool.length, 0);
  return (
    1024 +
    errorChars +
    denials +
    calls +
    execution.stdout.length +
    execution.stderr.length +
    files +
    notKept +
    estimateJsonBytes(execution.result)
  );
}

/** The short form, for lists. */
export function summarize(record: ExecutionRecord): ExecutionSummary {
  const { createdAtMs, execution, id, runtime, status } = record;
  return {
    id,
    runtime,
    status,
    createdAt: new Date(createdAtMs).toISOString(),
    exitCode: execution?.exitCode ?? null,
    signal: execution?.signal ?? null,
    usage: execution?.usage ?? null,
  };
}

/** One that has not ended, in the shape of an execution: nothing is known of its end yet. */
export function describeUnderWay({ createdAtMs, id, runtime, status }: Omit<ExecutionRecord, "events">, now = Date.now()): Execution {
  return {
    id,
    runtime,
    status,
    result: null,
    error: null,
    stdout: "",
    stderr: "",
    truncated: { stdout: false, stderr: false },
    exitCode: null,
    signal: null,
    toolCalls: [],
    network: [],
    denials: [],
    files: [],
    persisted: null,
    usage: { queuedMs: 0, startMs: 0, runMs: 0, totalMs: Math.max(0, now - createdAtMs), cpuMs: null, memoryPeakBytes: null },
    warm: false,
    degraded: false,
  };
}
