/**
 * A process group that is ended whole: what a server started goes with it.
 *
 * A process that makes a group or session of its own leaves it, and is not found here. When the service itself is killed nothing here
 * runs; then servers see the end of their input, at which a well-behaved one exits.
 */

import { readdir, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

const POLL_MS = 20;
/** How long to look on after SIGKILL: a process in the kernel's hands may take a while, one for which it never lets go must not hold us up. */
const KILL_WAIT_MS = 5000;

export interface EndingTimes {
  /** For the exit after the end of its input, before SIGTERM. */
  readonly inputMs: number;
  /** From SIGTERM to SIGKILL. */
  readonly termMs: number;
}

/** Ends the group of this leader. Resolves with true when no process of it lives, with false when some will not die. */
export async function endProcessGroup(leader: number, { inputMs, termMs }: EndingTimes): Promise<boolean> {
  if (await emptyWithin(leader, inputMs)) return true;
  signalGroup(leader, "SIGTERM");
  if (await emptyWithin(leader, termMs)) return true;
  signalGroup(leader, "SIGKILL");
  return emptyWithin(leader, KILL_WAIT_MS, { orOnlyZombies: true });
}

async function emptyWithin(leader: number, timeoutMs: number, { orOnlyZombies = false } = {}): Promise<boolean> {
  const end = performance.now() + timeoutMs;
  while (signalGroup(leader, 0)) {
    if (orOnlyZombies && !(await hasLivingMember(leader))) return true;
    if (performance.now() >= end) return false;
    await sleep(POLL_MS);
  }
  return true;
}

/** Whether there was somebody to take the signal. */
function signalGroup(leader: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(-leader, signal);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Dead processes that nobody has asked after stay in the group, for ever where the first process of a container does not ask. */
async function hasLivingMember(leader: number): Promise<boolean> {
  const entries = await readdir("/proc").catch(() => undefined);
  // Without /proc the signals' word counts.
  if (entries === undefined) return true;
  for (const entry of entries) {
    if (!/^\d+$/.test(entry)) continue;
    const stat = await readFile(`/proc/${entry}/stat`, "latin1").catch(() => "");
    // pid (name) state parent group …; the name may hold anything.
    const [state, , group] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (Number(group) === leader && state !== "Z" && state !== "X") return true;
  }
  return false;
}
