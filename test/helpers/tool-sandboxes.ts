/**
 * Programs in real sandboxes, with tools that a test answers itself: everything of the service but HTTP and the servers.
 */

import assert from "node:assert/strict";
import { readFile, rm } from "node:fs/promises";

import { pino } from "pino";

import { readEnvironment } from "../../src/config/environment.ts";
import { parseRuntimes } from "../../src/config/runtimes-file.ts";
import { NO_AUDIT } from "../../src/domain/audit-event.ts";
import type { Execution } from "../../src/domain/execution.ts";
import { executionRequestSchema } from "../../src/domain/execution.ts";
import type { ToolAnswer, ToolCallRequest, ToolNamespace, ToolProgress } from "../../src/domain/tool-call.ts";
import { Admission } from "../../src/execution/admission.ts";
import { ExecutionService } from "../../src/execution/execution-service.ts";
import { ExecutionStore } from "../../src/execution/execution-store.ts";
import { RuntimeManager } from "../../src/execution/runtime-manager.ts";
import { NO_TOOL_ACCESS } from "../../src/execution/tool-access.ts";
import type { ToolAccess, ToolSession } from "../../src/execution/tool-access.ts";
import { CleanupStack } from "../../src/lib/cleanup-stack.ts";
import { packageRoot } from "../../src/lib/package-info.ts";
import { openSandboxes } from "../../src/sandbox/docker/open-sandboxes.ts";
import { checkInputFiles } from "../../src/sandbox/docker/workspace-folder.ts";
import { NO_TOOLS } from "../../src/sandbox/ports.ts";
import type { ToolPort } from "../../src/sandbox/ports.ts";
import { makeTempFolder, writeSetUp } from "./service.ts";
import type { ServiceOptions } from "./service.ts";

export interface CallOptions {
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: ToolProgress) => void;
}

/** Answers one tool: what it returns is the value, a promise is awaited. */
export type Tool = (request: ToolCallRequest, options: CallOptions) => unknown;

/** The port of one program: a table of tools by server and name; the first functions are named in the catalogue. */
export class TablePort implements ToolPort {
  readonly namespaces: readonly ToolNamespace[];
  readonly requests: ToolCallRequest[] = [];
  /** Calls that were aborted before they had an answer. */
  aborted = 0;
  /** Those of them that came only to be told of: they had waited for their turn. */
  neverBegun = 0;
  /** The number of calls that were over when the program ended; `undefined` while it runs. */
  answeredAtEnd: number | undefined;
  answered = 0;
  readonly #tools: Readonly<Record<string, Readonly<Record<string, Tool>>>>;

  constructor(tools: Readonly<Record<string, Readonly<Record<string, Tool>>>>) {
    this.#tools = tools;
    this.namespaces = Object.entries(tools).map(([server, functions]) => ({
      server,
      namespace: server,
      functions: Object.keys(functions),
    }));
  }

  async call(request: ToolCallRequest, options: CallOptions): Promise<ToolAnswer> {
    this.requests.push(request);
    if (options.signal.aborted) this.neverBegun += 1;
    const { server, tool } = request;
    const answer = this.#tools[server]?.[tool];
    if (answer === undefined)
      return { ok: false, error: { code: "TOOL_NOT_FOUND", server, tool, message: `There is no tool "${tool}".`, data: { alike: [] } } };
    const { promise, release } = untilAborted(options.signal);
    try {
      const value = await Promise.race([promise, Promise.resolve(answer(request, options))]);
      if (value !== ABORTED) return { ok: true, value };
      this.aborted += 1;
      return { ok: false, error: { code: "CANCELLED", server, tool, message: "cancelled" } };
    } catch (error) {
      return { ok: false, error: { code: "TOOL_FAILED", server, tool, message: (error as Error).message } };
    } finally {
      release();
      this.answered += 1;
    }
  }

  programEnded(): void {
    this.answeredAtEnd = this.answered;
  }
}

const ABORTED = Symbol("aborted");

function untilAborted(signal: AbortSignal): { promise: Promise<typeof ABORTED>; release: () => void } {
  let onAbort: () => void = () => undefined;
  const promise = new Promise<typeof ABORTED>((resolve) => {
    onAbort = () => {
      resolve(ABORTED);
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort);
  });
  return {
    promise,
    release: () => {
      signal.removeEventListener("abort", onAbort);
    },
  };
}

/** The port as what an execution wants of tools. Nothing is recorded. */
function sessionOf(port: ToolPort): ToolSession {
  return {
    ...NO_TOOL_ACCESS.open(),
    namespaces: port.namespaces,
    call: (request, options) => port.call(request, options),
    programEnded: () => {
      port.programEnded();
    },
  };
}

export class ToolSandboxes {
  readonly #folder: string;
  readonly #cleanup: CleanupStack;
  readonly #failures: string[] = [];
  /** By the name of the caller, which is another one for each program. */
  readonly #ports = new Map<string, ToolPort>();
  #manager: RuntimeManager | undefined;

  private constructor(folder: string) {
    this.#folder = folder;
    this.#cleanup = new CleanupStack({ onError: (step, error) => this.#failures.push(`${step}: ${String(error)}`) });
  }

  static async open(options: ServiceOptions = {}): Promise<ToolSandboxes> {
    const sandboxes = new ToolSandboxes(await makeTempFolder());
    try {
      await sandboxes.#open(options);
      return sandboxes;
    } catch (error) {
      await sandboxes.close();
      throw error;
    }
  }

  async #open(options: ServiceOptions): Promise<void> {
    const config = readEnvironment({ env: await writeSetUp(this.#folder, options), cwd: this.#folder });
    const logger = pino({ level: "silent" });
    const { runtimes } = parseRuntimes(await readFile(config.runtimesFile, "utf8"), config.runtimesFile);
    const sandboxes = await openSandboxes({ config, runtimes, packageRoot, logger }, this.#cleanup);
    const admission = new Admission(config);
    const tools: ToolAccess = { open: ({ who }) => sessionOf(this.#ports.get(who) ?? NO_TOOLS) };
    this.#manager = new RuntimeManager({
      runtimes: sandboxes.runtimes,
      executions: new ExecutionService({ admission, provider: sandboxes.provider, tools, audit: NO_AUDIT, logger }),
      admission,
      servers: NO_TOOL_ACCESS,
      store: new ExecutionStore({ maxRecords: 1000, maxBytes: 2 ** 26, ttlMs: 60_000 }),
      logger,
      audit: NO_AUDIT,
      checkRequest: checkInputFiles,
    });
  }

  /** Runs a program whose calls the port answers. */
  async run(code: string, port: ToolPort, request: object = {}, signal = new AbortController().signal): Promise<Execution> {
    const name = `test-${this.#ports.size}`;
    this.#ports.set(name, port);
    return this.#manager!.execute(executionRequestSchema.parse({ code, ...request }), { caller: { name }, signal });
  }

  /** Ends what runs and removes everything; fails when something could not be removed. */
  async close(): Promise<void> {
    await this.#manager?.close(0, () => undefined);
    await this.#cleanup.close();
    await rm(this.#folder, { recursive: true, force: true });
    assert.deepEqual(this.#failures, []);
  }
}
