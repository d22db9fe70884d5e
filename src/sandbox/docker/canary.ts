/**
 * The canary: a sandbox, started like any other, that reports from inside what is in force. The service is not ready before it.
 *
 * The strictest one comes for each image and engine runtime. An image with commands gets two more, which can start processes: one
 * that is granted no command, and must be able to neither execute nor read any, and one that is granted all, and must be able to
 * execute each.
 */

import type { EffectivePolicy } from "../../domain/runtime.ts";
import { newExecutionId } from "../../domain/ids.ts";
import { CleanupStack } from "../../lib/cleanup-stack.ts";
import { describeImage, imageKey } from "../../domain/image-spec.ts";
import { canaryReportSchema, findBrokenCommands, LAYERS } from "../layers.ts";
import type { CanaryExpectation, CanaryReport } from "../layers.ts";
import { NO_TOOLS } from "../ports.ts";
import type { SandboxProvider } from "../ports.ts";
import { CANARY_PROGRAM } from "./canary-program.ts";
import { grantedGroups, SYSCTLS, THREADS_PER_PROCESS } from "./container-config.ts";
import type { ExecutableGroups } from "./image/executable-groups.ts";

/** The outcome for one layer; `problem` is absent when it is in force. */
export interface LayerState {
  readonly id: string;
  readonly title: string;
  readonly required: boolean;
  readonly problem?: string;
}

const MIB = 2 ** 20;
const TIMEOUT_MS = 30_000;

/** The strictest shape there is, with one writable folder. */
const CANARY_POLICY: Omit<EffectivePolicy, "image" | "engineRuntime" | "granted"> = {
  runtime: "canary",
  language: "javascript",
  permissions: {
    fileSystem: { read: [], write: [{ path: "temp", persist: false }], execute: [] },
    network: { allowedHosts: [], allowedPorts: [], loopback: false },
    system: { allowedCommands: [], maxProcesses: 1 },
  },
  limits: {
    timeoutMs: TIMEOUT_MS,
    memoryBytes: 256 * MIB,
    cpus: 1,
    outputBytes: MIB,
    outputCeilingBytes: MIB,
    resultBytes: MIB,
    inputFiles: 0,
    outputFiles: 0,
    outputFileBytes: 0,
    persistFiles: 0,
    persistBytes: 0,
    tempBytes: MIB,
    tempInodes: 64,
    openFiles: 256,
  },
  guards: { allowedModules: ["*"], denyCodeGeneration: false },
};

/** One canary. */
export interface CanaryShape extends Pick<EffectivePolicy, "image" | "engineRuntime"> {
  /** The same for canaries that would prove the same. */
  readonly key: string;
  readonly title: string;
  /** Which commands of the image it may execute; `"none needed"` is the strictest shape, with a single process. */
  readonly commands: "none needed" | "masked" | "granted";
}

/** The canaries that prove a runtime. */
export function canaryShapes({ engineRuntime, image }: Pick<EffectivePolicy, "image" | "engineRuntime">): CanaryShape[] {
  const suffix = engineRuntime === undefined ? "" : ` with ${engineRuntime}`;
  const shape = (commands: CanaryShape["commands"]): CanaryShape => ({
    key: JSON.stringify([imageKey(image), engineRuntime, commands]),
    title: `${describeImage(image)}${commands === "none needed" ? "" : `, commands ${commands}`}${suffix}`,
    image,
    engineRuntime,
    commands,
  });
  return image.executables.length === 0 ? [shape("none needed")] : [shape("none needed"), shape("masked"), shape("granted")];
}

/** What a runtime grants is of no use. No hole. */
export class BrokenCommandsError extends Error {
  override readonly name = "BrokenCommandsError";
}

/**
 * Starts the canary and judges every layer. Throws when it cannot be run, with the reason; a {@link BrokenCommandsError} when a granted
 * command cannot.
 */
export async function runCanary(provider: SandboxProvider, shape: CanaryShape, executableGroups: ExecutableGroups): Promise<LayerState[]> {
  const policy = policyOf(shape);
  const report = await reportOf(provider, policy);
  const { limits, permissions } = policy;
  const expected: CanaryExpectation = {
    memoryBytes: limits.memoryBytes,
    pidsLimit: THREADS_PER_PROCESS * permissions.system.maxProcesses,
    writePath: "/workspace/temp",
    sysctls: SYSCTLS,
    processes: processesOf(policy),
    groups: grantedGroups(permissions, executableGroups),
  };
  const broken = findBrokenCommands(report, expected);
  if (broken.length > 0) throw new BrokenCommandsError(`what was granted cannot be executed: ${broken.join("; ")}`);
  return LAYERS.map(({ check, id, required, title }) => {
    const problem = check(report, expected);
    return problem === undefined ? { id, title, required } : { id, title, required, problem };
  });
}

const processesOf = ({ permissions }: EffectivePolicy): "one" | "many" => (permissions.system.maxProcesses === 1 ? "one" : "many");

function policyOf({ commands, engineRuntime, image }: CanaryShape): EffectivePolicy {
  const { fileSystem, network } = CANARY_POLICY.permissions;
  const granted = commands === "granted" ? image.executables : [];
  const isPath = (entry: string): boolean => entry.startsWith("/");
  const permissions = {
    fileSystem: { ...fileSystem, execute: granted.filter(isPath) },
    network,
    system: { allowedCommands: granted.filter((entry) => !isPath(entry)), maxProcesses: commands === "none needed" ? 1 : 2 },
  };
  return { ...CANARY_POLICY, image, engineRuntime, permissions, granted: permissions };
}

async function reportOf(provider: SandboxProvider, policy: EffectivePolicy): Promise<CanaryReport> {
  const signal = AbortSignal.timeout(2 * TIMEOUT_MS);
  const stderr: Buffer[] = [];
  const left: string[] = [];
  const cleanup = new CleanupStack({
    onError: (step, error) => {
      left.push(`${step}: ${String(error)}`);
    },
  });
  try {
    const sandbox = await provider.start(newExecutionId(), policy, signal, cleanup);
    const program = { code: CANARY_PROGRAM, files: [], stdin: "", args: [processesOf(policy)], env: {}, outputFiles: [] };
    const output = {
      stdout: () => undefined,
      stderr: (chunk: Buffer) => {
        stderr.push(chunk);
      },
    };
    const end = await sandbox.run(program, { output, tools: NO_TOOLS }, signal);
    if (end.kind !== "finished" || end.finished.error !== null) {
      const reason = end.kind === "finished" ? end.finished.error?.message : end.kind;
      throw new Error(`the canary ended unexpectedly (${reason ?? "no reason"}) ${Buffer.concat(stderr).toString("utf8").slice(0, 2000)}`);
    }
    const report = canaryReportSchema.parse(end.finished.result);
    await cleanup.close();
    if (left.length > 0) throw new Error(`its clean-up failed: ${left.join("; ")}; the next start removes what is left`);
    return report;
  } finally {
    await cleanup.close();
  }
}
