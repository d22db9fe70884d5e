/** Whether a connected server is well: it answers, and so does what is configured as its health check. */

import type { McpServerDefinition } from "../domain/mcp-server.ts";
import { isJsonObject } from "../lib/json-object.ts";
import type { Catalogue } from "./catalogue.ts";
import type { Clock } from "./clock.ts";
import { guardedFetch, readBody } from "./guarded-fetch.ts";
import { reasonOf } from "./link.ts";
import type { Link } from "./link.ts";
import { readReply } from "./reply.ts";

const INTERVAL_MS = 30_000;
/** While it is not well: calls wait for it. */
const UNWELL_INTERVAL_MS = 5000;
const TIMEOUT_MS = 5000;
const MAX_BODY_BYTES = 65_536;
/** A server that leaves so many questions in a row without an answer is connected to again. */
const MAX_SILENCES = 3;
/** What services say in `status` when they are not well, and whether they can do nothing at all then. */
const UNWELL: ReadonlyMap<unknown, { readonly isDown: boolean }> = new Map<unknown, { readonly isDown: boolean }>([
  ["degraded", { isDown: false }],
  ...["down", "error", "fail", "failed", "unhealthy", "critical"].map((status) => [status, { isDown: true }] as const),
]);

export interface HealthProblem {
  /** Not redacted. */
  readonly reason: string;
  /** What is behind the server is not there: calls would come to nothing. */
  readonly isDown: boolean;
}

export interface HealthMonitorOptions {
  readonly check: McpServerDefinition["healthCheck"];
  readonly clock: Clock;
  readonly random: () => number;
  /** The result of each check. */
  readonly onResult: (result: { readonly problem: HealthProblem | undefined; readonly latencyMs: number | undefined }) => void;
}

/** Checks one connection, at once and then in intervals, until it is stopped. */
export class HealthMonitor {
  readonly #options: HealthMonitorOptions;
  readonly #link: Link;
  readonly #catalogue: () => Catalogue | undefined;
  readonly #abort = new AbortController();
  #callOff: (() => void) | undefined;
  #silences = 0;

  constructor(link: Link, catalogue: () => Catalogue | undefined, options: HealthMonitorOptions) {
    this.#link = link;
    this.#catalogue = catalogue;
    this.#options = options;
  }

  async check(): Promise<void> {
    const startedAt = performance.now();
    const alive = await this.#link.ping();
    const latencyMs = alive === "alive" ? Math.round((performance.now() - startedAt) * 10) / 10 : undefined;
    this.#silences = alive === "silent" ? this.#silences + 1 : 0;
    if (this.#silences >= MAX_SILENCES) this.#link.end(`the server did not answer ${MAX_SILENCES} pings in a row`);
    const silence = { reason: "the server does not answer a ping", isDown: false };
    const problem = alive === "silent" ? silence : alive === "alive" ? await this.#configured() : undefined;
    if (this.#abort.signal.aborted || alive === "dead") return;
    this.#options.onResult({ problem, latencyMs });
    // Not all servers in step.
    const intervalMs = problem === undefined ? INTERVAL_MS : UNWELL_INTERVAL_MS;
    this.#callOff = this.#options.clock.after(intervalMs * (0.8 + 0.4 * this.#options.random()), () => void this.check());
  }

  stop(): void {
    this.#abort.abort();
    this.#callOff?.();
  }

  #configured(): Promise<HealthProblem | undefined> {
    const { check } = this.#options;
    if (check === undefined) return Promise.resolve(undefined);
    return "url" in check ? this.#ofUrl(new URL(check.url)) : this.#ofTool(check.tool);
  }

  /** No configured header is sent along: the address may be anywhere. */
  async #ofUrl(url: URL): Promise<HealthProblem | undefined> {
    const abort = new AbortController();
    const giveUp = (): void => {
      abort.abort();
    };
    const timer = setTimeout(giveUp, TIMEOUT_MS);
    this.#abort.signal.addEventListener("abort", giveUp);
    try {
      const response = await guardedFetch(url, { method: "GET", headers: { accept: "application/json" }, abort });
      const body = await readBody(response, MAX_BODY_BYTES);
      if (!response.ok) return down(`the health check answers with HTTP ${response.status}`);
      return body === undefined ? undefined : problemIn(parsed(body.toString("utf8")));
    } catch (error) {
      return down(`the health check fails: ${abort.signal.aborted ? `no answer within ${TIMEOUT_MS} ms` : reasonOf(error)}`);
    } finally {
      clearTimeout(timer);
      this.#abort.signal.removeEventListener("abort", giveUp);
    }
  }

  async #ofTool(name: string): Promise<HealthProblem | undefined> {
    const tool = this.#catalogue()?.tools.get(name);
    if (tool === undefined) return misplaced(`the health check's tool ${JSON.stringify(name)} is not among the server's tools`);
    if (tool.annotations.readOnlyHint === false || tool.annotations.destructiveHint === true)
      return misplaced(`the health check's tool ${JSON.stringify(name)} is not called: the server says that it changes something`);
    const abort = new AbortController();
    const timer = setTimeout(() => {
      abort.abort();
    }, TIMEOUT_MS);
    try {
      const reply = readReply(await this.#link.request("tools/call", { name, arguments: {} }, { signal: abort.signal }));
      if (reply.isError) return down(`the health check's tool reports a failure: ${JSON.stringify(reply.value)}`);
      return problemIn(reply.value);
    } catch (error) {
      return down(`the health check's tool fails: ${abort.signal.aborted ? `no answer within ${TIMEOUT_MS} ms` : reasonOf(error)}`);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Services answer with 200 when they are not well, and say so in the body. */
function problemIn(answer: unknown): HealthProblem | undefined {
  const unwell = UNWELL.get(isJsonObject(answer) ? answer["status"] : undefined);
  return unwell && { reason: `its health check says: ${JSON.stringify(answer)}`, ...unwell };
}

const down = (reason: string): HealthProblem => ({ reason, isDown: true });

/** The check cannot be made as it is configured, which says nothing of the server. */
const misplaced = (reason: string): HealthProblem => ({ reason, isDown: false });

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
