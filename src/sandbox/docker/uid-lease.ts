/**
 * User ids for sandboxes: each live one has its own, on the whole engine.
 *
 * An instance leases a block of ids by creating a container, never started, whose name is the block's: the engine lets one name exist
 * once, whoever asks. Inside the block an id is used again only after its sandbox is gone. Two sandboxes with one id would share the
 * kernel's per-user counts and could signal each other if a namespace ever failed.
 */

import type Docker from "dockerode";

import { StartupError } from "../../domain/errors.ts";
import { engineStatus, removeContainer } from "./engine.ts";

const FIRST_UID = 20_000;
const BLOCK_SIZE = 500;
/** Up to uid 59,999: above it systemd and others have ranges of their own. */
const BLOCKS = 80;

export class UidLease {
  readonly #docker: Docker;
  readonly #containerName: string;
  readonly #free: number[];

  private constructor(docker: Docker, containerName: string, firstUid: number) {
    this.#docker = docker;
    this.#containerName = containerName;
    this.#free = Array.from({ length: BLOCK_SIZE }, (_, index) => firstUid + index);
  }

  /** Leases a free block. Throws a {@link StartupError} when all are taken. */
  static async acquire(docker: Docker, options: { imageId: string; labels: Readonly<Record<string, string>> }): Promise<UidLease> {
    for (let block = 0; block < BLOCKS; block += 1) {
      const name = `code-mode-uids-${block}`;
      try {
        await docker.createContainer({
          name,
          Image: options.imageId,
          Cmd: ["lease"],
          NetworkDisabled: true,
          Labels: { ...options.labels },
        });
        return new UidLease(docker, name, FIRST_UID + block * BLOCK_SIZE);
      } catch (error) {
        if (engineStatus(error) !== 409) throw error;
      }
    }
    throw new StartupError([
      `all ${BLOCKS} blocks of sandbox user ids are leased; remove containers named code-mode-uids-* whose service is gone`,
    ]);
  }

  /** An id that no live sandbox of this engine has; `release` gives it back. `undefined` when all are taken. */
  take(): { readonly uid: number; release(): void } | undefined {
    // First in, first out: the longest possible time passes before an id is used again.
    const uid = this.#free.shift();
    if (uid === undefined) return undefined;
    let held = true;
    return {
      uid,
      release: () => {
        if (held) this.#free.push(uid);
        held = false;
      },
    };
  }

  async release(): Promise<void> {
    await removeContainer(this.#docker, this.#containerName);
  }
}
