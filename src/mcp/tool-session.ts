/** The tools of one execution: what it may call, its calls under way, and their list. */

import type { Denial } from "../domain/execution.ts";
import type { ToolAnswer, ToolCallRecord, ToolCallRequest, ToolNamespace, ToolProgress } from "../domain/tool-call.ts";
import { TOOL_ERRORS, ToolFailure } from "../domain/tool-error.ts";
import type { ToolOrder, ToolSession } from "../execution/tool-access.ts";
import { FairSemaphore } from "../lib/fair-semaphore.ts";
import { StopSource } from "../lib/stop-source.ts";
import { Call } from "./call.ts";
import type { CallEnd, CallOrigin } from "./call.ts";
import type { CallLedger } from "./call-ledger.ts";
import { CallList } from "./call-list.ts";
import type { ToolCaller } from "./tool-caller.ts";

/** Calls of one execution, whatever comes of them. */
const MAX_CALLS = 100_000;
/** Under way at once; more wait for their turn, up to the other two. */
const MAX_AT_ONCE = 64;
const MAX_WAITING = 10_000;
const MAX_WAITING_BYTES = 64 * 1024 * 1024;
const NO_SETTING = "none: what one execution may call is the same everywhere";

export interface ToolSessionDeps {
  readonly caller: ToolCaller;
  readonly ledger: CallLedger;
  readonly namespaces: readonly ToolNamespace[];
  /** Once no further call can come. */
  readonly onClose: () => void;
}

export class ExecutionToolSession implements ToolSession {
  readonly namespaces: readonly ToolNamespace[];
  readonly #order: ToolOrder;
  readonly #deps: ToolSessionDeps;
  readonly #origin: CallOrigin;
  readonly #list = new CallList();
  readonly #underWay = new Map<StopSource, Promise<ToolAnswer>>();
  #made = 0;
  #waitingBytes = 0;
  #programEnded = false;
  #degraded = false;
  #closing: Promise<void> | undefined;

  constructor(order: ToolOrder, deps: ToolSessionDeps) {
    this.#order = order;
    this.#deps = deps;
    this.namespaces = deps.namespaces;
    const { allowed, executionId, who } = order;
    this.#origin = { executionId, who, allowed, slots: new FairSemaphore(MAX_AT_ONCE) };
  }

  get calls(): readonly ToolCallRecord[] {
    return this.#list.calls;
  }

  get denials(): readonly Denial[] {
    return this.#list.denials;
  }

  get degraded(): boolean {
    return this.#degraded;
  }

  call(
    request: ToolCallRequest,
    { onProgress, signal }: { signal: AbortSignal; onProgress?: (progress: ToolProgress) => void },
  ): Promise<ToolAnswer> {
    const stop = new StopSource().follow(signal);
    const call = new Call(request, this.#origin, { signal: stop.signal, onProgress });
    if (this.#closing !== undefined) {
      stop.close();
      const message = "The call was not sent: the program has ended.";
      return Promise.resolve(answerOf(failing("CANCELLED", call, message)));
    }
    const refusal = this.#refusal(call);
    const answer = this.#carryOut(call, refusal).finally(() => {
      stop.close();
      this.#underWay.delete(stop);
    });
    this.#underWay.set(stop, answer);
    return answer;
  }

  programEnded(): void {
    this.#programEnded = true;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const stop of this.#underWay.keys()) stop.abort(new Error("the program has ended"));
    await Promise.all(this.#underWay.values());
    this.#deps.onClose();
  }

  async #carryOut(call: Call, refusal: CallEnd | undefined): Promise<ToolAnswer> {
    const { caller, ledger } = this.#deps;
    const { sizeBytes } = call.request;
    this.#waitingBytes += sizeBytes;
    const end = refusal ?? (await caller.carryOut(call));
    this.#waitingBytes -= sizeBytes;
    const record = { ...ledger.enter(call, end), ...(this.#programEnded ? { afterEnd: true as const } : {}) };
    if ("failure" in end) this.#list.addDenial(end.failure);
    if (end.outcome === "fallback") this.#degraded = true;
    if (this.#list.add(record)) this.#order.onCall(record);
    return answerOf(end);
  }

  #refusal(call: Call): CallEnd | undefined {
    this.#made += 1;
    if (this.#made > MAX_CALLS) {
      return failing("TOO_MANY_CALLS", call, `The call was not sent: a program may make ${MAX_CALLS} calls of tools, and this one has.`);
    }
    if (this.#underWay.size < MAX_WAITING && this.#waitingBytes + call.request.sizeBytes <= MAX_WAITING_BYTES) return undefined;
    return failing(
      "TOO_MANY_CALLS",
      call,
      `The call was not sent: ${this.#underWay.size} calls with ${this.#waitingBytes} bytes of arguments are under way, which is as much as can wait. Await some of them first.`,
    );
  }
}

function failing(code: "CANCELLED" | "TOO_MANY_CALLS", call: Call, message: string): CallEnd {
  const { outcome } = TOOL_ERRORS[code];
  const setting = outcome === "denied" ? NO_SETTING : undefined;
  return { outcome, failure: new ToolFailure({ code, ...call.target, message, setting, data: { sent: false } }) };
}

function answerOf(end: CallEnd): ToolAnswer {
  if (!("failure" in end)) return { ok: true, value: end.value };
  const { code, data, message, server, tool } = end.failure;
  return { ok: false, error: { code, server, tool, message, ...(data === undefined ? {} : { data }) } };
}
