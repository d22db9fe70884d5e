/** What the engine says about itself, as plain data; and why there is no answer. */

import { release } from "node:os";

import type Docker from "dockerode";
import { z } from "zod";

import { within } from "../../lib/deadline.ts";

/** How long the engine may take to answer. */
const ENGINE_ANSWER_TIMEOUT_MS = 15_000;

export interface EngineVersions {
  readonly version: string;
  readonly apiVersion: string;
  /** Name → version of its parts: containerd, runc. */
  readonly components: Readonly<Record<string, string>>;
}

const versionSchema = z.object({
  Version: z.string(),
  ApiVersion: z.string(),
  Components: z.array(z.object({ Name: z.string(), Version: z.string() })).catch([]),
});

/** What answers at the engine's address is something else. */
class NoEngineError extends Error {
  override readonly name = "NoEngineError";
}

export async function askVersions(docker: Docker): Promise<EngineVersions> {
  const answer: unknown = await within(docker.version(), ENGINE_ANSWER_TIMEOUT_MS, "the engine's answer").catch(refuseStrangers);
  const parsed = versionSchema.safeParse(answer);
  if (!parsed.success) throw new NoEngineError("what answers there is no Docker engine", { cause: parsed.error });
  const { ApiVersion: apiVersion, Components: parts, Version: version } = parsed.data;
  return { version, apiVersion, components: Object.fromEntries(parts.map((part) => [part.Name, part.Version])) };
}

/** Codes of Node's HTTP parser begin so. */
function refuseStrangers(error: unknown): never {
  const { code } = error as NodeJS.ErrnoException;
  throw code?.startsWith("HPE_") === true ? new NoEngineError("what answers there does not speak HTTP", { cause: error }) : error;
}

/** Why the engine gave no answer, and what to do. */
export function explainNoEngine(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "EACCES") return "this user may not use it: join the engine's group (usually docker)";
  if (code === "ENOENT" || code === "ECONNREFUSED") return "it is not running: start it, or set DOCKER_HOST";
  return message;
}

/** `GET /info`, as far as it matters here. What an engine leaves out is as if it said no. */
const infoSchema = z.object({
  KernelVersion: z.string().catch("unknown"),
  CgroupVersion: z.string().catch("1"),
  CgroupDriver: z.string().catch("unknown"),
  MemoryLimit: z.boolean().catch(false),
  SwapLimit: z.boolean().catch(false),
  PidsLimit: z.boolean().catch(false),
  CpuCfsQuota: z.boolean().catch(false),
  SecurityOptions: z.array(z.string()).catch([]),
  Runtimes: z.record(z.string(), z.object({ runtimeArgs: z.array(z.string()).nullish() })).catch({}),
  DefaultRuntime: z.string().catch("runc"),
  Driver: z.string().catch("unknown"),
  DockerRootDir: z.string().catch(""),
  LiveRestoreEnabled: z.boolean().catch(false),
  SystemTime: z.string().catch(""),
  OperatingSystem: z.string().catch("unknown"),
});

export interface EngineFacts extends EngineVersions {
  readonly kernelVersion: string;
  /** It runs on the kernel of this process, as far as the kernel's version can tell. */
  readonly sameKernel: boolean;
  readonly operatingSystem: string;
  readonly cgroupVersion: string;
  readonly cgroupDriver: string;
  /** What it can limit. */
  readonly limits: Readonly<Record<"memory" | "swap" | "pids" | "cpu", boolean>>;
  /** Names of its security options: `seccomp`, `apparmor`, `selinux`, `userns`, `rootless`, `cgroupns`. */
  readonly securityOptions: readonly string[];
  /** Name → arguments of the runtimes that it knows. */
  readonly runtimes: ReadonlyMap<string, readonly string[]>;
  readonly defaultRuntime: string;
  readonly storageDriver: string;
  readonly rootDir: string;
  readonly liveRestore: boolean;
  /** Its clock less this process's, when both were read; `undefined` when it tells no time. */
  readonly clockSkewMs: number | undefined;
}

export async function askFacts(docker: Docker): Promise<EngineFacts> {
  const versions = await askVersions(docker);
  const info = infoSchema.parse(await within(docker.info() as Promise<unknown>, ENGINE_ANSWER_TIMEOUT_MS, "the engine's answer"));
  const engineTime = Date.parse(info.SystemTime);
  return {
    ...versions,
    kernelVersion: info.KernelVersion,
    sameKernel: info.KernelVersion === release(),
    operatingSystem: info.OperatingSystem,
    cgroupVersion: info.CgroupVersion,
    cgroupDriver: info.CgroupDriver,
    limits: { memory: info.MemoryLimit, swap: info.SwapLimit, pids: info.PidsLimit, cpu: info.CpuCfsQuota },
    securityOptions: info.SecurityOptions.map((option) => /(?:^|,)name=([^,]+)/.exec(option)?.[1] ?? option),
    runtimes: new Map(Object.entries(info.Runtimes).map(([name, { runtimeArgs }]) => [name, runtimeArgs ?? []])),
    defaultRuntime: info.DefaultRuntime,
    storageDriver: info.Driver,
    rootDir: info.DockerRootDir,
    liveRestore: info.LiveRestoreEnabled,
    clockSkewMs: Number.isNaN(engineTime) ? undefined : engineTime - Date.now(),
  };
}
