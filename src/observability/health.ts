/** Whether the service can run code right now, and what it is made of. */

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
  /** Those who run or wait. */
  readonly callers: () => readonly CallerStatus[];
}

export interface HealthReport {
  readonly status: "ok" | "down";
  readonly version: string;
}

export interface DetailedHealthReport extends HealthReport {
  readonly engine: HealthDeps["engine"] & { readonly answers: boolean };
  readonly images: readonly { readonly holds: string; readonly tag: string }[];
  readonly layers: readonly LayerReport[];
  readonly configuration: ConfigurationReport;
  readonly knownHoles: HealthDeps["knownHoles"];
  readonly executions: ManagerStatus & { readonly callers?: readonly CallerStatus[] };
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

  /** In full, for those with a key; with what each of the callers has, for an admin. */
  async detailed(show = { callers: false }): Promise<DetailedHealthReport> {
    const { callers, engine, inForce, knownHoles, managerStatus, version } = this.#deps;
    const answers = await this.#engineAnswers();
    const executions = { ...managerStatus(), ...(show.callers ? { callers: callers() } : {}) };
    const status = answers && executions.accepting ? "ok" : "down";
    const { configuration, images, layers } = inForce();
    return { status, version, engine: { ...engine, answers }, configuration, images, layers, knownHoles, executions };
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
