/**
 * The audit log: who ran what, which tools were called, what was refused.
 *
 * Lines go to a chain of files (see chain.ts) in turns of the event loop, with one write for all that wait. Where nothing can be written
 * they wait, up to a number; what is beyond is added up. Whoever must not go on unaudited calls {@link AuditLog.ensure}.
 */

import type { Logger } from "pino";

import type { AuditEntry, AuditEvent, AuditSettings, AuditTrail } from "../domain/audit-event.ts";
import { AppError, StartupError } from "../domain/errors.ts";
import { Anchor, readAnchor } from "./anchor.ts";
import { openAuditKey } from "./audit-key.ts";
import { entryFields, entryJson } from "./entry-text.ts";
import type { EntryFields } from "./entry-text.ts";
import { chainPrefix, claimChain, listLogFiles, openLogFolder } from "./log-files.ts";
import { LogWriter } from "./log-writer.ts";
import { openChain } from "./open-chain.ts";
import { readBack } from "./read-back.ts";
import type { AuditPage, AuditQuery } from "./read-back.ts";
import { Repeats } from "./repeats.ts";

export interface AuditStatus {
  readonly enabled: boolean;
  readonly entries: number;
  readonly waiting: number;
  /** Why nothing can be written; there while it is so. */
  readonly problem?: string;
  /** Nothing runs meanwhile. */
  readonly refuses: boolean;
}

const RECENT = 1000;
const MAX_WAITING = 10_000;
const RETRY_MS = 1000;
const SYNC_MS = 1000;
const SUMS_MS = 60_000;
const RETRY_AFTER_SECONDS = 5;

interface Destination {
  readonly writer: LogWriter;
  readonly chain: number;
  readonly release: () => Promise<void>;
}

type Log = Pick<Logger, "error" | "warn" | "info">;

export class AuditLog implements AuditTrail {
  readonly #settings: AuditSettings;
  readonly #logger: Log;
  readonly #destination: Destination | undefined;
  readonly #recent: AuditEntry[] = [];
  /** By execution; "" for all else. */
  readonly #repeats = new Map<string, Repeats>();
  readonly #timers: NodeJS.Timeout[] = [];
  #waiting: { readonly seq: number; readonly json: string }[] = [];
  #lost = new Map<string, number>();
  #seq: number;
  #problem: Error | undefined;
  #retryAt = 0;
  #scheduled = false;
  #closed = false;

  private constructor(settings: AuditSettings, logger: Log, destination: Destination | undefined) {
    this.#settings = settings;
    this.#logger = logger;
    this.#destination = destination;
    this.#seq = destination?.writer.lastSeq ?? 0;
    this.#every(SUMS_MS, () => {
      this.#giveSums();
    });
    this.#every(SYNC_MS, () => {
      if (this.#problem === undefined || this.#waiting.length === 0) this.#attempt(() => destination?.writer.sync());
      else this.#flush();
    });
  }

  /** Takes a chain that nobody writes to, and goes on where it ends. Throws a {@link StartupError} that says what to mend. */
  static async open(settings: AuditSettings, logger: Log): Promise<AuditLog> {
    if (!settings.enabled) {
      logger.warn("MCP_AUDIT_LOGGING is false: nothing that is done here is kept in an audit log");
      return new AuditLog(settings, logger, undefined);
    }
    try {
      const { destination, found } = await openDestination(settings);
      const log = new AuditLog(settings, logger, destination);
      for (const what of found) log.#damaged(what);
      log.#flush();
      if (log.#problem !== undefined) throw log.#problem;
      return log;
    } catch (error) {
      if (error instanceof StartupError) throw error;
      throw new StartupError([`environment: CODE_MODE_AUDIT_DIR: ${settings.folder} cannot be used: ${(error as Error).message}`], error);
    }
  }

  record(event: AuditEvent): void {
    if (this.#closed) return;
    const scope = "executionId" in event ? event.executionId : "";
    const isEnd = event.type === "execution.ended" || event.type === "execution.not_started";
    if (isEnd) this.#giveSumsOf(scope);
    let repeats = this.#repeats.get(scope);
    if (repeats === undefined && !isEnd) this.#repeats.set(scope, (repeats = new Repeats()));
    // Clipped first: texts of strangers are kept for as long as they are counted.
    const entry = entryFields(event);
    if (repeats?.admit(entry) ?? true) this.#add(entry);
  }

  ensure(): void {
    this.#flush();
    if (!this.#isRefusing) return;
    throw new AppError({
      code: "AUDIT_UNAVAILABLE",
      message: "The audit log cannot be written, and nothing runs unaudited here. The service's log says why.",
      retryAfterSeconds: RETRY_AFTER_SECONDS,
      cause: this.#problem,
    });
  }

  recent(): readonly AuditEntry[] {
    return [...this.#recent];
  }

  get status(): AuditStatus {
    const { enabled } = this.#settings;
    const problem = this.#problem === undefined ? {} : { problem: this.#problem.message };
    return { enabled, entries: this.#seq, waiting: this.#waiting.length, refuses: this.#isRefusing, ...problem };
  }

  /** Entries, the newest first: those of the files, or where none are kept the recent ones. */
  async query(query: AuditQuery): Promise<AuditPage> {
    this.#flush();
    const { folder } = this.#settings;
    const files = this.#destination && (await listLogFiles(folder)).get(this.#destination.chain);
    return readBack(files ?? this.#recent, query);
  }

  /** Writes what waits, and lets others have the chain. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#giveSums();
    for (const timer of this.#timers) clearInterval(timer);
    this.#retryAt = 0;
    this.#flush();
    this.#closed = true;
    if (this.#waiting.length > 0 || this.#lost.size > 0) {
      const left = { entries: this.#waiting.length, counts: Object.fromEntries(this.#lost) };
      this.#logger.error(left, "entries of the audit log are lost: it could not be written");
    }
    this.#attempt(() => this.#destination?.writer.close());
    await this.#destination?.release();
  }

  get #isRefusing(): boolean {
    return this.#problem !== undefined && this.#settings.onFailure === "refuse";
  }

  #damaged(found: string): void {
    this.#logger.error({ found }, `the audit log is not as it was left: ${found}. \`code-mode audit verify\` looks through all of it`);
    this.#add(entryFields({ type: "audit.damaged", found }));
  }

  #add(fields: EntryFields): void {
    // Many can come in one turn of the event loop.
    if (this.#waiting.length >= MAX_WAITING) this.#flush();
    if (this.#waiting.length >= MAX_WAITING) {
      this.#lost.set(fields.type, (this.#lost.get(fields.type) ?? 0) + (fields.count ?? 1));
      return;
    }
    const entry: AuditEntry = { seq: ++this.#seq, time: new Date().toISOString(), ...fields };
    this.#recent.push(entry);
    if (this.#recent.length > RECENT) this.#recent.shift();
    if (this.#destination === undefined) return;
    this.#waiting.push({ seq: entry.seq, json: entryJson(entry) });
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  /** Writes what waits. While nothing can be written it tries at times only. */
  #flush(): void {
    const { writer } = this.#destination ?? {};
    if (writer === undefined || this.#closed || this.#waiting.length === 0) return;
    if (this.#problem !== undefined && performance.now() < this.#retryAt) return;
    const failed = this.#problem !== undefined;
    this.#attempt(() => {
      writer.write(this.#waiting);
      this.#waiting = [];
    });
    if (this.#problem !== undefined) return;
    if (failed) this.#logger.info("the audit log can be written again");
    if (this.#lost.size === 0) return;
    const counts = Object.fromEntries(this.#lost);
    this.#lost = new Map();
    this.#add(entryFields({ type: "audit.lost", counts }));
    this.#flush();
  }

  #attempt(action: () => void): void {
    try {
      action();
      this.#problem = undefined;
    } catch (error) {
      if (this.#problem === undefined) this.#logger.error({ err: error }, `the audit log cannot be written: ${(error as Error).message}`);
      this.#problem = error as Error;
      this.#retryAt = performance.now() + RETRY_MS / 2;
    }
  }

  #giveSumsOf(scope: string): void {
    for (const sum of this.#repeats.get(scope)?.take() ?? []) this.#add(sum);
    this.#repeats.delete(scope);
  }

  #giveSums(): void {
    for (const scope of [...this.#repeats.keys()]) this.#giveSumsOf(scope);
  }

  #every(ms: number, action: () => void): void {
    this.#timers.push(setInterval(action, ms).unref());
  }
}

async function openDestination(settings: AuditSettings): Promise<{ destination: Destination; found: readonly string[] }> {
  const { folder, keyFile, maxFileBytes, maxFiles } = settings;
  await openLogFolder(folder);
  const key = await openAuditKey(keyFile, folder);
  const prefix = await chainPrefix(folder);
  const { chain, release } = await claimChain(prefix);
  try {
    const name = `${prefix}${chain}`;
    const files = (await listLogFiles(folder)).get(chain) ?? [];
    const known = await readAnchor(key, keyFile, name);
    const { found, state } = await openChain({ folder, chain, files, key, anchor: known });
    const anchor = Anchor.open(key, keyFile, name);
    // A chain without an anchor is one that somebody took it from, though no line of it could be written yet.
    if (known === undefined && files.length === 0) anchor.write(state);
    return { destination: { writer: new LogWriter({ key, folder, chain, anchor, maxFileBytes, maxFiles }, state), chain, release }, found };
  } catch (error) {
    await release();
    throw error;
  }
}
