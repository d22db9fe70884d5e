/**
 * The runner's end of `tools.sock`.
 *
 * Two ways of using it, one after the other. While the program runs, frames arrive through the event loop, which the socket keeps alive
 * only where it is told to, and go out without waiting. From {@link Connection.takeOver} on the event loop is out of it: frames are
 * read straight from the descriptor, so that nothing that the program left behind can come between, and sending is synchronous.
 */

import { connect as connectSocket } from "node:net";
import type { Socket } from "node:net";

import { encodeFrame, FrameDecoder, FrameKind } from "../../src/bridge/frames.ts";
import type { Frame } from "../../src/bridge/frames.ts";
import { Buffer, parseJson, stringifyJson } from "./intrinsics.ts";
import { Outbox } from "./outbox.ts";
import { readReady, readSome } from "./sync-io.ts";

/** The service is trusted; this only keeps a broken stream from being taken for a huge frame. */
const MAX_PAYLOAD_BYTES = 1 << 30;
const READ_BYTES = 65_536;

/** A request or notification of the service's, or, without a method, its answer. */
export interface IncomingMessage {
  readonly id?: number;
  readonly method?: string;
  readonly params?: unknown;
  readonly result?: unknown;
}

export interface ConnectionEvents {
  connected(connection: Connection): void;
  message(message: IncomingMessage, connection: Connection): void;
  /** The service is gone, or was never there. */
  closed(): void;
}

/** The part of Node's pipe handle that the hand-over needs. */
interface PipeHandle {
  /** Negative once the handle is closed. */
  readonly fd: number;
  readStop(): void;
  ref(): void;
  unref(): void;
}

export class Connection {
  readonly #socket: Socket;
  readonly #handle: PipeHandle;
  readonly #decoder = new FrameDecoder({ maxPayloadBytes: MAX_PAYLOAD_BYTES });
  readonly #outbox = new Outbox(() => this.#handle.fd);
  /** The event loop reads no more. */
  #isTaken = false;

  constructor(path: string, events: ConnectionEvents) {
    this.#socket = connectSocket({
      path,
      // Goes past the stream machinery, which the program can patch, and leaves nothing in its buffers.
      onread: {
        buffer: Buffer.allocUnsafeSlow(READ_BYTES),
        callback: (bytesRead, buffer) => {
          // A copy, since the next read writes to the same place.
          this.#decoder.push(Buffer.from(buffer.subarray(0, bytesRead)));
          for (let frame = this.#decoder.next(); frame !== undefined; frame = this.#decoder.next())
            events.message(parseMessage(frame), this);
          return true;
        },
      },
    });
    this.#handle = (this.#socket as unknown as { readonly _handle: PipeHandle })._handle;
    this.#socket.on("connect", () => events.connected(this));
    this.#socket.on("error", () => undefined);
    this.#socket.on("close", () => events.closed());
  }

  /** Whether the socket keeps the event loop alive. It does at first. */
  keepAlive(isNeeded: boolean): void {
    if (isNeeded) this.#handle.ref();
    else this.#handle.unref();
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Ends reading through the event loop. What has been decoded so far was delivered; the rest of a frame stays in the decoder. */
  takeOver(): void {
    this.#handle.readStop();
    this.#isTaken = true;
  }

  /** The next message, read synchronously; `undefined` when the service is gone or `deadline` is over. */
  receive(deadline: number): IncomingMessage | undefined {
    for (;;) {
      const frame = this.#decoder.next();
      if (frame !== undefined) return parseMessage(frame);
      const chunk = Buffer.allocUnsafeSlow(READ_BYTES);
      const bytesRead = readSome(this.#handle.fd, chunk, deadline);
      if (bytesRead === undefined || bytesRead === 0) return undefined;
      this.#decoder.push(chunk.subarray(0, bytesRead));
    }
  }

  /** Sends a message, JSON text, without waiting for the service to take it. */
  post(text: string): void {
    this.#outbox.post(encodeFrame(FrameKind.message, Buffer.from(text)));
  }

  /** Sends a message; false when it could not be sent whole before `deadline`. Throws when the service is gone. */
  send(message: object, deadline: number): boolean {
    return this.sendJson(stringifyJson({ jsonrpc: "2.0", ...message }), deadline);
  }

  /** As {@link send}, for a message that is JSON text already. */
  sendJson(text: string, deadline: number): boolean {
    this.#outbox.add(encodeFrame(FrameKind.message, Buffer.from(text)));
    return this.flush(deadline);
  }

  sendArchive(piece: Uint8Array, deadline: number): boolean {
    this.#outbox.add(encodeFrame(FrameKind.archive, piece));
    return this.flush(deadline);
  }

  /** Sends what was posted and waits still; as for {@link send}. */
  flush(deadline: number): boolean {
    return this.#outbox.flush(deadline, () => this.#discardAnswers());
  }

  /**
   * The service does not read while its answers wait to be read: each end would wait for the other. Nobody is left to take them, and
   * nothing else can come before all is sent.
   */
  #discardAnswers(): void {
    if (!this.#isTaken) return;
    const chunk = Buffer.allocUnsafeSlow(READ_BYTES);
    const bytesRead = readReady(this.#handle.fd, chunk) ?? 0;
    this.#decoder.push(chunk.subarray(0, bytesRead));
    while (this.#decoder.next() !== undefined);
  }
}

function parseMessage(frame: Frame): IncomingMessage {
  return parseJson(frame.payload.toString()) as IncomingMessage;
}
