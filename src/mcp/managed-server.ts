/**
 * One server as the manager has it: its definition, its connection, the names of its tools, and what became of calls.
 *
 * Definition and connection can be replaced at run time. Changes are made one after the other, and the next connection is opened when
 * nothing is left of the last.
 */

import { isDeepStrictEqual } from "node:util";

import type { McpServerDefinition } from "../domain/mcp-server.ts";
import { beforeAbort } from "../lib/deadline.ts";
import type { ListedTool } from "../security/tool-lists.ts";
import type { Catalogue, ToolDefinition } from "./catalogue.ts";
import { ServerCounters } from "./counters.ts";
import { NOT_FOR_TOOLS } from "./identifiers.ts";
import { Names } from "./names.ts";
import type { ServerConnection } from "./server-connection.ts";

export type Connection = Pick<
  ServerConnection,
  "call" | "catalogue" | "close" | "lastError" | "reconnect" | "start" | "state" | "status" | "usable"
>;
export type Connect = (definition: McpServerDefinition) => Connection;

/** What a program's word for a tool leads to. */
export interface FoundTool {
  readonly name: string;
  /** `undefined` as long as the server has told of none. */
  readonly definition: ToolDefinition | undefined;
  /** False for a word that may be a tool's: the server has told of none, and the configuration does not speak of it. */
  readonly known: boolean;
}

/** What of a definition the connection goes by: as long as these stay, it can too. */
const CONNECTION_PARTS = ["enabled", "healthCheck", "maxResultBytes", "problem", "secrets", "timeoutMs", "transport"] as const;

export class ManagedServer {
  readonly name: string;
  readonly counters = new ServerCounters();
  readonly #connect: Connect;
  /** As the configuration has it. */
  #configured: McpServerDefinition;
  /** What an operator made of `enabled` since. */
  #override: boolean | undefined;
  #definition: McpServerDefinition;
  #connection: Connection;
  #names: { readonly of: Catalogue | undefined; readonly by: McpServerDefinition; readonly names: Names } | undefined;
  #started = false;
  #closed = false;
  /** The last of the changes that are under way. */
  #changing: Promise<void> | undefined;

  constructor(definition: McpServerDefinition, connect: Connect) {
    this.name = definition.name;
    this.#configured = definition;
    this.#definition = definition;
    this.#connect = connect;
    this.#connection = connect(definition);
  }

  get definition(): McpServerDefinition {
    return this.#definition;
  }

  get connection(): Connection {
    return this.#connection;
  }

  /** Names of its tools; before it has told of any, of those that the configuration speaks of. */
  get names(): Names {
    const { catalogue } = this.#connection;
    if (this.#names?.of !== catalogue || this.#names?.by !== this.#definition) {
      const { aliases } = this.#definition;
      const names = new Names({ names: catalogue?.tools.keys() ?? configuredTools(this.#definition), aliases, taken: NOT_FOR_TOOLS });
      this.#names = { of: catalogue, by: this.#definition, names };
    }
    return this.#names.names;
  }

  /** The tool that a program's word stands for; `undefined` when the server is known to have none. */
  find(word: string): FoundTool | undefined {
    const { catalogue } = this.#connection;
    const name = this.names.resolve(word);
    if (name === undefined) return catalogue === undefined ? { name: word, definition: undefined, known: false } : undefined;
    return { name, definition: catalogue?.tools.get(name), known: true };
  }

  /** A tool as lists look at it. `words`: what stands for the server. */
  listed({ definition, name }: FoundTool, words: readonly string[]): ListedTool {
    const tools = this.names.wordsFor(name);
    const readOnly = definition === undefined ? undefined : definition.annotations.readOnlyHint === true;
    return { server: this.name, names: { servers: words, tools: tools.length === 0 ? [name] : tools }, readOnly };
  }

  /** Connects in the background. Idempotent. */
  start(): void {
    this.#started = true;
    if (this.#changing === undefined && !this.#closed) this.#connection.start();
  }

  /** Calls are sent. Where this is false they may be all the same: {@link usable} knows. */
  get connected(): boolean {
    return this.#connection.state === "connected";
  }

  /** Waits for a change or a first attempt that is under way. Gives whether calls are sent. */
  async usable(signal: AbortSignal, timeoutMs: number): Promise<boolean> {
    if (this.#changing !== undefined) await beforeAbort(this.#changing, signal);
    return this.#connection.usable(signal, timeoutMs);
  }

  async reconnect(): Promise<void> {
    await this.#changing;
    this.#started = true;
    if (!this.#closed) await this.#connection.reconnect();
  }

  /** Takes another definition of the same name. Resolves when nothing is left of a connection that had to go. */
  async update(definition: McpServerDefinition): Promise<void> {
    await this.#change(() => {
      if (definition.enabled !== this.#configured.enabled) this.#override = undefined;
      this.#configured = definition;
    });
  }

  /** Turns the server on or off, until the configuration says something else of that. */
  async setEnabled(enabled: boolean): Promise<void> {
    await this.#change(() => {
      this.#override = enabled;
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#changing;
    await this.#connection.close();
  }

  async #change(apply: () => void): Promise<void> {
    const change = (this.#changing ?? Promise.resolve()).then(() => this.#make(apply));
    this.#changing = change;
    try {
      await change;
    } finally {
      if (this.#changing === change) {
        this.#changing = undefined;
        if (this.#started) this.start();
      }
    }
  }

  /** Makes a change, and has another connection where this one does not fit any more. */
  async #make(apply: () => void): Promise<void> {
    apply();
    const before = this.#definition;
    const definition = { ...this.#configured, enabled: this.#override ?? this.#configured.enabled };
    if (isDeepStrictEqual(definition, before)) return;
    this.#definition = definition;
    if (this.#closed || CONNECTION_PARTS.every((part) => isDeepStrictEqual(definition[part], before[part]))) return;
    const last = this.#connection;
    this.#connection = this.#connect(definition);
    await last.close();
  }
}

function configuredTools({ aliases, arguments: positional, fallback }: McpServerDefinition): Set<string> {
  return new Set([...Object.keys(positional), ...Object.values(aliases), ...Object.keys(fallback.responses)]);
}
