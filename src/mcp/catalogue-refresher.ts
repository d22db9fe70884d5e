/** Reads a server's tools again when it says that they have changed: once for many notices, and not more often than makes sense. */

import { coalesce } from "../lib/coalesce.ts";
import type { Catalogue } from "./catalogue.ts";
import type { Clock } from "./clock.ts";

/** The least time from one reading to the next. */
const INTERVAL_MS = 1000;
const AFTER_FAILURE_MS = 30_000;

export interface CatalogueRefresherOptions {
  readonly clock: Clock;
  readonly read: () => Promise<Catalogue>;
  readonly onCatalogue: (catalogue: Catalogue) => void;
  /** A reading failed; it is tried again. */
  readonly onFailure: (error: unknown) => void;
}

/** For one connection. */
export class CatalogueRefresher {
  readonly #options: CatalogueRefresherOptions;
  readonly #refresh: () => Promise<void>;
  #callOff: (() => void) | undefined;
  #stopped = false;

  constructor(options: CatalogueRefresherOptions) {
    this.#options = options;
    this.#refresh = coalesce(() => this.#readOnce());
  }

  /** The server says that its tools have changed. */
  changed(): void {
    this.#later(INTERVAL_MS);
  }

  stop(): void {
    this.#stopped = true;
    this.#callOff?.();
  }

  #later(delayMs: number): void {
    if (this.#stopped || this.#callOff !== undefined) return;
    this.#callOff = this.#options.clock.after(delayMs, () => {
      this.#callOff = undefined;
      void this.#refresh();
    });
  }

  async #readOnce(): Promise<void> {
    try {
      const catalogue = await this.#options.read();
      if (!this.#stopped) this.#options.onCatalogue(catalogue);
    } catch (error) {
      if (this.#stopped) return;
      this.#options.onFailure(error);
      this.#later(AFTER_FAILURE_MS);
    }
  }
}
