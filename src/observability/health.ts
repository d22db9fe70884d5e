/** Whether the service can run code right now, and what it is made of. */

import type { ServerBrief } from "../domain/server-status.ts";
import type { CallerStatus } from "../execution/admission.ts";
import type { ManagerStatus } from "../execution/runtime-manager.ts";
import { within } from "../lib/deadline.ts";

export interface LayerReport {
  readonly id: string;
  readonly title: string;
  readonly required: boolean;
  readonly problem?: string;
}

/** When the configuration was loaded, and the last failure to load another, without what is the operator's alone. */
export interface ConfigurationReport {
  readonly loadedAt: string;
  readonly lastError?: { readonly at: string; readonly message: string };
}

export interface HealthDeps {
  readonly version: string;
  /** Asks the engine for a sign of life; rejects when there is none. */
  readonly pingEngine: () => Promise<unknown>;
  readonly engine: { readonly version: string; readonly apiVersion: string; readonly components: Readonly<Record<string, string>> };
  /** What is in force now, and what each of its images holds, in words, with its name. */
  readonly inForce: () => {
    readonly images: readonly { readonly holds: string; readonly tag: string }[];
    readonly layers: readonly LayerReport[];
    readonly configuration: ConfigurationReport;
  };
  /** Advisories that are open, by the versions of the engine's parts. */
  readonly knownHoles: readonly { readonly id: string; readonly component: string; readonly version: string }[];
  readonly managerStatus: () => ManagerStatus;
  /** The MCP servers. */
  readonly servers: () => readonly ServerBrief[];
  readonly audit: () => AuditReport;
  /** Those who run or wait. */
  readonly callers: () => readonly CallerStatus[];
}

export interface AuditReport {
  readonly enabled: boolean;
  readonly entries: number;
  /** Entries that are not in the files yet. */
  readonly waiting: number;
  /** Why nothing can be written; there while it is so. */
  readonly problem?: string;
  /** Nothing runs meanwhile. */
  readonly refuses: boolean;
}

export interface HealthReport {
  /** "degraded": code can be run, and an MCP server that is enabled cannot be called, or only in part. */
  readonly status: "ok" | "degraded" | "down";
  readonly version: string;
}

/** A server in brief; `/v1/servers` has the rest. */
type ServerReport = Pick<ServerBrief, "name" | "state" | "reason">;

export interface DetailedHealthReport extends HealthReport {
  readonly engine: HealthDeps["engine"] & { readonly answers: boolean };
  readonly images: readonly { readonly holds: string; readonly tag: string }[];
  readonly layers: readonly LayerReport[];
  readonly configuration: ConfigurationReport;
  readonly knownHoles: HealthDeps["knownHoles"];
  readonly servers: readonly ServerReport[];
  readonly audit: AuditReport;
  readonly executions: ManagerStatus & { readonly callers?: readonly CallerStatus[] };
}

/** What of a detailed report its reader gets. */
interface Shown {
  readonly callers: boolean;
  readonly server: (server: ServerBrief) => boolean;
}

const PING_TIMEOUT_MS = 2000;
/** Questions that come closer together share one answer of the engine. */
const PING_CACHE_MS = 1000;

export class Health {
  readonly #deps: HealthDeps;
  #ping: { readonly at: number; readonly answers: Promise<boolean> } | undefined;

  constructor(deps: HealthDeps) {
    this.#deps = deps;
  }

  /** In brief, for anybody. */
  async report(): Promise<HealthReport> {
    const { status, version } = await this.detailed();
    return { status, version };
  }

  /** In full, for those with a key; with what each of the callers has, for an admin; with the servers that the key may know of. */
  async detailed(show: Shown = { callers: false, server: () => true }): Promise<DetailedHealthReport> {
    const audit = this.#deps.audit();
    const { callers, engine, inForce, knownHoles, managerStatus, servers: allServers, version } = this.#deps;
    const answers = await this.#engineAnswers();
    const executions = { ...managerStatus(), ...(show.callers ? { callers: callers() } : {}) };
    const found = allServers();
    const canRun = answers && executions.accepting && !audit.refuses;
    const status = !canRun ? "down" : found.some(isImpaired) ? "degraded" : "ok";
    const servers = found.filter(show.server).map(summarize);
    const { configuration, images, layers } = inForce();
    return { status, version, engine: { ...engine, answers }, configuration, images, layers, knownHoles, servers, audit, executions };
  }

  #engineAnswers(): Promise<boolean> {
    const now = performance.now();
    if (this.#ping === undefined || now - this.#ping.at > PING_CACHE_MS) {
      const answers = within(this.#deps.pingEngine(), PING_TIMEOUT_MS, "the engine's answer").then(
        () => true,
        () => false,
      );
      this.#ping = { at: now, answers };
    }
    return this.#ping.answers;
  }
}

/** One that connects for the first time is not in the way of anything yet. */
const isImpaired = ({ state }: ServerBrief): boolean => state === "down" || state === "degraded";

const summarize = ({ name, reason, state }: ServerBrief): ServerReport => ({ name, state, ...(reason === undefined ? {} : { reason }) });
