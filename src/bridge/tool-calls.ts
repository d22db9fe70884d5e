/**
 * The tool calls of one execution: from what its runner sends to the {@link ToolPort}, and back.
 *
 * What comes is hostile. A call of the wrong form ends the connection; a call is handed to the port once, whatever is sent. What calls
 * hold is bounded: nothing more is read while too many of them, or too much of their arguments, is here, and none is begun while the
 * runner does not read its answers. No answer depends on reading, so that neither can last longer than the calls do.
 */

import { setTimeout as sleep } from "node:timers/promises";

import type { ToolAnswer, ToolCallRequest, ToolProgress } from "../domain/tool-call.ts";
import { within } from "../lib/deadline.ts";
import { measureJson } from "../lib/json-shape.ts";
import type { JsonCaps } from "../lib/json-shape.ts";
import type { ToolPort } from "../sandbox/ports.ts";
import { Budget } from "../lib/budget.ts";
import type { BudgetLimits } from "../lib/budget.ts";
import { FrameError } from "./frames.ts";
import { PacedProgress } from "./paced-progress.ts";
import { MESSAGE_CAPS, TOOL_CAPS, toolArgumentsSchema, toolCallParamsSchema, toolCancelParamsSchema } from "./protocol.ts";
import type { ToolProgressParams } from "./protocol.ts";
import type { RunnerConnection, RunnerMessage } from "./runner-connection.ts";

export interface ToolCallLimits {
  /** Calls that are not answered yet; no more is read above it. */
  readonly pendingCalls: number;
  /** What the arguments of those take, roughly; no more is read above it. */
  readonly pendingBytes: number;
  /** Calls that the port has at once; the others wait here. */
  readonly underWay: number;
  /** No call is begun, and no progress passed on, while more than this waits to be read by the runner. */
  readonly unsentBytes: number;
  /** Messages as they come. */
  readonly bytes: BudgetLimits;
  /** Values and keys of arguments. */
  readonly parts: BudgetLimits;
  /** Between two messages on one call's progress. */
  readonly progressIntervalMs: number;
}

export const TOOL_CALL_LIMITS: ToolCallLimits = {
  pendingCalls: 1000,
  pendingBytes: 16 * 2 ** 20,
  underWay: 64,
  unsentBytes: 2 ** 20,
  bytes: { burst: 32 * 2 ** 20, perSecond: 32 * 2 ** 20, total: 2 ** 30 },
  parts: { burst: 1_000_000, perSecond: 500_000, total: Number.POSITIVE_INFINITY },
  progressIntervalMs: 50,
};

/** Memory of one value or key of parsed arguments, beside its bytes. */
const PART_BYTES = 40;

export interface ToolCallsDeps {
  readonly port: ToolPort;
  readonly connection: Pick<RunnerConnection, "notify" | "respond" | "unsentBytes">;
  readonly limits?: ToolCallLimits;
}

interface Call {
  readonly id: number;
  readonly request: ToolCallRequest;
  /** Counts against `pendingBytes`. */
  readonly heldBytes: number;
  readonly controller: AbortController;
  readonly progress: PacedProgress | undefined;
}

type Refusal = Extract<ToolAnswer, { ok: false }>["error"];

export class ToolCalls {
  readonly #port: ToolPort;
  readonly #connection: ToolCallsDeps["connection"];
  readonly #limits: ToolCallLimits;
  readonly #bytes: Budget;
  readonly #parts: Budget;
  /** All that are not answered. */
  readonly #calls = new Map<number, Call>();
  /** Those of them that the port does not have yet, in their order. */
  readonly #waiting = new Set<Call>();
  #heldBytes = 0;
  #lastId = -1;
  /** Whoever waits for a call to end. */
  #onEnd: (() => void)[] = [];
  readonly #stop = new AbortController();

  constructor({ connection, limits = TOOL_CALL_LIMITS, port }: ToolCallsDeps) {
    this.#port = port;
    this.#connection = connection;
    this.#limits = limits;
    this.#bytes = new Budget(limits.bytes);
    this.#parts = new Budget(limits.parts);
  }

  /**
   * Takes a `tool.call` or `tool.cancel`. Where it gives a promise, nothing more is to be read until that settles. Throws a
   * {@link FrameError} for what no runner sends.
   */
  message({ id, method, params, sizeBytes }: RunnerMessage): Promise<void> | undefined {
    if (this.isOver) return undefined;
    const paid = this.#bytes.take(sizeBytes);
    if (paid.kind === "spent") throw new FrameError("the sandbox sent more to tools than an execution may");
    const pauseMs = paid.kind === "pause" ? paid.forMs : 0;
    if (method === "tool.call" && id !== undefined) return this.#call(id, params, pauseMs);
    if (method === "tool.cancel" && id === undefined) return this.#cancel(params, pauseMs);
    throw new FrameError(`the sandbox sent ${JSON.stringify(method)} in the wrong form`);
  }

  /** Nothing is answered any more. */
  get isOver(): boolean {
    return this.#stop.signal.aborted;
  }

  /** The runner reads again. */
  drained(): void {
    this.#beginWaiting();
  }

  /** Waits for the calls that are left, `graceMs` at most, then aborts what is not answered. Never rejects. */
  async settle(graceMs: number): Promise<void> {
    const answered = async (): Promise<void> => {
      while (this.#calls.size > 0 && !this.isOver) await this.#nextEnd();
    };
    await within(answered(), graceMs, "the rest of the tool calls").catch(() => undefined);
    this.abort();
  }

  /** Aborts all calls; nothing more is answered. Those that waited go to the port all the same: it says what became of them. Idempotent. */
  abort(): void {
    if (this.isOver) return;
    this.#stop.abort();
    for (const call of this.#calls.values()) this.#abortCall(call);
    this.#announceEnd();
  }

  #call(id: number, params: unknown, pauseMs: number): Promise<void> | undefined {
    if (id <= this.#lastId) throw new FrameError("the sandbox sent two tool calls with one id");
    this.#lastId = id;
    const parsed = toolCallParamsSchema.safeParse(params);
    if (!parsed.success) throw new FrameError("the sandbox sent a tool call of the wrong form");
    const { progress, server, timeoutMs, tool } = parsed.data;

    const text = Buffer.from(parsed.data.arguments);
    const { exceeded, parts } = measureArguments(text);
    if (exceeded !== undefined) {
      this.#connection.respond(id, { ok: false, error: { ...refuse(exceeded), server, tool } } satisfies ToolAnswer);
      return this.#untilRoom(pauseMs);
    }
    const verdict = this.#parts.take(parts);
    const given = parseArguments(parsed.data.arguments);
    if (given === undefined) throw new FrameError("the sandbox sent a tool call of the wrong form");

    const heldBytes = text.byteLength + PART_BYTES * parts;
    const call: Call = {
      id,
      request: { server, tool, arguments: given, sizeBytes: text.byteLength, timeoutMs },
      heldBytes,
      controller: new AbortController(),
      progress: progress === true ? this.#progressOf(id) : undefined,
    };
    this.#calls.set(id, call);
    this.#heldBytes += heldBytes;
    this.#waiting.add(call);
    this.#beginWaiting();
    return this.#untilRoom(Math.max(pauseMs, verdict.kind === "pause" ? verdict.forMs : 0));
  }

  /** A call that is not there has been answered meanwhile: nobody is to blame. */
  #cancel(params: unknown, pauseMs: number): Promise<void> | undefined {
    const parsed = toolCancelParamsSchema.safeParse(params);
    if (!parsed.success) throw new FrameError('the sandbox sent "tool.cancel" in the wrong form');
    const call = this.#calls.get(parsed.data.id);
    if (call !== undefined) this.#abortCall(call);
    return this.#untilRoom(pauseMs);
  }

  /** An aborted call is answered at once, so that it needs no room. */
  #abortCall(call: Call): void {
    call.controller.abort();
    if (this.#waiting.has(call)) this.#begin(call);
  }

  #beginWaiting(): void {
    for (const call of this.#waiting) {
      const underWay = this.#calls.size - this.#waiting.size;
      if (underWay >= this.#limits.underWay || this.#connection.unsentBytes > this.#limits.unsentBytes) return;
      this.#begin(call);
    }
  }

  #begin(call: Call): void {
    const { controller, progress, request } = call;
    this.#waiting.delete(call);
    const onProgress = progress === undefined ? {} : { onProgress: progress.push.bind(progress) };
    const ask = async (): Promise<ToolAnswer> => this.#port.call(request, { signal: controller.signal, ...onProgress });
    ask().then(
      (answer) => {
        this.#end(call, answer);
      },
      () => {
        this.#end(call, internalFault(call));
      },
    );
  }

  #end(call: Call, answer: ToolAnswer): void {
    call.progress?.close();
    this.#calls.delete(call.id);
    this.#heldBytes -= call.heldBytes;
    if (!this.isOver) this.#answer(call, answer);
    this.#beginWaiting();
    this.#announceEnd();
  }

  #answer(call: Call, answer: ToolAnswer): void {
    try {
      this.#connection.respond(call.id, answer);
    } catch {
      // Nothing of it has been sent.
      this.#connection.respond(call.id, internalFault(call));
    }
  }

  #progressOf(id: number): PacedProgress {
    const send = ({ message, progress, total }: ToolProgress): void => {
      if (this.#connection.unsentBytes > this.#limits.unsentBytes) return;
      const params: ToolProgressParams = { id, progress, total, message: message?.slice(0, TOOL_CAPS.progressMessageChars) };
      this.#connection.notify("tool.progress", params);
    };
    return new PacedProgress({ intervalMs: this.#limits.progressIntervalMs, send });
  }

  /** Settles after `pauseMs`, and when there is room for a further call. */
  #untilRoom(pauseMs: number): Promise<void> | undefined {
    if (pauseMs === 0 && this.#hasRoom()) return undefined;
    return (async () => {
      if (pauseMs > 0) await sleep(pauseMs, undefined, { signal: this.#stop.signal }).catch(() => undefined);
      while (!this.#hasRoom() && !this.isOver) await this.#nextEnd();
    })();
  }

  #hasRoom(): boolean {
    return this.#calls.size < this.#limits.pendingCalls && this.#heldBytes < this.#limits.pendingBytes;
  }

  #nextEnd(): Promise<void> {
    return new Promise((resolve) => this.#onEnd.push(resolve));
  }

  #announceEnd(): void {
    const waiting = this.#onEnd;
    this.#onEnd = [];
    for (const resolve of waiting) resolve();
  }
}

type ExceededCap = keyof JsonCaps | "bytes";

function measureArguments(text: Buffer): { readonly exceeded: ExceededCap | undefined; readonly parts: number } {
  if (text.byteLength > TOOL_CAPS.argumentBytes) return { exceeded: "bytes", parts: 0 };
  return measureJson(text, { depth: MESSAGE_CAPS.depth, parts: TOOL_CAPS.argumentParts });
}

function parseArguments(text: string): ToolCallRequest["arguments"] | undefined {
  try {
    return toolArgumentsSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

function refuse(cap: ExceededCap): Pick<Refusal, "code" | "message"> {
  switch (cap) {
    case "bytes":
      return {
        code: "PAYLOAD_TOO_LARGE",
        message: `The arguments are larger than ${TOOL_CAPS.argumentBytes} bytes of JSON. Send less at once.`,
      };
    case "parts":
      return {
        code: "PAYLOAD_TOO_LARGE",
        message: `The arguments hold more than ${TOOL_CAPS.argumentParts} values and keys. Send less at once.`,
      };
    case "depth":
      return {
        code: "INVALID_ARGUMENTS",
        message: `The arguments are nested more than ${MESSAGE_CAPS.depth} levels deep. Send flatter ones.`,
      };
  }
}

function internalFault({ request: { server, tool } }: Call): ToolAnswer {
  const message = "The service failed to handle the call. The tool may have run.";
  return { ok: false, error: { code: "INTERNAL", server, tool, message } };
}
