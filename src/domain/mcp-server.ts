/** An MCP server as config/mcp-servers.json describes it: checked, variables filled in, defaults in place. */

export type ServerTransport =
  | {
      readonly kind: "stdio";
      readonly command: string;
      readonly args: readonly string[];
      /** The whole environment beside PATH, HOME and the few others that every child gets. */
      readonly env: Readonly<Record<string, string>>;
      readonly cwd: string | undefined;
    }
  | {
      /** `http` is streamable HTTP, and SSE where the server knows only that; `sse` is SSE alone. */
      readonly kind: "http" | "sse";
      readonly url: string;
      readonly headers: Readonly<Record<string, string>>;
    };

export interface McpServerDefinition {
  /** The key in the file. */
  readonly name: string;
  /** `undefined` when the file leaves something open: `problem` says what. */
  readonly transport: ServerTransport | undefined;
  /** Why there can be no connection, with file, server and variable: it is down until the configuration is mended. */
  readonly problem: string | undefined;
  readonly enabled: boolean;
  /** For one call, milliseconds. */
  readonly timeoutMs: number;
  readonly tools: {
    /** Patterns of tool names; "readOnly": what the server itself says changes nothing. */
    readonly allow: readonly string[] | "readOnly";
    readonly deny: readonly string[];
  };
  /** From another name to a tool's own. */
  readonly aliases: Readonly<Record<string, string>>;
  /** Names of the positional arguments, by tool. */
  readonly arguments: Readonly<Record<string, readonly string[]>>;
  readonly rateLimit: {
    /** Calls of all executions together, in any sixty seconds. */
    readonly requestsPerMinute: number;
    /** Calls under way at once; others wait for their turn. */
    readonly maxConcurrent: number;
  };
  /** Of the arguments of a call, as JSON. */
  readonly maxPayloadBytes: number;
  /** Of what a program gets, as JSON. */
  readonly maxResultBytes: number;
  readonly fallback: {
    readonly mode: "mock" | "error";
    /** The answer by tool, objects with `mock: true`. */
    readonly responses: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  };
  readonly healthCheck: { readonly url: string } | { readonly tool: string } | undefined;
  /** Values that came from variables, and what is in headers and environment: never to be logged. */
  readonly secrets: readonly string[];
}

/** What a definition that is made in code may leave out. */
export type ServerSettings = Pick<McpServerDefinition, "transport"> & Partial<Omit<McpServerDefinition, "name">>;

/** The definition with what was left out: as in a file that says nothing about it. */
export const defineServer = (name: string, settings: ServerSettings, timeoutMs: number): McpServerDefinition => ({
  problem: undefined,
  enabled: true,
  timeoutMs,
  tools: { allow: ["*"], deny: [] },
  aliases: {},
  arguments: {},
  rateLimit: { requestsPerMinute: 6000, maxConcurrent: 10 },
  maxPayloadBytes: 1_048_576,
  maxResultBytes: 1_048_576,
  fallback: { mode: "mock", responses: {} },
  healthCheck: undefined,
  secrets: [],
  ...settings,
  name,
});
