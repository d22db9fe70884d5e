/** A connection to a server that is as a test says: the border at which processes and sockets begin. */

import type { McpServerDefinition } from "../../../src/domain/mcp-server.ts";
import { ToolFailure } from "../../../src/domain/tool-error.ts";
import type { Catalogue, ToolDefinition } from "../../../src/mcp/catalogue.ts";
import type { Connection } from "../../../src/mcp/managed-server.ts";
import type { ToolReply } from "../../../src/mcp/reply.ts";

export const replyOf = (value: unknown, isError = false): ToolReply => ({ value, isError, bytes: JSON.stringify(value).length });

export const toolNamed = (name: string, more: Partial<ToolDefinition> = {}): ToolDefinition => ({
  name,
  title: undefined,
  description: "",
  inputSchema: { type: "object" },
  outputSchema: undefined,
  annotations: {},
  ...more,
});

export const catalogueOf = (...tools: ToolDefinition[]): Catalogue => ({
  tools: new Map(tools.map((tool) => [tool.name, tool])),
  hidden: [],
  incomplete: undefined,
});

interface SentCall {
  readonly tool: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly signal: AbortSignal;
  readonly timeoutMs: number | undefined;
}

export class FakeConnection implements Connection {
  readonly definition: McpServerDefinition;
  state: Connection["state"];
  catalogue: Catalogue | undefined;
  lastError: string | undefined;
  started = 0;
  closed = false;
  /** What was sent, in order. */
  readonly sent: SentCall[] = [];
  /** What the server makes of a call. */
  answer: (call: SentCall) => ToolReply | Promise<ToolReply> = ({ args }) => replyOf(args);
  /** What is waited for before it is known whether the server can be used. */
  attempt: Promise<void> = Promise.resolve();
  /** What is waited for until nothing is left of it. */
  ending: Promise<void> = Promise.resolve();

  constructor(definition: McpServerDefinition, catalogue?: Catalogue) {
    this.definition = definition;
    this.catalogue = catalogue;
    this.state = !definition.enabled ? "disabled" : catalogue === undefined ? "down" : "connected";
  }

  start(): void {
    this.started += 1;
  }

  reconnect(): Promise<void> {
    return this.attempt;
  }

  async usable(signal: AbortSignal, timeoutMs: number): Promise<boolean> {
    const given = new Promise<void>((resolve) => {
      setTimeout(resolve, timeoutMs).unref();
      signal.addEventListener("abort", () => {
        resolve();
      });
    });
    await Promise.race([this.attempt, given]);
    return this.state === "connected" || this.state === "degraded";
  }

  async call(
    tool: string,
    args: Readonly<Record<string, unknown>>,
    { signal, timeoutMs }: { signal: AbortSignal; timeoutMs?: number | undefined },
  ): Promise<ToolReply> {
    const call = { tool, args, signal, timeoutMs };
    this.sent.push(call);
    let cancel = (): void => undefined;
    const cancelled = new Promise<never>((_, reject) => {
      cancel = () => {
        reject(new ToolFailure({ code: "CANCELLED", server: this.definition.name, tool, message: "cancelled" }));
      };
    });
    signal.addEventListener("abort", cancel);
    const answered = Promise.resolve().then(() => this.answer(call));
    return Promise.race([answered, cancelled]).finally(() => {
      signal.removeEventListener("abort", cancel);
    });
  }

  status(): ReturnType<Connection["status"]> {
    return {
      state: this.state,
      transport: "stdio",
      serverInfo: undefined,
      reason: this.lastError,
      lastError: this.lastError,
      retries: 0,
      nextRetryAt: undefined,
      latencyMs: undefined,
      connectedAt: undefined,
      health: undefined,
      connections: 1,
    };
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.ending;
  }
}
