/** The HTTP application on a real port, with a real RuntimeManager, and sandboxes that do what the test says. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, createServer, request as httpRequest } from "node:http";
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

import { pino } from "pino";
import type { z } from "zod";

import { NO_AUDIT } from "../../../src/domain/audit-event.ts";
import type { AuditEvent } from "../../../src/domain/audit-event.ts";
import { hashKey } from "../../../src/domain/caller.ts";
import type { ApiKey, Scope } from "../../../src/domain/caller.ts";
import { executionSchema } from "../../../src/domain/execution.ts";
import type { Execution } from "../../../src/domain/execution.ts";
import type { RuntimeDefinition } from "../../../src/domain/runtime.ts";
import { Admission } from "../../../src/execution/admission.ts";
import type { AdmissionLimits } from "../../../src/execution/admission.ts";
import { ExecutionService } from "../../../src/execution/execution-service.ts";
import { ExecutionStore } from "../../../src/execution/execution-store.ts";
import { NO_TOOL_ACCESS } from "../../../src/execution/tool-access.ts";
import type { ToolAccess, ToolServers } from "../../../src/execution/tool-access.ts";
import { RuntimeManager } from "../../../src/execution/runtime-manager.ts";
import { Authenticator } from "../../../src/http/authentication.ts";
import { errorBodySchema } from "../../../src/http/errors.ts";
import { createHttpApp } from "../../../src/http/server.ts";
import { Health } from "../../../src/observability/health.ts";
import { checkInputFiles } from "../../../src/sandbox/docker/workspace-folder.ts";
import { FakeSandboxes } from "./fake-sandboxes.ts";
import { runtimeOf } from "./policies.ts";

/** A key as tests write it. */
export interface TestKey extends Omit<ApiKey, "sha256"> {
  readonly key: string;
  readonly scopes: readonly Scope[];
}

export const hashed = (keys: readonly TestKey[]): ApiKey[] => keys.map(({ key, ...rest }) => ({ ...rest, sha256: hashKey(key) }));

export interface ServiceOptions {
  readonly keys?: readonly TestKey[] | undefined;
  readonly allowedHosts?: readonly string[];
  readonly maxBodyBytes?: number;
  readonly limits?: Partial<AdmissionLimits>;
  readonly runtimes?: readonly RuntimeDefinition[];
  readonly pingEngine?: () => Promise<unknown>;
  readonly tools?: ToolAccess & ToolServers;
  /** The address to listen on. */
  readonly host?: string;
}

export interface RequestOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as it is, if it is text or bytes, else as JSON with its Content-Type. */
  readonly body?: unknown;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body as JSON. */
  readonly json: unknown;
}

export interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly req?: { readonly id: string };
  readonly err?: { readonly message: string };
}

export class HttpService {
  readonly sandboxes = new FakeSandboxes();
  readonly log: LogLine[] = [];
  readonly audited: AuditEvent[] = [];
  readonly manager: RuntimeManager;
  readonly authenticator: Authenticator;
  readonly #server;
  readonly #requests = new Set<ClientRequest>();
  readonly #agent = new Agent({ keepAlive: true });

  constructor(options: ServiceOptions = {}) {
    const {
      allowedHosts = [],
      keys,
      limits = {},
      maxBodyBytes = 100_000,
      pingEngine = () => Promise.resolve(),
      runtimes = [runtimeOf()],
      tools = NO_TOOL_ACCESS,
    } = options;
    const logger = pino({ level: "debug" }, { write: (line: string) => this.log.push(JSON.parse(line) as LogLine) });
    const admission = new Admission({ maxRunning: 4, maxStarting: 4, maxQueued: 4, ...limits });
    admission.isShared = keys !== undefined && keys.length > 1;
    this.manager = new RuntimeManager({
      runtimes: new Map(runtimes.map((runtime) => [runtime.name, runtime])),
      executions: new ExecutionService({ admission, provider: this.sandboxes, tools, audit: NO_AUDIT, logger }),
      admission,
      store: new ExecutionStore({ ttlMs: 60_000, maxRecords: 100, maxBytes: 1e8 }),
      servers: tools,
      logger,
      audit: NO_AUDIT,
      checkRequest: checkInputFiles,
    });
    const health = new Health({
      version: "1.2.3",
      pingEngine,
      engine: { version: "29.0", apiVersion: "1.50", components: {} },
      knownHoles: [],
      inForce: () => ({
        images: [{ holds: "Node 24", tag: "image:tag" }],
        layers: [{ id: "seccomp", title: "Seccomp", required: true }],
        configuration: { loadedAt: "2026-01-01T00:00:00.000Z" },
      }),
      managerStatus: () => this.manager.status(),
      callers: () => admission.callers(),
      servers: () => tools.status(),
      audit: () => ({ enabled: false, entries: 0, waiting: 0, refuses: false }),
    });
    this.authenticator = new Authenticator(keys && hashed(keys));
    this.#server = createServer(
      createHttpApp({
        manager: this.manager,
        servers: tools,
        audit: {
          record: (event) => this.audited.push(event),
          query: () => Promise.resolve({ entries: [], next: undefined }),
        },
        health,
        authenticator: this.authenticator,
        allowedHosts,
        maxBodyBytes,
        version: "1.2.3",
        logger,
      }),
    );
  }

  static async start(options: ServiceOptions = {}): Promise<HttpService> {
    const service = new HttpService(options);
    service.#server.listen(0, options.host ?? "127.0.0.1");
    await once(service.#server, "listening");
    return service;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Sends a request without waiting for the answer; destroy it to disconnect. */
  open(path: string, { body, headers = {}, method }: RequestOptions = {}): ClientRequest {
    const { address, port } = this.#server.address() as AddressInfo;
    const isRaw = body === undefined || typeof body === "string" || Buffer.isBuffer(body);
    const sent = httpRequest({
      host: address,
      port,
      path,
      method: method ?? (body === undefined ? "GET" : "POST"),
      headers: { ...(isRaw ? {} : { "Content-Type": "application/json" }), ...headers },
      agent: this.#agent,
    });
    this.#requests.add(sent);
    sent.on("error", () => undefined);
    sent.end(isRaw ? body : JSON.stringify(body));
    return sent;
  }

  /** Sends a request and reads the whole answer. */
  async send(path: string, options: RequestOptions = {}): Promise<Answer> {
    return answerOf(this.open(path, options));
  }

  execute(fields: object = {}, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
    return this.send("/v1/executions", { body: { code: "return 1", ...fields }, headers });
  }

  async close(): Promise<void> {
    await this.manager.close(0, () => undefined);
    for (const request of this.#requests) request.destroy();
    this.#agent.destroy();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

/** Asserts that an answer is this error of the API, and gives it. */
export function errorOf(answer: Answer, status: number, code: string): z.infer<typeof errorBodySchema>["error"] {
  assert.equal(answer.status, status, answer.text);
  const { error } = errorBodySchema.parse(answer.json);
  assert.equal(error.code, code, answer.text);
  assert.equal(error.requestId, answer.headers["x-request-id"]);
  assert.match(answer.headers["content-type"]!, /^application\/json/);
  return error;
}

/** Asserts that an answer is an execution, and gives it. */
export function executionOf(answer: Answer): Execution {
  assert.equal(answer.status, 200, answer.text);
  return executionSchema.parse(answer.json);
}

/** The headers of an answer, as soon as they are there. */
export async function headOf(request: ClientRequest): Promise<IncomingMessage> {
  const [response] = (await once(request, "response")) as [IncomingMessage];
  return response;
}

async function answerOf(request: ClientRequest): Promise<Answer> {
  return restOf(await headOf(request));
}

/** The rest of an answer. */
export async function restOf(response: IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  return {
    status: response.statusCode!,
    headers: response.headers,
    text,
    get json(): unknown {
      return JSON.parse(text) as unknown;
    },
  };
}
