/**
 * The MCP servers, and the calls of their tools: what the service, the command line and the library have of `mcp/`.
 *
 * A facade. What a call goes through is in `tool-caller.ts`; one execution's calls are `tool-session.ts`; one server is
 * `managed-server.ts`, and its connection `server-connection.ts`.
 */

import type { Logger } from "pino";

import type { AuditSink } from "../domain/audit-event.ts";
import { AppError } from "../domain/errors.ts";
import { defineServer } from "../domain/mcp-server.ts";
import type { McpServerDefinition, ServerSettings } from "../domain/mcp-server.ts";
import type { ServerBrief, ServerStatus, ToolDescription } from "../domain/server-status.ts";
import { quoted } from "../domain/shown-text.ts";
import type { ToolCallRequest, ToolProgress } from "../domain/tool-call.ts";
import { ToolFailure } from "../domain/tool-error.ts";
import type { ToolAccess, ToolOrder, ToolServers, ToolSession } from "../execution/tool-access.ts";
import { coalesce } from "../lib/coalesce.ts";
import { FairSemaphore } from "../lib/fair-semaphore.ts";
import { SecurityManager } from "../security/security-manager.ts";
import { Call } from "./call.ts";
import { CallLedger } from "./call-ledger.ts";
import { briefOf, describeTools, statusOf } from "./descriptions.ts";
import { ManagedServer } from "./managed-server.ts";
import type { Connect } from "./managed-server.ts";
import { ServerConnection } from "./server-connection.ts";
import { ServerDirectory } from "./server-directory.ts";
import { ToolCaller } from "./tool-caller.ts";
import { ExecutionToolSession } from "./tool-session.ts";

export interface MCPClientManagerOptions {
  /** Whether a tool with a configured answer gives it while its server is down. Default: true. */
  readonly fallbackToMock?: boolean;
  /** Whether calls a minute and the content of arguments are checked. Default: true. */
  readonly securityEnabled?: boolean;
  /** Milliseconds for a call of a server whose definition does not say. Default: 30000. */
  readonly timeout?: number;
  /** By name. None if left out: {@link MCPClientManager.replaceServers} takes them too. */
  readonly servers?: Servers | undefined;
  readonly logger?: Logger | undefined;
  readonly audit?: AuditSink | undefined;
  /** Whether the audit log is told the arguments of calls. Default: false. */
  readonly auditArguments?: boolean;
  /** `background`: `start` connects to all servers. `onCall`: a server is connected to when it is first called. Default: `background`. */
  readonly connect?: "background" | "onCall";
  /** For tests: what opens a connection. */
  readonly openConnection?: Connect;
}

/** Definitions, as a configuration gives them, or settings that leave out what is as usual. */
export type Servers = ReadonlyMap<string, McpServerDefinition | ServerSettings>;

export interface CallToolOptions {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
  readonly onProgress?: ((progress: ToolProgress) => void) | undefined;
  /** For the audit log. */
  readonly who?: string | undefined;
}

const DEFAULT_TIMEOUT_MS = 30_000;
/** In place of an execution's id, for calls that none makes. */
const NO_EXECUTION = "none";
/** An attempt to connect ends before. */
const ATTEMPT_MS = 120_000;
const NEVER = new AbortController().signal;

export class MCPClientManager implements ToolAccess, ToolServers {
  readonly #options: MCPClientManagerOptions;
  readonly #security: SecurityManager;
  readonly #directory: ServerDirectory;
  readonly #caller: ToolCaller;
  readonly #ledger: CallLedger;
  readonly #connect: Connect;
  #definitions: Servers;
  readonly #replace = coalesce(() => this.#applyDefinitions());
  #started = false;
  #closed = false;
  #closing: Promise<void> | undefined;

  constructor(options: MCPClientManagerOptions = {}) {
    this.#options = options;
    const { audit, auditArguments = false, fallbackToMock = true, logger, securityEnabled = true, servers = new Map() } = options;
    this.#security = new SecurityManager({ enabled: securityEnabled });
    this.#directory = new ServerDirectory(this.#security);
    this.#caller = new ToolCaller({ directory: this.#directory, security: this.#security, fallbackToMock, logger });
    this.#ledger = new CallLedger({ logger, audit, auditArguments });
    this.#connect = options.openConnection ?? ((definition) => this.#openConnection(definition));
    this.#definitions = servers;
    this.#directory.replace(this.#completed(servers).map((definition) => this.#add(definition)));
  }

  /** Connects to every server in the background, where that is the mode. Idempotent. */
  start(): void {
    this.#started = true;
    if (this.#options.connect !== "onCall") for (const server of this.#directory.all) server.start();
  }

  open(order: ToolOrder): ToolSession {
    return new ExecutionToolSession(order, {
      caller: this.#caller,
      ledger: this.#ledger,
      namespaces: this.#directory.namespacesFor(order.allowed),
      onClose: () => {
        this.#security.forget(order.executionId);
      },
    });
  }

  /**
   * One call from outside of any execution, with named (an object) or positional (a list) arguments. Servers and tools go by the same
   * names, lists and limits as for programs. Throws a `ToolFailure`.
   */
  async callTool(
    server: string,
    tool: string,
    args: Readonly<Record<string, unknown>> | readonly unknown[] = {},
    { onProgress, signal = new AbortController().signal, timeoutMs, who = NO_EXECUTION }: CallToolOptions = {},
  ): Promise<unknown> {
    const request: ToolCallRequest = { server, tool, ...asJson(server, tool, args), timeoutMs };
    const slots = new FairSemaphore(1);
    const call = new Call(request, { executionId: NO_EXECUTION, who, allowed: [], slots }, { signal, onProgress });
    const end = await this.#caller.carryOut(call);
    this.#ledger.enter(call, end);
    if ("failure" in end) throw end.failure;
    return end.value;
  }

  status(): readonly ServerStatus[] {
    return this.#directory.all.map((server) => statusOf(server, this.#directory));
  }

  /** As {@link status}, in brief. */
  states(): readonly ServerBrief[] {
    return this.#directory.all.map((server) => briefOf(server, this.#directory));
  }

  tools(allowed: readonly (readonly string[] | undefined)[] = []): readonly ToolDescription[] {
    return this.#directory.all.flatMap((server) => describeTools(server, this.#directory, allowed));
  }

  reconnect(name: string): Promise<ServerStatus> {
    return this.#command(name, (server) => server.reconnect());
  }

  enable(name: string): Promise<ServerStatus> {
    return this.#command(name, async (server) => {
      await server.setEnabled(true);
      server.start();
      await server.usable(NEVER, ATTEMPT_MS);
    });
  }

  disable(name: string): Promise<ServerStatus> {
    return this.#command(name, (server) => server.setEnabled(false));
  }

  /** Resolves when the first attempts to connect are over, or after `timeoutMs`, or when the signal is aborted. */
  async settled(timeoutMs: number, signal: AbortSignal = NEVER): Promise<void> {
    await Promise.all(this.#directory.all.map((server) => server.usable(signal, timeoutMs)));
  }

  /**
   * Takes another set of servers: those that stay the same keep their connection, and a definition that changes in what the connection
   * does not go by, such as its lists, does too. Resolves when nothing is left of the others.
   */
  replaceServers(servers: Servers): Promise<void> {
    this.#definitions = servers;
    return this.#replace();
  }

  /** Ends every connection. Idempotent; resolves when all processes of servers are dead. */
  close(): Promise<void> {
    this.#closed = true;
    this.#closing ??= Promise.all([...this.#directory.all.map((server) => server.close()), this.#replace()]).then(() => undefined);
    return this.#closing;
  }

  async #command(name: string, command: (server: ManagedServer) => Promise<void>): Promise<ServerStatus> {
    const server = this.#directory.get(name);
    if (server === undefined) {
      const names = this.#directory.all.map((one) => quoted(one.name)).join(", ");
      throw new AppError({ code: "NOT_FOUND", message: `There is no server ${quoted(name)}. There are: ${names || "none"}.` });
    }
    await command(server);
    return statusOf(server, this.#directory);
  }

  async #applyDefinitions(): Promise<void> {
    if (this.#closed) return;
    const definitions = this.#completed(this.#definitions);
    const before = this.#directory.all;
    const kept = new Set(definitions.map(({ name }) => name));
    const updates: Promise<void>[] = [];
    const servers = definitions.map((definition) => {
      const known = this.#directory.get(definition.name);
      if (known === undefined) return this.#add(definition);
      this.#security.setServer(definition.name, definition);
      updates.push(known.update(definition));
      return known;
    });
    this.#directory.replace(servers);
    const gone = before.filter(({ name }) => !kept.has(name));
    for (const { name } of gone) this.#security.removeServer(name);
    if (this.#started) this.start();
    await Promise.all([...updates, ...gone.map((server) => server.close())]);
  }

  #add(definition: McpServerDefinition): ManagedServer {
    this.#security.setServer(definition.name, definition);
    return new ManagedServer(definition, this.#connect);
  }

  #completed(servers: Servers): McpServerDefinition[] {
    const { timeout = DEFAULT_TIMEOUT_MS } = this.#options;
    return [...servers].map(([name, settings]) => defineServer(name, settings, timeout));
  }

  #openConnection(definition: McpServerDefinition): ServerConnection {
    const { audit, logger } = this.#options;
    return new ServerConnection({
      definition,
      ...(logger === undefined ? {} : { logger }),
      onState: ({ from, reason, to }) => audit?.record({ type: "server.state", server: definition.name, from, to, reason }),
    });
  }
}

/** Arguments of a caller in this process, as a program's would come. Throws INVALID_ARGUMENTS for what is no JSON. */
function asJson(server: string, tool: string, args: object): Pick<ToolCallRequest, "arguments" | "sizeBytes"> {
  try {
    const text = JSON.stringify(args);
    const value = JSON.parse(text) as Record<string, unknown> | unknown[];
    const given = args as readonly unknown[];
    return {
      arguments: Array.isArray(value)
        ? { positional: value.map((one, index) => (given[index] === undefined ? [] : [one])) }
        : { named: value },
      sizeBytes: Buffer.byteLength(text),
    };
  } catch (cause) {
    const message = `The arguments cannot be sent as JSON: ${cause instanceof Error ? cause.message : String(cause)}.`;
    throw new ToolFailure({ code: "INVALID_ARGUMENTS", server, tool, message, cause });
  }
}
