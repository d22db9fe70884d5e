/**
 * Carries out one call of a tool, from what the program wrote to the answer.
 *
 * In this order: server, a place among the execution's own calls, tool, lists, size, connection, arguments, a place among the server's
 * calls, and the call. Whatever fails before the last step was not sent, and says so. What fails in it is never repeated.
 */

import type { Logger } from "pino";

import { clipped, quoted } from "../domain/shown-text.ts";
import { TOOL_ERRORS, ToolFailure } from "../domain/tool-error.ts";
import type { SemaphorePermit } from "../lib/fair-semaphore.ts";
import type { JsonObject } from "../lib/json-object.ts";
import { alike } from "../lib/similar.ts";
import { StopSource } from "../lib/stop-source.ts";
import { INVALID_ARGUMENTS_SETTING } from "../security/security-manager.ts";
import type { Admission, SecurityManager } from "../security/security-manager.ts";
import { ArgumentsError, nameArguments } from "./arguments.ts";
import type { Call, CallEnd } from "./call.ts";
import { fallbackOf } from "./fallback.ts";
import type { ManagedServer } from "./managed-server.ts";
import type { ToolReply } from "./reply.ts";
import type { ServerDirectory } from "./server-directory.ts";

export interface ToolCallerDeps {
  readonly directory: ServerDirectory;
  readonly security: SecurityManager;
  readonly fallbackToMock: boolean;
  readonly logger: Logger | undefined;
}

/** A first connection is waited for so long at most, and not longer than this part of the call's time: so there is time to say so. */
const FIRST_CONNECTION_WAIT = { maxMs: 15_000, part: 0.75 };
/** JSON that was written in other words can become so many times as long: 1e20 is 100000000000000000000. */
const MAX_GROWTH = 8;
const MAX_REASON_CHARS = 500;

/** The time is over before the call was sent. */
class OutOfTime extends Error {
  override readonly name = "OutOfTime";
  readonly timeoutMs: number;

  constructor(timeoutMs: number) {
    super(`the call waited longer than ${timeoutMs} ms`);
    this.timeoutMs = timeoutMs;
  }
}

export class ToolCaller {
  readonly #deps: ToolCallerDeps;

  constructor(deps: ToolCallerDeps) {
    this.#deps = deps;
  }

  /** Never rejects: a failure is an end too. */
  async carryOut(call: Call): Promise<CallEnd> {
    try {
      return await this.#carryOut(call);
    } catch (error) {
      const failure = this.#failureOf(error, call);
      return { outcome: TOOL_ERRORS[failure.code].outcome, failure };
    }
  }

  async #carryOut(call: Call): Promise<CallEnd> {
    const server = this.#findServer(call);
    const timeoutMs = Math.min(call.request.timeoutMs ?? Infinity, server.definition.timeoutMs);
    const waits = new StopSource().follow(call.options.signal).abortAfter(timeoutMs - call.elapsedMs, () => new OutOfTime(timeoutMs));
    let own: SemaphorePermit | undefined;
    let admission: Admission | undefined;
    try {
      own = await call.origin.slots.acquire({ name: call.origin.executionId }, waits.signal);
      if (!(await this.#reach(call, server, timeoutMs, waits.signal))) return this.#withoutServer(call, server);
      call.args = this.#checkedArguments(call, server);
      admission = await this.#deps.security.admit(call.target, call.origin.executionId, waits.signal);
      waits.close();
      return await this.#send(call, server, admission, timeoutMs - call.elapsedMs);
    } finally {
      waits.close();
      admission?.release();
      own?.release();
    }
  }

  #findServer(call: Call): ManagedServer {
    const { directory } = this.#deps;
    const { server: word, tool } = call.request;
    call.server = directory.find(word);
    if (call.server !== undefined) return call.server;
    const known = directory.namespacesFor(call.origin.allowed).map(({ namespace }) => namespace);
    const message = `There is no server ${quoted(word)}.${meant(word, known)} Object.keys(tools) lists the servers.`;
    throw new ToolFailure({ code: "TOOL_NOT_FOUND", server: clipped(word), tool: clipped(tool), message });
  }

  /** Finds the tool, if the program may call it, and whether calls are sent. */
  async #reach(call: Call, server: ManagedServer, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    this.#findTool(call, server);
    this.#deps.security.checkSize(call.target, call.request.sizeBytes);
    server.start();
    if (server.connected) return true;
    const isUsable = await server.usable(signal, Math.min(FIRST_CONNECTION_WAIT.maxMs, FIRST_CONNECTION_WAIT.part * timeoutMs));
    signal.throwIfAborted();
    // It may have told of other tools by now than were known before.
    this.#findTool(call, server);
    return isUsable;
  }

  #findTool(call: Call, server: ManagedServer): void {
    const { directory, security } = this.#deps;
    const { tool: word } = call.request;
    call.tool = server.find(word);
    if (call.tool === undefined) throw this.#noSuchTool(call, server);
    security.checkAccess(call.target, directory.listed(server, call.tool), call.origin.allowed);
  }

  #noSuchTool(call: Call, server: ManagedServer): ToolFailure {
    const { directory } = this.#deps;
    const { tool: word } = call.request;
    const hidden = server.connection.catalogue?.hidden.find(({ name }) => name === word);
    const namespace = directory.namespaceOf(server) ?? server.name;
    const known = directory.callable(server, call.origin.allowed).flatMap((name) => server.names.wordsFor(name));
    const message =
      hidden === undefined
        ? `${clipped(server.name)} has no tool ${quoted(word)}.${meant(word, known)} Object.keys(tools.${clipped(namespace)}) lists them.`
        : `The tool ${quoted(word)} of ${clipped(server.name)} cannot be called: ${clipped(hidden.reason, MAX_REASON_CHARS)}.`;
    return new ToolFailure({ code: "TOOL_NOT_FOUND", ...call.target, message });
  }

  #checkedArguments(call: Call, server: ManagedServer): JsonObject {
    const { security } = this.#deps;
    const { definition } = server;
    const tool = call.tool?.definition;
    const name = call.target.tool;
    const schema = tool?.inputSchema;
    const order = Object.hasOwn(definition.arguments, name) ? definition.arguments[name] : undefined;
    const value = nameArguments(call.request.arguments, { order, schema });
    security.checkArguments(call.target, { value, schema });
    if (call.request.sizeBytes * MAX_GROWTH > definition.maxPayloadBytes) {
      security.checkSize(call.target, Buffer.byteLength(JSON.stringify(value)));
    }
    return value;
  }

  async #send(call: Call, server: ManagedServer, admission: Admission, timeoutMs: number): Promise<CallEnd> {
    const { onProgress, signal } = call.options;
    const { tool } = call.target;
    admission.sent();
    call.sentAt = performance.now();
    try {
      const reply = await server.connection.call(tool, call.args ?? {}, {
        signal,
        timeoutMs: Math.max(1, timeoutMs),
        ...(onProgress === undefined ? {} : { onProgress }),
      });
      call.resultBytes = reply.bytes;
      if (reply.isError) throw toolFailed(call, reply);
      return { outcome: "ok", value: reply.value };
    } catch (error) {
      if (!(error instanceof ToolFailure && error.code === "TOOL_UNAVAILABLE")) throw error;
      // The connection went before the call could be sent.
      call.sentAt = undefined;
      return this.#withoutServer(call, server, error);
    }
  }

  /** What comes of a call of a server that cannot be reached: nothing was sent. */
  #withoutServer(call: Call, server: ManagedServer, cause?: ToolFailure): CallEnd {
    const { definition } = server;
    const tool = call.tool?.definition;
    const name = call.target.tool;
    if (definition.enabled && this.#deps.fallbackToMock) {
      const value = fallbackOf(definition, name);
      if (value !== undefined) {
        // A mistake is one, whoever answers. Where nothing is known of the parameters there is nothing to go by.
        if (tool !== undefined || Object.hasOwn(definition.arguments, name)) call.args ??= this.#checkedArguments(call, server);
        return { outcome: "fallback", value };
      }
    }
    throw cause ?? this.#unavailable(call, server);
  }

  #unavailable(call: Call, server: ManagedServer): ToolFailure {
    const { nextRetryAt, state } = server.connection.status();
    const name = clipped(server.name);
    // Why there is no connection may name paths and addresses of the host: that is for operators.
    const reason = server.definition.enabled
      ? `${name} is ${state === "connecting" ? "not connected yet" : "down"}, and has no answer of its own for this tool${
          nextRetryAt === undefined ? "" : `; the next attempt to connect is at ${nextRetryAt}`
        }. Try again later, or do without it`
      : `${name} is disabled. Do without it, or have it enabled`;
    return new ToolFailure({
      code: "TOOL_UNAVAILABLE",
      ...call.target,
      message: `${nameOf(call)} was not called: ${reason}.`,
      data: { state, ...(nextRetryAt === undefined ? {} : { nextRetryAt }) },
    });
  }

  #failureOf(error: unknown, call: Call): ToolFailure {
    if (error instanceof ToolFailure) return error;
    const failed = (code: ToolFailure["code"], message: string, more: { data?: unknown; setting?: string; cause?: unknown } = {}) =>
      new ToolFailure({ code, ...call.target, message, ...more });
    if (error instanceof ArgumentsError) {
      return failed("INVALID_ARGUMENTS", `${nameOf(call)} ${error.message}.`, { setting: INVALID_ARGUMENTS_SETTING });
    }
    const wasSent = call.sentAt !== undefined;
    if (call.options.signal.aborted && !wasSent) {
      return failed("CANCELLED", `The call of ${nameOf(call)} was cancelled before it was sent.`, { data: { sent: false } });
    }
    if (error instanceof OutOfTime) {
      const message = `${nameOf(call)} was not called: the call waited ${error.timeoutMs} ms for its turn. Make fewer calls at once.`;
      return failed("TIMEOUT", message, { data: { sent: false } });
    }
    this.#deps.logger?.error({ ...call.target, executionId: call.origin.executionId, err: error }, "a tool call failed in the service");
    return failed("INTERNAL", `The call of ${nameOf(call)} failed in the service; its log says more.`, { cause: error });
  }
}

const nameOf = ({ target: { server, tool } }: Call): string => `${clipped(server)}.${clipped(tool)}`;

function meant(word: string, known: readonly string[]): string {
  const words = alike(word, known, 3).map((one) => quoted(one));
  return words.length === 0 ? "" : ` Did you mean ${words.join(" or ")}?`;
}

/** The tool's own words are the program's to read: as data, and the beginning of them in the message. */
function toolFailed(call: Call, { value }: ToolReply): ToolFailure {
  const text = typeof value === "string" ? value : (textIn(value) ?? JSON.stringify(value));
  const message = `${nameOf(call)} failed: ${clipped(text, MAX_REASON_CHARS)}`;
  return new ToolFailure({ code: "TOOL_FAILED", ...call.target, message, data: value });
}

function textIn(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { error, message } = value as { readonly error?: unknown; readonly message?: unknown };
  return [message, error].find((text) => typeof text === "string");
}
