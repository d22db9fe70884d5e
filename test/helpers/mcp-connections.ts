/** Connections to MCP servers, for tests of them: what is opened here is closed after the test. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";

import type { Logger } from "pino";

import type { McpServerDefinition, ServerTransport } from "../../src/domain/mcp-server.ts";
import { ToolFailure } from "../../src/domain/tool-error.ts";
import type { ToolErrorCode } from "../../src/domain/tool-error.ts";
import { packageRoot } from "../../src/lib/package-info.ts";
import type { StateChange } from "../../src/mcp/connection-status.ts";
import type { ToolReply } from "../../src/mcp/reply.ts";
import { ServerConnection } from "../../src/mcp/server-connection.ts";
import type { ServerConnectionOptions } from "../../src/mcp/server-connection.ts";

const SCRIPTED = path.join(packageRoot, "test", "fixtures", "mcp", "stdio-server.mjs");

export const definition = (transport: ServerTransport, more: Partial<McpServerDefinition> = {}): McpServerDefinition => ({
  name: "scripted",
  transport,
  problem: undefined,
  enabled: true,
  timeoutMs: 10_000,
  tools: { allow: ["*"], deny: [] },
  aliases: {},
  arguments: {},
  rateLimit: { requestsPerMinute: 100, maxConcurrent: 10 },
  maxPayloadBytes: 1_000_000,
  maxResultBytes: 1_000_000,
  fallback: { mode: "error", responses: {} },
  healthCheck: undefined,
  secrets: [],
  ...more,
});

/** The scripted server as a process; the settings are its own. */
export const scripted = (settings: object = {}, more: Partial<Extract<ServerTransport, { kind: "stdio" }>> = {}): ServerTransport => ({
  kind: "stdio",
  command: process.execPath,
  args: [SCRIPTED, JSON.stringify(settings)],
  env: {},
  cwd: undefined,
  ...more,
});

export interface LoggedLine extends Readonly<Record<string, unknown>> {
  readonly message: string;
}

/** A connection with what it told. */
export interface Watched {
  readonly connection: ServerConnection;
  readonly changes: readonly StateChange[];
  readonly logged: readonly LoggedLine[];
  /** The answer to a call, which must come. */
  readonly call: (tool: string, args?: Readonly<Record<string, unknown>>, options?: CallOptions) => Promise<ToolReply>;
  /** The code with which a call fails, which it must. */
  readonly failure: (tool: string, args?: Readonly<Record<string, unknown>>, options?: CallOptions) => Promise<ToolFailure>;
  readonly states: () => string[];
}

type CallOptions = Partial<Parameters<ServerConnection["call"]>[2]>;

/** To be called inside a `describe`; gives what makes connections. */
export function useConnections(): (
  transport: ServerTransport,
  more?: Partial<McpServerDefinition>,
  options?: Partial<ServerConnectionOptions>,
) => Watched {
  const opened: ServerConnection[] = [];
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((connection) => connection.close()));
  });
  return (transport, more = {}, options = {}) => {
    const changes: StateChange[] = [];
    const logged: LoggedLine[] = [];
    const log = (fields: object, message: string): void => {
      logged.push({ ...fields, message });
    };
    const connection = new ServerConnection({
      definition: definition(transport, more),
      logger: { info: log, warn: log } as unknown as Logger,
      onState: (change) => changes.push(change),
      // Soon, but not at once: attempts follow each other as in life.
      random: () => 0.1,
      endingTimes: { inputMs: 200, termMs: 300 },
      ...options,
    });
    opened.push(connection);
    const call: Watched["call"] = (tool, args = {}, callOptions = {}) =>
      connection.call(tool, args, { signal: new AbortController().signal, ...callOptions });
    return {
      connection,
      changes,
      logged,
      call,
      failure: async (tool, args, callOptions) => {
        const outcome: unknown = await call(tool, args, callOptions).catch((error: unknown) => error);
        assert.ok(outcome instanceof ToolFailure, `${tool} did not fail as it should: ${JSON.stringify(outcome)}`);
        return outcome;
      },
      states: () => changes.map(({ to }) => to),
    };
  };
}

/** Starts the connection and waits for its first attempt. */
export async function connected(watched: Watched): Promise<Watched> {
  watched.connection.start();
  const usable = await watched.connection.usable(new AbortController().signal, 20_000);
  assert.ok(usable, `no connection: ${watched.connection.lastError ?? "no reason"}`);
  return watched;
}

/** Asserts the code, and that a message for programs gives nothing of the host away. */
export function assertFailure(failure: ToolFailure, code: ToolErrorCode, message = /./): void {
  assert.equal(failure.code, code, failure.message);
  assert.match(failure.message, message);
  assert.ok(!failure.message.includes(packageRoot), failure.message);
}

/** Whether the process runs: one that is dead and that nobody has asked after does not. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return !/^[ZX]$/.test(stat.charAt(stat.lastIndexOf(")") + 2));
  } catch {
    return false;
  }
}
