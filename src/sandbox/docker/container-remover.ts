/**
 * Removes containers for good: as long as the engine is away it tries again, and what waits for the removal waits with it.
 *
 * So a user id, a folder and a slot are not given to somebody else while the container that holds them may still run.
 */

import { setTimeout as sleep } from "node:timers/promises";

import type Docker from "dockerode";

import { removeContainer } from "./engine.ts";

const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 10_000;

export class ContainerRemover {
  readonly #docker: Docker;
  readonly #closing = new AbortController();

  constructor(docker: Docker) {
    this.#docker = docker;
  }

  /** Resolves when the container is gone. After {@link close} it gives up at the first failure, and throws it. */
  async remove(name: string): Promise<void> {
    for (let delayMs = FIRST_RETRY_MS; ; delayMs = Math.min(LONGEST_RETRY_MS, delayMs * 2)) {
      try {
        await removeContainer(this.#docker, name);
        return;
      } catch (error) {
        if (this.#closing.signal.aborted) throw error;
        await sleep(delayMs, undefined, { signal: this.#closing.signal }).catch(() => undefined);
      }
    }
  }

  /** Ends the waiting between tries: each removal under way gets one more. */
  close(): void {
    this.#closing.abort();
  }
}
