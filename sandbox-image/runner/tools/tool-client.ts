/**
 * The program's calls of tools: each is a request to the service and a promise of its answer.
 *
 * While one is under way the socket keeps the event loop alive, as any open connection does; with none left the program ends as it
 * would without tools. A call that is not answered when the program ends is the service's to finish.
 */

import type { ToolCallResult, ToolProgressParams } from "../../../src/bridge/protocol.ts";
import type { Connection, IncomingMessage } from "../connection.ts";
import { PromiseClass, queueTask, stringifyJson } from "../intrinsics.ts";
import type { SerializeOptions } from "../serialize.ts";
import { ArgumentsError, CAPS } from "./arguments.ts";
import { readOptions } from "./call-options.ts";
import type { CallOptions } from "./call-options.ts";
import { CallSite } from "./tool-error.ts";
import type { ToolError } from "./tool-error.ts";

export interface ToolClientDeps {
  readonly connection: Pick<Connection, "keepAlive" | "post">;
  readonly describeError: SerializeOptions["describeError"];
}

/** What the program asks for. */
export interface Call {
  readonly server: unknown;
  readonly tool: unknown;
  /** Makes the arguments' text. May run the program's code, and throws an {@link ArgumentsError}. */
  readonly makeArguments: (describeError: SerializeOptions["describeError"]) => string;
  readonly options?: unknown;
  /** The function that the program called. */
  readonly entry: object;
}

interface Pending {
  readonly server: string;
  readonly tool: string;
  readonly site: CallSite;
  readonly onProgress: CallOptions["onProgress"];
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: ToolError) => void;
  /** Lets the program's signal go. */
  readonly release: () => void;
}

export class ToolClient {
  readonly #deps: ToolClientDeps;
  /** By id. */
  readonly #pending: Record<number, Pending> = Object.create(null) as Record<number, Pending>;
  #count = 0;
  #lastId = 0;

  constructor(deps: ToolClientDeps) {
    this.#deps = deps;
  }

  /** Never throws: what is wrong with a call rejects its promise. */
  call(call: Call): Promise<unknown> {
    const site = new CallSite(call.entry);
    return new PromiseClass((resolve, reject) => {
      const [server, tool] = [asName(call.server), asName(call.tool)];
      const fail = (code: ToolError["code"], message: string, cause?: unknown): void => {
        reject(site.fail(message, { code, server, tool, cause }));
      };
      try {
        checkNames(call);
        const options = readOptions(call.options);
        const given = call.makeArguments(this.#deps.describeError);
        if (options.signal?.aborted === true) fail("CANCELLED", NOT_SENT, options.signal.reason);
        else this.#send(given, { server, tool, site, resolve, reject }, options);
      } catch (error) {
        if (error instanceof ArgumentsError) fail(error.code, error.message);
        // What the program's own code threw, in a getter of its options.
        else throw error;
      }
    });
  }

  /** Takes the answers, and what is told of calls under way. What nobody waits for any more is dropped. */
  receive({ id, method, params, result }: IncomingMessage): void {
    if (method === "tool.progress") this.#progress(params as ToolProgressParams);
    else if (method === undefined && id !== undefined) this.#answer(id, result as ToolCallResult);
  }

  #send(given: string, call: Omit<Pending, "onProgress" | "release">, { onProgress, signal, timeoutMs }: CallOptions): void {
    const id = (this.#lastId += 1);
    const { server, site, tool } = call;
    const abort = (): void => {
      if (this.#take(id) === undefined) return;
      this.#deps.connection.post(`{"jsonrpc":"2.0","method":"tool.cancel","params":{"id":${id}}}`);
      call.reject(site.fail(CANCELLED, { code: "CANCELLED", server, tool, cause: signal?.reason }));
    };
    // Before anything is sent: it is the program's object, and may throw.
    signal?.addEventListener("abort", abort);
    this.#pending[id] = { ...call, onProgress, release: () => signal?.removeEventListener("abort", abort) };
    this.#count += 1;
    if (this.#count === 1) this.#deps.connection.keepAlive(true);
    // Written out, since a toJSON on Object.prototype would be asked for an object.
    const names = `"server":${stringifyJson(server)},"tool":${stringifyJson(tool)}`;
    const asked = `${timeoutMs === undefined ? "" : `,"timeoutMs":${timeoutMs}`}${onProgress === undefined ? "" : ',"progress":true'}`;
    const params = `{${names},"arguments":${stringifyJson(given)}${asked}}`;
    this.#deps.connection.post(`{"jsonrpc":"2.0","id":${id},"method":"tool.call","params":${params}}`);
  }

  #answer(id: number, answer: ToolCallResult): void {
    const call = this.#take(id);
    if (call === undefined) return;
    if (answer.ok) {
      call.resolve(answer.value);
      return;
    }
    const { message, ...fields } = answer.error;
    call.reject(call.site.fail(message, fields));
  }

  #progress({ id, message, progress, total }: ToolProgressParams): void {
    const onProgress = this.#pending[id]?.onProgress;
    // In a task of its own: what it throws is the program's, and must not get in the way of further messages.
    if (onProgress !== undefined) queueTask(() => onProgress({ progress, total, message }));
  }

  /** Takes a call out of those that are waited for. */
  #take(id: number): Pending | undefined {
    const call = this.#pending[id];
    if (call === undefined) return undefined;
    // eslint-disable-next-line @typescript-eslint/no-dynamic-delete -- a map whose methods the program cannot have patched
    delete this.#pending[id];
    this.#count -= 1;
    if (this.#count === 0) this.#deps.connection.keepAlive(false);
    call.release();
    return call;
  }
}

const NOT_SENT = "The call was cancelled before it was sent.";
const CANCELLED = "The program cancelled the call. The tool may have run all the same.";

const asName = (name: unknown): string => (typeof name === "string" ? name.slice(0, CAPS.nameChars) : "");

function checkNames({ server, tool }: Call): void {
  for (const [what, name] of [
    ["server", server],
    ["tool", tool],
  ] as const) {
    if (typeof name !== "string") throw new ArgumentsError("INVALID_ARGUMENTS", `The name of the ${what} must be a string.`);
    if (name.length > CAPS.nameChars)
      throw new ArgumentsError("TOOL_NOT_FOUND", `No ${what} has a name of more than ${CAPS.nameChars} characters.`);
  }
}
