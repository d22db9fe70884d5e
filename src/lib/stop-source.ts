/**
 * One signal that several causes can set off; the first of them gives the reason.
 *
 * `AbortSignal.any` would be shorter, and is not used anywhere: in several lines of Node a combined signal never fires once the garbage
 * collector has taken one of its sources, a timer of `AbortSignal.timeout` above all (nodejs/node#57736, #65995). What ends a
 * stranger's program cannot rest on that.
 */
export class StopSource {
  readonly #controller = new AbortController();
  readonly #releases: (() => void)[] = [];

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason: unknown): void {
    this.#controller.abort(reason);
  }

  /** Aborts when `parent` does, with the same reason. */
  follow(parent: AbortSignal): this {
    const abort = (): void => {
      this.abort(parent.reason);
    };
    if (parent.aborted) abort();
    else {
      parent.addEventListener("abort", abort, { once: true });
      this.#releases.push(() => {
        parent.removeEventListener("abort", abort);
      });
    }
    return this;
  }

  /** Aborts after `delayMs`. */
  abortAfter(delayMs: number, reason: () => Error): this {
    const timer = setTimeout(() => {
      this.abort(reason());
    }, delayMs);
    this.#releases.push(() => {
      clearTimeout(timer);
    });
    return this;
  }

  /** Stops the timers and lets the parents go. The signal stays as it is. Idempotent. */
  close(): void {
    for (const release of this.#releases.splice(0)) release();
  }
}
