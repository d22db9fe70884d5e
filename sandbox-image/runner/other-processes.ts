/**
 * The end of every process that a program has started, and of what those have started, before its result is told: what they print and
 * write is final then. Whatever is left when the runner exits would be killed by the kernel, but later.
 */

import process from "node:process";

import { killProcess, now, readdirSync, readFileSync, sleep } from "./intrinsics.ts";

const PAUSE_MS = 0.5;
const BLIND_PAUSE_MS = 50;
/** All that PID 1 may signal: every process of the container but itself. */
const ALL_OTHERS = -1;
const SELF = "1";
/** Fields of /proc/PID/stat behind the name, which is in brackets and may hold any character. */
const STATE = 0;
const THREADS = 17;

/** Anywhere else, tests among it, the others are not the program's. */
const isFirstProcess = process.pid === 1;

/** Kills them all at once, so that none can make another, and waits until they are dead: they hold no file and no pipe any more. */
export function endOtherProcesses(deadline: number): void {
  if (!isFirstProcess) return;
  try {
    killProcess(ALL_OTHERS, "SIGKILL");
  } catch {
    // There are none.
    return;
  }
  while (someAreAlive() && now() < deadline) sleep(PAUSE_MS);
}

function someAreAlive(): boolean {
  try {
    return readdirSync("/proc").some((name) => isAlive(name));
  } catch {
    // The program has left no descriptor to look with. All of them have their signal.
    sleep(BLIND_PAUSE_MS);
    return false;
  }
}

/** The dead whose parent is dead too stay as zombies: nobody but the runner could take their exit codes, and Node does not. */
function isAlive(name: string): boolean {
  if (name === SELF || !/^\d+$/.test(name)) return false;
  try {
    const stat = readFileSync(`/proc/${name}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A process whose first thread has ended counts as a zombie while its other threads are still on their way.
    return !(fields[STATE] === "Z" || fields[STATE] === "X") || Number(fields[THREADS]) > 1;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH") return false;
    throw error;
  }
}
