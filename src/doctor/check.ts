/**
 * What a check is, and how checks are run: side by side, each within its own time. One that throws has failed, and ends no other.
 */

import { z } from "zod";

import { StartupError } from "../domain/errors.ts";
import { TimeoutError, within } from "../lib/deadline.ts";

export const GROUPS = ["host", "engine", "images", "configuration", "servers", "sandbox"] as const;

/** `info` is worth knowing and needs nothing; `warn` should be mended; with `fail` something will not work. */
export const CHECK_STATUSES = ["ok", "info", "warn", "fail"] as const;
export type CheckStatus = (typeof CHECK_STATUSES)[number];

export const outcomeSchema = z.strictObject({
  status: z.enum(CHECK_STATUSES),
  /** What is there, in one line. */
  found: z.string().min(1),
  /** More of it, a line each. */
  details: z.array(z.string().min(1)).optional(),
  /** What to do. */
  remedy: z.string().min(1).optional(),
  /** Known holes that are open. */
  advisories: z
    .array(
      z.strictObject({
        id: z.string(),
        component: z.string(),
        version: z.string(),
        summary: z.string(),
        here: z.string(),
        fixed: z.array(z.string()),
      }),
    )
    .optional(),
});
export type Outcome = z.infer<typeof outcomeSchema>;

export interface Check {
  /** The group, a dot, and a name. Stable: scripts read it. */
  readonly id: `${(typeof GROUPS)[number]}.${string}`;
  readonly title: string;
  readonly timeoutMs?: number;
  run(): Outcome | Promise<Outcome>;
}

export type CheckResult = Outcome & { readonly id: Check["id"]; readonly title: string };

/** A check has nothing to look at, since something else is missing that has a check of its own. */
export class NotCheckedError extends Error {
  override readonly name = "NotCheckedError";
}

const TIMEOUT_MS = 20_000;

/** The results, in the order of the checks. */
export function runChecks(checks: readonly Check[]): Promise<CheckResult[]> {
  return Promise.all(checks.map(async (check) => ({ id: check.id, title: check.title, ...(await outcomeOf(check)) })));
}

async function outcomeOf(check: Check): Promise<Outcome> {
  try {
    return await within((async () => check.run())(), check.timeoutMs ?? TIMEOUT_MS, "the check");
  } catch (error) {
    if (error instanceof NotCheckedError) return { status: "info", found: `not checked: ${error.message}` };
    if (error instanceof TimeoutError) return { status: "fail", found: error.message, remedy: "See whether the engine or the disk hangs." };
    if (error instanceof StartupError) return failWith(error.problems);
    return { status: "fail", found: `the check itself failed: ${error instanceof Error ? error.message || error.name : String(error)}` };
  }
}

/** A failure with problems that say themselves what to do. */
export function failWith(problems: readonly string[]): Outcome {
  const [only = "nothing is known", ...more] = problems;
  return more.length === 0
    ? { status: "fail", found: only }
    : { status: "fail", found: `${problems.length} problems`, details: [...problems] };
}
