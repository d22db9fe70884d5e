/**
 * stdout and stderr as blocking pipes.
 *
 * Node opens a pipe non-blocking and keeps in memory what does not fit in it: 64 KiB would be all that is left of a long output when
 * the program then calls process.exit, or has a result. Blocking, a write is done when it returns; whoever reads always does so.
 */

import process from "node:process";

interface StreamWithHandle {
  /** Absent for files. */
  readonly _handle?: { setBlocking?(isBlocking: boolean): number } | null;
}

export class OutputPipes {
  readonly #handles: { setBlocking?(isBlocking: boolean): number }[] = [];

  constructor() {
    for (const read of [() => process.stdout, () => process.stderr]) {
      try {
        const { _handle: handle } = read() as StreamWithHandle;
        handle?.setBlocking?.(true);
        if (handle) this.#handles.push(handle);
      } catch {
        // Closed from the start.
      }
    }
  }

  /** For the end, where no write may take for ever. */
  unblock(): void {
    for (const handle of this.#handles) handle.setBlocking?.(false);
  }
}
