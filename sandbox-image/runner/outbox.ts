/**
 * What the runner has to send, in order, without ever making the program wait.
 *
 * Frames go out at once as far as the socket takes them. What is left goes out later from a timer, or is flushed at the end: the
 * service may stop reading for a while, and the program's event loop must not stand still for it.
 */

import { setTimer } from "./intrinsics.ts";
import { repeat, writeSome } from "./sync-io.ts";

const RETRY_MS = 1;

interface Node {
  readonly frame: Uint8Array;
  next: Node | undefined;
}

export class Outbox {
  readonly #fd: () => number;
  /** The frame of which something is left to write, and those after it. */
  #first: Node | undefined;
  #last: Node | undefined;
  /** Bytes of the first that are written. */
  #written = 0;
  #isTimed = false;

  constructor(fd: () => number) {
    this.#fd = fd;
  }

  /** Sends a frame, now or a little later. */
  post(frame: Uint8Array): void {
    this.add(frame);
    if (this.#first === this.#last) this.#goOn();
  }

  /** Puts a frame behind all others, for {@link flush}. */
  add(frame: Uint8Array): void {
    const node: Node = { frame, next: undefined };
    if (this.#last === undefined) this.#first = node;
    else this.#last.next = node;
    this.#last = node;
  }

  /** Sends all; false when that could not be done before `deadline`. `whileBlocked` is called again and again while it waits. */
  flush(deadline: number, whileBlocked: () => void): boolean {
    return repeat(deadline, () => {
      if (this.#write()) return true;
      whileBlocked();
      return false;
    });
  }

  #goOn(): void {
    try {
      if (this.#write() || this.#isTimed) return;
    } catch {
      // The service is gone, which the connection's end tells.
      return;
    }
    this.#isTimed = true;
    setTimer(() => {
      this.#isTimed = false;
      this.#goOn();
    }, RETRY_MS);
  }

  /** Writes what the socket takes; true when nothing is left. */
  #write(): boolean {
    for (let node = this.#first; node !== undefined; node = this.#first) {
      this.#written += writeSome(this.#fd(), node.frame, this.#written);
      if (this.#written < node.frame.byteLength) return false;
      this.#written = 0;
      this.#first = node.next;
      if (node.next === undefined) this.#last = undefined;
    }
    return true;
  }
}
