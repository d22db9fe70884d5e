/** `code-mode doctor`: prints what is missing here, and how to mend it. */

import { constants } from "node:os";

import { diagnose } from "../doctor/doctor.ts";
import { renderReport } from "../doctor/render.ts";
import { exitCodeOf } from "../doctor/report.ts";
import { packageRoot } from "../lib/package-info.ts";

export interface DoctorOptions {
  readonly json: boolean;
  readonly strict: boolean;
  readonly canary: boolean;
  readonly servers: boolean;
}

/** What a shell adds to the number of the signal that ended a command. */
const SIGNAL_EXIT_CODE = 128;

export async function doctor({ canary, json, servers, strict }: DoctorOptions): Promise<number> {
  const signals: NodeJS.Signals[] = [];
  // A first signal waits for the canary, which is short, so that no container stays; a second one ends the process.
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      signals.push(signal);
    });
  }
  const report = await diagnose({ packageRoot, canary, servers });
  const [signal] = signals;
  if (signal !== undefined) return SIGNAL_EXIT_CODE + constants.signals[signal];
  const colour = process.stdout.isTTY && process.stdout.hasColors();
  process.stdout.write(json ? `${JSON.stringify(report, undefined, 2)}\n` : renderReport(report, { colour }));
  return exitCodeOf(report, strict);
}
