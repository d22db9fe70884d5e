/**
 * The service's end of the socket to one runner.
 *
 * Turns bytes into checked JSON-RPC messages and archive chunks, within budgets, a bounded number a turn of the event loop, so that
 * a sandbox that floods its socket cannot hold up its neighbours. It stops reading while its own answers wait to be read. What it
 * cannot accept ends the connection with a reason; it never throws at its caller.
 */

import type { Socket } from "node:net";

import { z } from "zod";

import { Budget } from "../lib/budget.ts";
import type { BudgetLimits } from "../lib/budget.ts";
import { encodeMessage, FrameDecoder, FrameError, FrameKind } from "./frames.ts";
import type { Frame } from "./frames.ts";
import { parseUntrustedJson } from "./json.ts";
import { MESSAGE_CAPS } from "./protocol.ts";

export interface RunnerConnectionLimits {
  readonly maxFrameBytes: number;
  readonly frames: BudgetLimits;
  readonly bytes: BudgetLimits;
  /** No further message is read while more than this waits to be read by the peer. */
  readonly maxUnsentBytes: number;
}

/** A request or notification of the runner's. Only its form is checked. */
export interface RunnerMessage {
  readonly method: string;
  readonly params: unknown;
  /** Of a request: what {@link RunnerConnection.respond} answers. */
  readonly id?: number | undefined;
  /** Bytes as they came. */
  readonly sizeBytes: number;
}

export interface RunnerEvents {
  /** Where it gives a promise, nothing more is read until that settles. */
  message(message: RunnerMessage): Promise<void> | undefined;
  /** As {@link message}: a disk may be slower than a sandbox. */
  archiveChunk(chunk: Buffer): Promise<void> | undefined;
  /** The peer has read what was sent, after it had not for a while. */
  drained(): void;
  /** The connection is over. `violation` says what the peer did wrong, if it did. Called once. */
  ended(violation: string | undefined): void;
}

const messageSchema = z.union([
  z.strictObject({
    jsonrpc: z.literal("2.0"),
    id: z.int().nonnegative().optional(),
    method: z.string().min(1).max(64),
    params: z.unknown(),
  }),
  z.strictObject({ jsonrpc: z.literal("2.0"), id: z.int().nonnegative(), result: z.unknown() }),
]);

/** Frames handled before the event loop gets its turn. */
const FRAMES_PER_TURN = 32;

interface PendingRequest {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class RunnerConnection {
  readonly #socket: Socket;
  readonly #events: RunnerEvents;
  readonly #limits: RunnerConnectionLimits;
  readonly #decoder: FrameDecoder;
  readonly #frames: Budget;
  readonly #bytes: Budget;
  readonly #pending = new Map<number, PendingRequest>();
  #nextRequestId = 1;
  #resumeTimer: NodeJS.Timeout | undefined;
  #scheduled = false;
  /** Something that takes time is being taken. */
  #taking = false;
  /** Nothing more can come; what is buffered is still handled. */
  #hungUp = false;
  #closed = false;

  constructor(socket: Socket, limits: RunnerConnectionLimits, events: RunnerEvents) {
    this.#socket = socket;
    this.#events = events;
    this.#limits = limits;
    this.#decoder = new FrameDecoder({ maxPayloadBytes: limits.maxFrameBytes });
    this.#frames = new Budget(limits.frames);
    this.#bytes = new Budget(limits.bytes);
    socket.on("data", (chunk: Buffer) => {
      this.#receive(chunk);
    });
    // A reset is an ordinary end here: the container was killed.
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.#hungUp = true;
      // What the peer sent before still counts. It may wait for its turn or its budget, but not for answers to be read.
      if (!this.#scheduled && this.#resumeTimer === undefined) this.#handleFrames();
    });
    socket.on("drain", () => {
      if (!this.#closed) events.drained();
    });
    // It was accepted paused, so that nothing is lost before somebody listens.
    socket.resume();
  }

  /** Sends a notification. Does nothing once the connection is over. */
  notify(method: string, params: object): void {
    if (!this.#closed) this.#socket.write(encodeMessage({ jsonrpc: "2.0", method, params }));
  }

  /** Sends a request; the answer is not checked yet. Rejects when the connection ends first. */
  request(method: string, params: object): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(new Error("the runner's connection is closed"));
        return;
      }
      const id = this.#nextRequestId++;
      this.#pending.set(id, { resolve, reject });
      this.#socket.write(encodeMessage({ jsonrpc: "2.0", id, method, params }));
    });
  }

  /** Answers a request of the peer's. Does nothing once the connection is over; throws what JSON cannot carry. */
  respond(id: number, result: unknown): void {
    if (!this.#closed) this.#socket.write(encodeMessage({ jsonrpc: "2.0", id, result }));
  }

  /** Bytes that wait to be read by the peer. */
  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  /** Ends the connection because of what the peer did. */
  fail(violation: string): void {
    this.#end(violation);
  }

  /** Ends the connection. Idempotent. */
  close(): void {
    this.#end(undefined);
  }

  #receive(chunk: Buffer): void {
    if (this.#closed) return;
    const verdict = this.#bytes.take(chunk.byteLength);
    if (verdict.kind === "spent") {
      this.#end("the sandbox sent more bytes than an execution may");
      return;
    }
    this.#decoder.push(chunk);
    if (verdict.kind === "pause") this.#pause(verdict.forMs);
    else this.#handleFrames();
  }

  /** Handles what is buffered, up to the share of one turn. Reading goes on when nothing whole is left. */
  #handleFrames(): void {
    if (this.#closed || this.#taking) return;
    try {
      for (let handled = 0; handled < FRAMES_PER_TURN; handled += 1) {
        const frame = this.#decoder.next();
        if (frame === undefined) {
          if (this.#hungUp) this.#end(undefined);
          else this.#socket.resume();
          return;
        }
        const verdict = this.#frames.take(1);
        if (verdict.kind === "spent") throw new FrameError("the sandbox sent more messages than an execution may");
        const taken = this.#handle(frame);
        if (this.#isClosed()) return;
        if (taken !== undefined) {
          this.#goOnAfter(taken, verdict.kind === "pause" ? verdict.forMs : 0);
          return;
        }
        if (verdict.kind === "pause") {
          this.#pause(verdict.forMs);
          return;
        }
        if (!this.#hungUp && this.#socket.writableLength > this.#limits.maxUnsentBytes) {
          this.#socket.pause();
          this.#socket.once("drain", () => {
            if (!this.#closed) this.#handleFrames();
          });
          return;
        }
      }
    } catch (error) {
      this.#end(error instanceof FrameError || error instanceof SyntaxError ? error.message : "the sandbox sent a message that is none");
      return;
    }
    this.#schedule();
  }

  /** Goes on in the next turn of the event loop. */
  #schedule(): void {
    this.#socket.pause();
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (!this.#closed) this.#handleFrames();
    });
  }

  /** Reads nothing until what came is taken, and not before `pauseMs` are over. */
  #goOnAfter(taken: Promise<void>, pauseMs: number): void {
    this.#socket.pause();
    this.#taking = true;
    taken.then(
      () => {
        this.#taking = false;
        if (this.#closed) return;
        if (pauseMs > 0) this.#pause(pauseMs);
        else this.#schedule();
      },
      () => {
        this.#end("what the sandbox sent could not be taken");
      },
    );
  }

  /** Gives a promise when the frame takes time. */
  #handle(frame: Frame): Promise<void> | undefined {
    if (frame.kind === FrameKind.archive) return this.#events.archiveChunk(frame.payload);
    const message = messageSchema.parse(parseUntrustedJson(frame.payload, MESSAGE_CAPS.depth));
    if ("method" in message) return this.#events.message({ ...message, sizeBytes: frame.payload.byteLength });
    const pending = this.#pending.get(message.id);
    if (pending === undefined) throw new FrameError("the sandbox answered a request that was not made");
    this.#pending.delete(message.id);
    pending.resolve(message.result);
    return undefined;
  }

  #pause(forMs: number): void {
    this.#socket.pause();
    this.#resumeTimer ??= setTimeout(() => {
      this.#resumeTimer = undefined;
      if (!this.#closed) this.#handleFrames();
    }, forMs);
  }

  // A method, since handlers can close the connection where the compiler cannot see it.
  #isClosed(): boolean {
    return this.#closed;
  }

  #end(violation: string | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#resumeTimer);
    this.#socket.destroy();
    for (const { reject } of this.#pending.values()) reject(new Error("the runner's connection is closed"));
    this.#pending.clear();
    this.#events.ended(violation);
  }
}
