/**
 * Releases what was acquired, last in first out, on every path.
 *
 * Each acquire is followed at once by {@link CleanupStack.defer} with its release. All steps run even when one fails; failures are
 * handed to `onError`, never thrown, so that a clean-up cannot hide the reason it ran for.
 */
export class CleanupStack {
  readonly #steps: { name: string; release: () => unknown }[] = [];
  readonly #onError: (step: string, error: unknown) => void;
  #closing: Promise<void> | undefined;

  constructor(options: { onError: (step: string, error: unknown) => void }) {
    this.#onError = options.onError;
  }

  /** Adds a release. After {@link close} began it runs at once, so that a late acquire is not lost. */
  defer(name: string, release: () => unknown): void {
    this.#steps.push({ name, release });
    if (this.#closing !== undefined) this.#closing = this.#closing.then(() => this.#drain());
  }

  /** Runs every release once. Idempotent; resolves when all have run. */
  close(): Promise<void> {
    this.#closing ??= this.#drain();
    return this.#closing;
  }

  async #drain(): Promise<void> {
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step.release();
      } catch (error) {
        this.#onError(step.name, error);
      }
    }
  }
}
