/** Synchronous reading and writing on file descriptors that may be non-blocking, bounded in time. */

import { now, readSync, sleep, writeSync } from "./intrinsics.ts";

const FIRST_PAUSE_MS = 0.05;
const LONGEST_PAUSE_MS = 1;

/** True when all was written before `deadline` (of {@link now}). Throws what `write` fails with. */
export function writeFully(fd: number, bytes: Uint8Array, deadline: number): boolean {
  let written = 0;
  while (written < bytes.byteLength) {
    const from = written;
    const count = retry(deadline, () => writeSync(fd, bytes, from));
    if (count === undefined) return false;
    written += count;
  }
  return true;
}

/** Bytes that went without waiting; 0 when the descriptor is not ready. Throws what `write` fails with. */
export function writeSome(fd: number, bytes: Uint8Array, from: number): number {
  return ifReady(() => writeSync(fd, bytes, from)) ?? 0;
}

/** Bytes that could be read without waiting; 0 at the end of the stream, `undefined` when the descriptor is not ready. */
export function readReady(fd: number, into: Uint8Array): number | undefined {
  return ifReady(() => readSync(fd, into));
}

/** Calls `attempt` until it is true, with pauses in between; false when it was not before `deadline`. */
export function repeat(deadline: number, attempt: () => boolean): boolean {
  for (let pauseMs = FIRST_PAUSE_MS; !attempt(); pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    if (now() >= deadline) return false;
    sleep(pauseMs);
  }
  return true;
}

/** Bytes read; 0 at the end of the stream, `undefined` when nothing came before `deadline`. */
export function readSome(fd: number, into: Uint8Array, deadline: number): number | undefined {
  return retry(deadline, () => readSync(fd, into));
}

/** Repeats what fails because the descriptor is not ready yet. */
function retry(deadline: number, attempt: () => number): number | undefined {
  let result: number | undefined;
  repeat(deadline, () => (result = ifReady(attempt)) !== undefined);
  return result;
}

/** `undefined` where the descriptor is not ready. */
function ifReady(attempt: () => number): number | undefined {
  try {
    return attempt();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
    return undefined;
  }
}
