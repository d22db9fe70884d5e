/** Looks at host, engine, images, configuration and a sandbox, and says what is missing and how to mend it. Changes nothing. */

import { examineEnvironment } from "../config/environment.ts";
import { packageVersion } from "../lib/package-info.ts";
import { runChecks } from "./check.ts";
import type { Check } from "./check.ts";
import { configurationChecks } from "./configuration-checks.ts";
import { engineChecks } from "./engine-checks.ts";
import { gatherFacts } from "./facts.ts";
import type { Facts, FactsOptions } from "./facts.ts";
import { hostChecks } from "./host-checks.ts";
import { imageChecks } from "./image-checks.ts";
import { reportOf } from "./report.ts";
import type { Report } from "./report.ts";
import { serversCheck } from "./server-checks.ts";
import { sandboxCheck } from "./sandbox-check.ts";

export interface DiagnoseOptions extends Omit<FactsOptions, "config"> {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Start a sandbox and look from inside. */
  readonly canary: boolean;
  /** Connect to the MCP servers. Default: false. */
  readonly servers?: boolean;
}

/** Runs every check. Throws nothing that a check could run into. */
export async function diagnose(options: DiagnoseOptions): Promise<Report> {
  const checkedAt = new Date();
  const { config, problems } = examineEnvironment(options);
  const checks = allChecks(gatherFacts({ ...options, config }), problems).filter(
    ({ id }) => (options.canary || !id.startsWith("sandbox.")) && (options.servers === true || !id.startsWith("servers.")),
  );
  return reportOf(packageVersion(), checkedAt, await runChecks(checks));
}

/** Every check, in the order of the report. */
export const allChecks = (facts: Facts, environmentProblems: readonly string[]): Check[] => [
  ...hostChecks(facts),
  ...engineChecks(facts),
  ...imageChecks(facts),
  ...configurationChecks(facts, environmentProblems),
  serversCheck(facts),
  sandboxCheck(facts),
];
