/**
 * CPU time and peak memory of a running container, from its cgroup's own files: an engine's statistics take about a second.
 *
 * Nothing is known where the service cannot see the cgroups (an engine on another machine, or in a virtual one).
 */

import { readFile } from "node:fs/promises";

import type { SandboxUsage } from "../ports.ts";

const ROOT = "/sys/fs/cgroup";

const NS_PER_MS = 1_000_000;
const US_PER_MS = 1000;

/** Reads what a container has used so far. Never throws; `null` where it cannot be read. */
export async function readCgroupUsage(containerId: string): Promise<SandboxUsage> {
  // Version 1 has a tree for each controller; version 2 one tree, whose layout depends on the engine's cgroup driver.
  const unified = [`${ROOT}/system.slice/docker-${containerId}.scope`, `${ROOT}/docker/${containerId}`];
  const [cpuV1, memoryV1, ...v2] = await Promise.all([
    readNumber(`${ROOT}/cpuacct/docker/${containerId}/cpuacct.usage`),
    readNumber(`${ROOT}/memory/docker/${containerId}/memory.max_usage_in_bytes`),
    ...unified.flatMap((folder) => [readNumber(`${folder}/cpu.stat`, /^usage_usec (\d+)$/m), readNumber(`${folder}/memory.peak`)]),
  ]);
  const cpuV2 = v2[0] ?? v2[2] ?? null;
  return {
    cpuMs: cpuV1 !== null ? Math.round(cpuV1 / NS_PER_MS) : cpuV2 !== null ? Math.round(cpuV2 / US_PER_MS) : null,
    memoryPeakBytes: memoryV1 ?? v2[1] ?? v2[3] ?? null,
  };
}

async function readNumber(file: string, pattern = /^(\d+)$/m): Promise<number | null> {
  try {
    const digits = pattern.exec(await readFile(file, "utf8"))?.[1];
    return digits === undefined ? null : Number(digits);
  } catch {
    return null;
  }
}
