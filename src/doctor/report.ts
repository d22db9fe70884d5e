/** The report of all checks: its form for programs, its totals, and the exit code that it means. */

import { z } from "zod";

import { CHECK_STATUSES, outcomeSchema } from "./check.ts";
import type { CheckResult } from "./check.ts";

const totalsSchema = z.strictObject(Object.fromEntries(CHECK_STATUSES.map((status) => [status, z.int().min(0)])));

/** What `code-mode doctor --json` prints. */
export const reportSchema = z.strictObject({
  /** Of Code Mode. */
  version: z.string(),
  checkedAt: z.iso.datetime(),
  checks: z.array(outcomeSchema.extend({ id: z.string().regex(/^[a-z]+\.[a-z-]+$/), title: z.string() })),
  summary: totalsSchema,
});
export type Report = z.infer<typeof reportSchema>;

export function reportOf(version: string, checkedAt: Date, checks: readonly CheckResult[]): Report {
  const summary = Object.fromEntries(CHECK_STATUSES.map((status) => [status, checks.filter((check) => check.status === status).length]));
  return { version, checkedAt: checkedAt.toISOString(), checks: [...checks], summary };
}

/** 1 when a check failed, with `strict` when one warned too; else 0. */
export function exitCodeOf({ summary }: Report, strict: boolean): 0 | 1 {
  const { fail = 0, warn = 0 } = summary;
  return fail > 0 || (strict && warn > 0) ? 1 : 0;
}
