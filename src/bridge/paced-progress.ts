/** Passes a tool's progress on at a bounded rate: what comes in between is dropped but for the last. */

import type { ToolProgress } from "../domain/tool-call.ts";

export class PacedProgress {
  readonly #send: (progress: ToolProgress) => void;
  readonly #intervalMs: number;
  #latest: ToolProgress | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: { readonly intervalMs: number; readonly send: (progress: ToolProgress) => void }) {
    this.#intervalMs = options.intervalMs;
    this.#send = options.send;
  }

  push(progress: ToolProgress): void {
    if (this.#isClosed) return;
    if (this.#timer !== undefined) {
      this.#latest = progress;
      return;
    }
    this.#send(progress);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const latest = this.#latest;
      this.#latest = undefined;
      if (latest !== undefined) this.push(latest);
    }, this.#intervalMs);
  }

  /** Nothing more is passed on. Idempotent. */
  close(): void {
    this.#isClosed = true;
    this.#latest = undefined;
    clearTimeout(this.#timer);
  }
}
