/** What the operator set: environment, runtimes.json, the folders that they name, memory. */

import { constants } from "node:fs";
import { access, lstat, stat } from "node:fs/promises";
import { totalmem } from "node:os";
import path from "node:path";

import { readAuditKey, refuseSharedFolder } from "../audit/audit-key.ts";
import type { AuditSettings } from "../domain/audit-event.ts";
import { readableSize } from "../domain/byte-size.ts";
import { StartupError } from "../domain/errors.ts";
import type { LoadedKeys } from "../config/keys.ts";
import type { LoadedRuntimes } from "../config/runtimes-file.ts";
import { newInstanceId } from "../domain/ids.ts";
import { findUnsupported } from "../domain/unsupported.ts";
import { findPathProblems } from "../sandbox/docker/configured-paths.ts";
import { excessBytes } from "../sandbox/docker/run-directory.ts";
import { failWith } from "./check.ts";
import type { Check, Outcome } from "./check.ts";
import type { Facts } from "./facts.ts";
import { nearestPlace } from "./host-checks.ts";
import { serversFileCheck } from "./server-checks.ts";
import { judgeListening } from "./listening.ts";

/** Reading a workspace of many files takes a while. */
const PATHS_TIMEOUT_MS = 60_000;

export const configurationChecks = (facts: Facts, environmentProblems: readonly string[]): Check[] => [
  {
    id: "configuration.environment",
    title: "Environment",
    run: () =>
      environmentProblems.length > 0
        ? {
            ...failWith(environmentProblems),
            remedy: "docs/configuration.md lists the variables. The checks below take the default in place of these.",
          }
        : { status: "ok", found: "every variable is understood" },
  },
  {
    id: "configuration.runtimes",
    title: "runtimes.json",
    run: async () => judgeRuntimesFile(await facts.runtimes.ask(), facts.config.runtimesFile),
  },
  serversFileCheck(facts),
  { id: "configuration.available", title: "What can run", run: async () => judgeAvailable(await facts.runtimes.need()) },
  {
    id: "configuration.workspace",
    title: "Workspace",
    timeoutMs: PATHS_TIMEOUT_MS,
    run: async () => {
      const { config, packageRoot } = facts;
      const { runtimes } = await facts.runtimes.need();
      const problems = await findPathProblems(config, packageRoot, runtimes);
      return problems.length > 0 ? failWith(problems) : { status: "ok", found: `${config.workspaceRoot}, with every readable path` };
    },
  },
  { id: "configuration.state", title: "State folder", run: () => judgeStateFolder(facts.config.stateDir) },
  { id: "configuration.audit", title: "Audit log", run: () => judgeAuditLog(facts.config.audit) },
  { id: "configuration.keys", title: "Keys", run: async () => judgeKeys(await facts.keys.ask(), facts.config.keysFile) },
  {
    id: "configuration.listening",
    title: "Address and port",
    run: async () => judgeListening(facts.config, (await facts.keys.need()).keys?.length),
  },
  {
    id: "configuration.memory",
    title: "Memory",
    run: async () => judgeMemory(await facts.runtimes.need(), facts.config.maxRunning, totalmem()),
  },
];

function judgeRuntimesFile({ runtimes, warnings }: LoadedRuntimes, file: string): Outcome {
  const found = `${file}: ${[...runtimes.keys()].join(", ")}`;
  return warnings.length === 0
    ? { status: "ok", found }
    : { status: "warn", found, details: [...warnings], remedy: "Mend the file, so that it says what is done." };
}

export function judgeAvailable({ runtimes }: LoadedRuntimes): Outcome {
  const all = [...runtimes.values()].map(({ name, permissions, unavailable }) => ({
    name,
    reasons: [...unavailable, ...findUnsupported(permissions)],
  }));
  const refused = all.filter(({ reasons }) => reasons.length > 0);
  if (refused.length === 0) return { status: "ok", found: all.length === 1 ? "the one runtime" : `all ${all.length} runtimes` };
  return {
    status: refused.length === all.length ? "fail" : "warn",
    found: `${all.length - refused.length} of ${all.length} runtimes`,
    details: refused.flatMap(({ name, reasons }) => reasons.map((reason) => `${name}: ${reason}`)),
    remedy: "Leave out of runtimes.json what is not there yet. Until then these runtimes refuse every request that does not do without.",
  };
}

export function judgeKeys({ hasFile, keys, warnings }: LoadedKeys, file: string): Outcome {
  if (keys === undefined) return { status: "ok", found: "none: whoever reaches the service can use it, and it listens on loopback only" };
  const found = `${keys.length}${hasFile ? `, with those of ${file}` : ", from CODE_MODE_API_KEYS"}`;
  if (keys.length === 0)
    return { status: "warn", found: `${file} holds none: nobody gets in`, remedy: "Make one: code-mode keys add NAME" };
  return warnings.length === 0
    ? { status: "ok", found }
    : { status: "warn", found, details: [...warnings], remedy: "Close the file to others: keys are for the service and its operator." };
}

export async function judgeStateFolder(folder: string): Promise<Outcome> {
  const excess = excessBytes(folder, newInstanceId());
  if (excess > 0)
    return {
      status: "fail",
      found: `${folder} is ${excess} bytes too long for unix sockets`,
      remedy: "Set CODE_MODE_STATE_DIR to a shorter path.",
    };
  return judgeFolder(folder, "CODE_MODE_STATE_DIR");
}

/** A folder that the start makes where it is not there. */
async function judgeFolder(folder: string, variable: string): Promise<Outcome> {
  const name = `Set ${variable} to`;
  try {
    const place = await nearestPlace(folder);
    if (!(await stat(place)).isDirectory()) return { status: "fail", found: `${place} is no folder`, remedy: `${name} a folder.` };
    await access(place, constants.W_OK | constants.X_OK);
    return { status: "ok", found: place === folder ? folder : `${folder}, which the start makes` };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return {
      status: "fail",
      found: `${folder} cannot be used (${code ?? "unknown error"})`,
      remedy: `${name} a folder that this user can write.`,
    };
  }
}

/** Whether the log and its key can be used. What is in the log is for `code-mode audit verify` to say. */
export async function judgeAuditLog({ enabled, folder, keyFile }: AuditSettings): Promise<Outcome> {
  if (!enabled)
    return { status: "warn", found: "MCP_AUDIT_LOGGING is false: nothing is kept", remedy: "Leave it out, to know later what was done." };
  const place = await judgeFolder(folder, "CODE_MODE_AUDIT_DIR");
  if (place.status !== "ok") return place;
  const shared = await problemsOf(refuseSharedFolder(keyFile, folder));
  if (shared !== undefined) return failWith(shared);
  if ((await lstat(keyFile).catch(() => undefined)) === undefined) {
    const keyFolder = await judgeFolder(path.dirname(keyFile), "CODE_MODE_AUDIT_KEY_FILE");
    return keyFolder.status === "ok" ? { status: "ok", found: `${folder}; the start makes its key ${keyFile}` } : keyFolder;
  }
  const problems = await problemsOf(readAuditKey(keyFile));
  return problems === undefined ? { status: "ok", found: `${folder}, sealed with ${keyFile}` } : failWith(problems);
}

/** What a start would say. */
async function problemsOf(attempt: Promise<unknown>): Promise<readonly string[] | undefined> {
  try {
    await attempt;
    return undefined;
  } catch (error) {
    if (error instanceof StartupError) return error.problems;
    throw error;
  }
}

export function judgeMemory({ runtimes }: LoadedRuntimes, maxRunning: number, hostBytes: number): Outcome {
  const each = Math.max(...[...runtimes.values()].map(({ limits }) => limits.defaults.memoryBytes));
  const found = `${maxRunning} executions at once with ${readableSize(each)} each; the host has ${readableSize(hostBytes)}`;
  return each * maxRunning <= hostBytes
    ? { status: "ok", found }
    : {
        status: "warn",
        found,
        remedy: "Lower CODE_MODE_MAX_RUNNING, or memoryLimit: programs that use all of theirs would be ended before their limit.",
      };
}
