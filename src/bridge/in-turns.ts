/** Handling a chunk of hostile bytes in small slices, so that what is slow about it never holds up the event loop for long. */

import { setImmediate } from "node:timers/promises";

const SLICE_BYTES = 16_384;
/** How long the slices of one turn may take together. */
const TURN_MS = 4;

/** Hands the chunk to `push` slice by slice, and lets others have their turn meanwhile. */
export async function inTurns(chunk: Buffer, push: (slice: Buffer) => void): Promise<void> {
  let beganAt = performance.now();
  for (let from = 0; from < chunk.byteLength; from += SLICE_BYTES) {
    push(chunk.subarray(from, from + SLICE_BYTES));
    if (performance.now() - beganAt < TURN_MS) continue;
    await setImmediate();
    beganAt = performance.now();
  }
}
