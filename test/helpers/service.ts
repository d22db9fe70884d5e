/**
 * A real service on a real engine for one test file: its own configuration, workspace, state and port. Closing it asserts that
 * nothing is left behind.
 */

import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import Docker from "dockerode";
import { pino } from "pino";

import { startApp } from "../../src/app.ts";
import type { App } from "../../src/app.ts";
import type { ReloadOutcome } from "../../src/configuration.ts";
import { readAuditKey } from "../../src/audit/audit-key.ts";
import { verifyAuditLog } from "../../src/audit/verify.ts";
import { readEnvironment } from "../../src/config/environment.ts";
import type { ServiceConfig } from "../../src/config/environment.ts";
import type { Execution } from "../../src/domain/execution.ts";
import { connectEngine } from "../../src/sandbox/docker/engine.ts";
import { LABEL } from "../../src/sandbox/docker/labels.ts";

export const docker: Docker = connectEngine(process.env["DOCKER_HOST"]);

/** The permissions of the runtime `node` in the tests' configuration. */
const DEFAULT_PERMISSIONS = {
  fileSystem: { read: ["./data", "./config"], write: ["./temp"], execute: [] },
  network: { allowedHosts: [], allowedPorts: [] },
  system: { allowedCommands: [], maxProcesses: 1 },
};

export interface ServiceOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** The `runtimes` of runtimes.json; default: one named `node`. */
  readonly runtimes?: Readonly<Record<string, object>>;
  /** The `mcpServers` of mcp-servers.json; default: there is no such file. */
  readonly mcpServers?: Readonly<Record<string, object>>;
  /** Of the service's own log; default: info. */
  readonly logLevel?: string;
  /** Called with the workspace before the service starts. */
  readonly prepare?: (workspace: string) => Promise<void>;
}

export interface Answer<T = Execution> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: T;
}

export interface ErrorBody {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly details: { path: string; message: string }[];
    readonly requestId: string;
  };
}

/** A folder below the system's for temporary files, with a short name since unix sockets live in it. */
export const makeTempFolder = (): Promise<string> => mkdtemp(path.join(tmpdir(), "cm-"));

/** Writes a configuration and a workspace into `folder` and gives the environment that names them. */
export async function writeSetUp(folder: string, options: ServiceOptions = {}): Promise<Record<string, string>> {
  const workspace = path.join(folder, "workspace");
  for (const name of ["workspace/data", "workspace/config", "config", "state"]) await mkdir(path.join(folder, name), { recursive: true });
  await writeFile(path.join(workspace, "data", "numbers.txt"), "1\n2\n3\n");
  const runtimes = options.runtimes ?? { node: { permissions: DEFAULT_PERMISSIONS, limits: { maxTimeoutMs: 60_000 } } };
  await writeFile(path.join(folder, "config", "runtimes.json"), JSON.stringify({ runtimes }));
  const { mcpServers } = options;
  if (mcpServers !== undefined) await writeFile(path.join(folder, "config", "mcp-servers.json"), JSON.stringify({ mcpServers }));
  await options.prepare?.(workspace);
  return {
    CODE_MODE_PORT: "0",
    CODE_MODE_CONFIG_DIR: path.join(folder, "config"),
    CODE_MODE_WORKSPACE_ROOT: workspace,
    CODE_MODE_STATE_DIR: path.join(folder, "state"),
    CODE_MODE_AUDIT_DIR: path.join(folder, "audit"),
    CODE_MODE_AUDIT_KEY_FILE: path.join(folder, "audit-key", "audit.key"),
    ...(process.env["DOCKER_HOST"] === undefined ? {} : { DOCKER_HOST: process.env["DOCKER_HOST"] }),
    ...options.env,
  };
}

export class TestService {
  readonly folder: string;
  readonly logLines: string[];
  readonly #app: App;
  readonly #audit: ServiceConfig["audit"];

  private constructor(folder: string, app: App, audit: ServiceConfig["audit"], logLines: string[]) {
    this.folder = folder;
    this.#app = app;
    this.#audit = audit;
    this.logLines = logLines;
  }

  static async start(options: ServiceOptions = {}): Promise<TestService> {
    const folder = await makeTempFolder();
    const logLines: string[] = [];
    try {
      const env = await writeSetUp(folder, options);
      const logger = pino({ level: options.logLevel ?? "info" }, { write: (line: string) => void logLines.push(line) });
      const config = readEnvironment({ env, cwd: folder });
      const app = await startApp(config, logger);
      return new TestService(folder, app, config.audit, logLines);
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  get url(): string {
    return this.#app.url;
  }

  get workspace(): string {
    return path.join(this.folder, "workspace");
  }

  /** Sends a request body as it is. */
  async post<T = Execution>(body: unknown, init: RequestInit = {}): Promise<Answer<T>> {
    const response = await fetch(`${this.url}/v1/executions`, {
      method: "POST",
      ...init,
      headers: { "content-type": "application/json", ...(init.headers as Record<string, string> | undefined) },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
    return { status: response.status, headers: response.headers, body: (await response.json()) as T };
  }

  /** Runs a program and gives its execution; anything but a 200 fails the test. */
  async run(code: string, request: object = {}): Promise<Execution> {
    const { body, status } = await this.post({ code, ...request });
    assert.equal(status, 200, JSON.stringify(body));
    return body;
  }

  /** The result of a program that must complete. */
  async result(code: string, request: object = {}): Promise<unknown> {
    const execution = await this.run(code, request);
    assert.equal(execution.status, "completed", JSON.stringify(execution));
    return execution.result;
  }

  async get<T>(where: string, init: RequestInit = {}): Promise<Answer<T>> {
    const response = await fetch(`${this.url}${where}`, init);
    return { status: response.status, headers: response.headers, body: (await response.json()) as T };
  }

  /** Writes the file of the runtimes: as an object, or as any text. */
  async writeRuntimes(runtimes: Readonly<Record<string, object>> | string): Promise<void> {
    const text = typeof runtimes === "string" ? runtimes : JSON.stringify({ runtimes });
    await writeFile(path.join(this.folder, "config", "runtimes.json"), text);
  }

  /** Writes the file of the MCP servers: as an object, or as any text. */
  async writeMcpServers(mcpServers: Readonly<Record<string, object>> | string): Promise<void> {
    const text = typeof mcpServers === "string" ? mcpServers : JSON.stringify({ mcpServers });
    await writeFile(path.join(this.folder, "config", "mcp-servers.json"), text);
  }

  /** Has the service take the configuration as it is now. */
  reload(): Promise<ReloadOutcome> {
    return this.#app.reload();
  }

  /** Ids of this service's sandboxes that are still there. */
  async sandboxes(): Promise<string[]> {
    return (await this.#containers()).filter((container) => container.Labels[LABEL.kind] === "sandbox").map((container) => container.Id);
  }

  /** Closes the service, then asserts that no container, volume or file of it is left. `beforeRemoval` is the last before its folder goes. */
  async close(beforeRemoval: () => void = () => undefined): Promise<void> {
    await this.#app.close();
    try {
      assert.deepEqual(await this.#containers(), [], "containers are left");
      const { Volumes: volumes } = await docker.listVolumes({ filters: JSON.stringify({ label: [LABEL.runDirectory] }) });
      const own = volumes.filter((volume) => volume.Labels[LABEL.runDirectory]?.startsWith(this.folder));
      assert.deepEqual(own, [], "volumes are left");
      assert.deepEqual(await readdir(path.join(this.folder, "state")), [], "the state folder is not empty");
      await this.#assertAudited();
    } finally {
      beforeRemoval();
      await rm(this.folder, { recursive: true, force: true });
    }
  }

  /** The audit log is as it was written. A test that wants none, or its own, says so in the environment. */
  async #assertAudited(): Promise<void> {
    const { enabled, folder, keyFile } = this.#audit;
    if (!enabled) return;
    const { lines, problems } = await verifyAuditLog({ folder, keyFile, key: await readAuditKey(keyFile) });
    assert.deepEqual(problems, [], "the audit log is not whole");
    assert.ok(lines > 0, "the audit log is empty");
  }

  async #containers(): Promise<Docker.ContainerInfo[]> {
    const containers = await docker.listContainers({ all: true, filters: { label: [LABEL.instance] } });
    return containers.filter((container) => container.Labels[LABEL.runDirectory]?.startsWith(this.folder));
  }
}

/** Waits until the condition holds; fails after `timeoutMs`. */
export async function eventually(what: string, condition: () => Promise<boolean> | boolean, timeoutMs = 10_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > end) assert.fail(`did not happen within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
