/**
 * The connection to one MCP server, over all the connections that it takes: opens one, sees it break, and opens the next.
 *
 * Attempts are made one after the other by a single loop, and a new one begins when nothing is left of the last: there are never two
 * connections, or two processes, for one server. Connections are retried, calls never.
 */

import type { Logger } from "pino";

import { printable } from "../domain/escaped-json.ts";
import type { McpServerDefinition } from "../domain/mcp-server.ts";
import type { ServerState } from "../domain/server-status.ts";
import type { ToolProgress } from "../domain/tool-call.ts";
import { ToolFailure } from "../domain/tool-error.ts";
import { beforeAbort } from "../lib/deadline.ts";
import { StopSource } from "../lib/stop-source.ts";
import { Attempts } from "./attempts.ts";
import { backoffMs, RECONNECT_BACKOFF } from "./backoff.ts";
import type { Catalogue } from "./catalogue.ts";
import { systemClock } from "./clock.ts";
import type { Clock } from "./clock.ts";
import type { ConnectionEvents, ConnectionStatus } from "./connection-status.ts";
import { HealthMonitor } from "./health-check.ts";
import type { HealthProblem } from "./health-check.ts";
import { reasonOf } from "./link.ts";
import type { Link } from "./link.ts";
import { openConnection } from "./open-connection.ts";
import type { ConnectableDefinition, Failure, Opened } from "./open-connection.ts";
import type { EndingTimes } from "./process-group.ts";
import { Redactor } from "./redaction.ts";
import type { ToolReply } from "./reply.ts";
import { callTool } from "./tool-call.ts";

export interface ServerConnectionOptions extends ConnectionEvents {
  readonly definition: McpServerDefinition;
  readonly logger?: Logger | undefined;
  readonly clock?: Clock | undefined;
  /** From 0 to below 1, for the jitter. */
  readonly random?: (() => number) | undefined;
  /** From the start of an attempt to the list of tools; the first one of a process may have to wait for a download. */
  readonly connectTimeoutMs?: number | undefined;
  /** What a process has to end well, before it is killed. */
  readonly endingTimes?: EndingTimes | undefined;
}

interface CallOptions {
  readonly signal: AbortSignal;
  /** The definition's where it is not given. */
  readonly timeoutMs?: number | undefined;
  readonly onProgress?: ((progress: ToolProgress) => void) | undefined;
}

/** A connection that lasts so long is a success: the next failure counts as the first. */
const STABLE_MS = 60_000;
/** What calls under way get of a connection that is over, where each has one of its own. */
const GRACE_MS = 1000;
const MAX_REASON_CHARS = 1000;

export class ServerConnection {
  readonly definition: McpServerDefinition;
  readonly #options: ServerConnectionOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #redactor: Redactor;
  readonly #stop = new StopSource();
  #state: ServerState;
  #reason: string | undefined;
  #lastError: string | undefined;
  #catalogue: Catalogue | undefined;
  #link: Link | undefined;
  #running: Promise<void> | undefined;
  readonly #attempts = new Attempts();
  /** Ends the wait for the next attempt. */
  #hurry: (() => void) | undefined;
  #asked = false;
  #failures = 0;
  #connections = 0;
  #connectedAt: number | undefined;
  #nextRetryAt: number | undefined;
  #latencyMs: number | undefined;
  #health: { readonly problem: HealthProblem | undefined; readonly checkedAt: number } | undefined;
  #refreshProblem: string | undefined;

  constructor(options: ServerConnectionOptions) {
    this.#options = options;
    this.definition = options.definition;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#redactor = new Redactor(this.definition.secrets);
    this.#state = this.definition.enabled ? "down" : "disabled";
    this.#reason = this.definition.problem;
    this.#lastError = this.definition.problem;
  }

  get state(): ServerState {
    return this.#state;
  }

  /** For operators: redacted, in printable characters. */
  get lastError(): string | undefined {
    return this.#lastError;
  }

  /** The last known one; kept while the server is down. */
  get catalogue(): Catalogue | undefined {
    return this.#catalogue;
  }

  /** Connects in the background, and again whenever it must. Does nothing for a server that is disabled or has a problem. Idempotent. */
  start(): void {
    const { enabled, problem, transport } = this.definition;
    if (!enabled || problem !== undefined || transport === undefined || this.#stop.signal.aborted) return;
    this.#running ??= this.#run({ ...this.definition, transport });
  }

  /**
   * Ends the connection, or the wait for the next attempt, and connects. Resolves when that attempt is over, whatever came of it; an
   * attempt that is under way already is that one.
   */
  async reconnect(): Promise<void> {
    this.start();
    if (this.#running === undefined || this.#stop.signal.aborted) return;
    const over = this.#attempts.next;
    if (this.#state !== "connecting") {
      this.#asked = true;
      this.#link?.end("a reconnection was asked for");
      this.#hurry?.();
    }
    await over;
  }

  /** Waits for the first attempt, if it is under way. Gives whether calls are sent: false at once when the server is down or disabled. */
  async usable(signal: AbortSignal, timeoutMs: number): Promise<boolean> {
    if (this.#running === undefined || this.#attempts.any || signal.aborted) return this.#takesCalls;
    const stop = new StopSource().follow(signal).abortAfter(timeoutMs, () => new Error("waited long enough"));
    await beforeAbort(this.#attempts.next, stop.signal);
    stop.close();
    return this.#takesCalls;
  }

  /**
   * Calls a tool by the server's own name for it, once. Neither lists nor arguments are checked here.
   *
   * Throws a {@link ToolFailure}: TOOL_UNAVAILABLE (nothing was sent, or the server refused to take it), CONNECTION_LOST, TIMEOUT
   * and CANCELLED (it may have run), SERVER_ERROR, RESULT_TOO_LARGE (it ran). That the tool itself failed is a reply.
   */
  async call(tool: string, args: Readonly<Record<string, unknown>>, { onProgress, signal, timeoutMs }: CallOptions): Promise<ToolReply> {
    const { maxResultBytes, name: server } = this.definition;
    if (signal.aborted)
      throw new ToolFailure({
        code: "CANCELLED",
        server,
        tool,
        message: "The call was cancelled before it was sent; the tool has not run.",
      });
    if (this.#link === undefined || !this.#takesCalls) throw this.#unavailable(tool);
    const call = { server, tool, args, signal, onProgress, maxResultBytes, timeoutMs: timeoutMs ?? this.definition.timeoutMs };
    return callTool(this.#link, call, this.#redactor, (reason) => {
      this.#options.logger?.warn({ server, tool, reason: this.#clean(reason) }, "the answer of an MCP server was lost");
    });
  }

  status(): ConnectionStatus {
    const iso = (time: number | undefined): string | undefined => (time === undefined ? undefined : new Date(time).toISOString());
    return {
      state: this.#state,
      transport: this.#link?.kind ?? this.definition.transport?.kind,
      serverInfo: this.#link?.server,
      reason: this.#reason,
      lastError: this.#lastError,
      retries: this.#failures,
      nextRetryAt: iso(this.#nextRetryAt),
      latencyMs: this.#latencyMs,
      connectedAt: iso(this.#connectedAt),
      health: this.#health && { ok: this.#health.problem === undefined, checkedAt: new Date(this.#health.checkedAt).toISOString() },
      connections: this.#connections,
    };
  }

  /** Ends the connection and all attempts, for good. Resolves when nothing of them is left: a process group is dead. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort(new Error("the service closed the connection"));
    this.#link?.end("the service closed the connection");
    this.#hurry?.();
    await this.#running;
    this.#attempts.end();
  }

  /** There is a connection, and what is behind it was there when it was last looked at. */
  get #takesCalls(): boolean {
    const isUnknown = this.definition.healthCheck !== undefined && this.#health === undefined;
    return this.#link !== undefined && !isUnknown && this.#health?.problem?.isDown !== true;
  }

  #closed(): boolean {
    return this.#stop.signal.aborted;
  }

  async #run(definition: ConnectableDefinition): Promise<void> {
    while (!this.#closed()) {
      this.#attempts.begin();
      this.#to("connecting", undefined);
      const opened = await this.#open(definition);
      const failure = "link" in opened ? await this.#serve(opened) : opened;
      if (this.#closed()) break;
      this.#failures += 1;
      const delayMs = this.#asked ? 0 : backoffMs(this.#failures, RECONNECT_BACKOFF, this.#random);
      this.#nextRetryAt = this.#clock.now() + delayMs;
      this.#to(failure.reachable ? "degraded" : "down", failure.reason);
      this.#attempts.over();
      await this.#pause(delayMs);
      this.#asked = false;
      this.#nextRetryAt = undefined;
    }
    this.#to("down", "the service closed the connection");
  }

  #open(definition: ConnectableDefinition): Promise<Opened | Failure> {
    const { connectTimeoutMs, endingTimes, logger } = this.#options;
    return openConnection(
      { definition, connectTimeoutMs, endingTimes, logger, clock: this.#clock, redactor: this.#redactor, signal: this.#stop.signal },
      {
        onCatalogue: (catalogue) => {
          this.#refreshProblem = undefined;
          this.#catalogue = catalogue;
          this.#options.onCatalogue?.(catalogue);
          this.#judge();
        },
        onRefreshFailure: (error) => {
          this.#refreshProblem = `its tools cannot be listed again: ${reasonOf(error)}`;
          this.#judge();
        },
      },
    );
  }

  /** From the beginning of a connection to its end. */
  async #serve({ link, refresher }: Opened): Promise<Failure> {
    const connectedAt = this.#clock.now();
    this.#link = link;
    this.#connections += 1;
    this.#connectedAt = connectedAt;
    this.#refreshProblem = undefined;
    if (this.#closed()) link.end("the service closed the connection");
    const monitor = new HealthMonitor(link, () => this.#catalogue, {
      check: this.definition.healthCheck,
      clock: this.#clock,
      random: this.#random,
      onResult: ({ latencyMs, problem }) => {
        this.#latencyMs = latencyMs;
        this.#health = { problem, checkedAt: this.#clock.now() };
        begun();
      },
    });
    const begun = (): void => {
      this.#judge();
      this.#attempts.over();
    };
    // Without a check of what is behind it, a server that lists its tools is there.
    if (this.definition.healthCheck === undefined) begun();
    void monitor.check();
    const reason = await link.ended;
    monitor.stop();
    refresher.stop();
    this.#link = undefined;
    this.#connectedAt = undefined;
    this.#latencyMs = undefined;
    this.#health = undefined;
    this.#to("down", reason);
    this.#attempts.over();
    await link.close(this.#closed() ? 0 : GRACE_MS);
    if (this.#asked || this.#clock.now() - connectedAt >= STABLE_MS) this.#failures = 0;
    return { reachable: false, reason };
  }

  /** The state while there is a connection. */
  #judge(): void {
    if (this.#link === undefined || (this.definition.healthCheck !== undefined && this.#health === undefined)) return;
    const health = this.#health?.problem;
    const incomplete = this.#catalogue?.incomplete;
    const problem =
      health?.reason ?? this.#refreshProblem ?? (incomplete === undefined ? undefined : `its list of tools is not complete: ${incomplete}`);
    this.#to(problem === undefined ? "connected" : health?.isDown === true ? "down" : "degraded", problem);
  }

  #to(state: ServerState, reason: string | undefined): void {
    const from = this.#state;
    const clean = reason === undefined ? undefined : this.#clean(reason);
    this.#reason = clean;
    if (clean !== undefined) this.#lastError = clean;
    if (from === state) return;
    this.#state = state;
    // That the service ends it is what was wanted.
    const level = !this.#closed() && (state === "down" || state === "degraded") ? "warn" : "info";
    this.#options.logger?.[level]({ server: this.definition.name, from, to: state, reason: clean }, "MCP server changed its state");
    this.#options.onState?.({ from, to: state, reason: clean });
  }

  #clean(reason: string): string {
    return printable(this.#redactor.redact(reason)).slice(0, MAX_REASON_CHARS);
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const callOff = this.#clock.after(delayMs, resolve);
      this.#hurry = () => {
        callOff();
        resolve();
      };
    });
  }

  #unavailable(tool: string): ToolFailure {
    const { name: server } = this.definition;
    const how =
      this.#state === "disabled"
        ? "is disabled in the configuration"
        : this.#state === "connecting"
          ? "is not connected yet"
          : "is down; the service connects to it again by itself, and its operators see why";
    return new ToolFailure({
      code: "TOOL_UNAVAILABLE",
      server,
      tool,
      message: `The server ${JSON.stringify(server)} ${how}. The tool has not run.`,
    });
  }
}
