/**
 * The canary: one sandbox, started like any other, that reports from inside what is in force. The service is not ready before it.
 */

import type { EffectivePolicy } from "../../domain/runtime.ts";
import { newExecutionId } from "../../domain/ids.ts";
import { canaryReportSchema, LAYERS } from "../layers.ts";
import type { SandboxProvider } from "../ports.ts";
import { SYSCTLS, THREADS_PER_PROCESS } from "./container-config.ts";

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
const CANARY_POLICY: Omit<EffectivePolicy, "image" | "engineRuntime"> = {
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
    tempBytes: MIB,
    tempInodes: 64,
    openFiles: 256,
  },
  guards: { allowedModules: ["*"], denyCodeGeneration: false },
};

const CANARY_PROGRAM = `
import { spawnSync } from "node:child_process";
import dgram from "node:dgram";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";

const errnoName = (errno) => Object.entries(os.constants.errno).find(([, value]) => value === Math.abs(errno))?.[0];
const attempt = (action) => {
  try {
    const outcome = action();
    return outcome?.error ? outcome.error.code : "ok";
  } catch (error) {
    return error.code === "ERR_SYSTEM_ERROR" ? errnoName(error.info.errno) : String(error.code ?? error.message);
  }
};
const read = (file) => {
  try {
    return fs.readFileSync(file, "utf8");
  } catch {
    return null;
  }
};
const number = (...files) => {
  const text = files.map(read).find((content) => content !== null);
  return text === undefined || text === null || text.trim() === "max" ? null : Number(text);
};
const mounts = {};
for (const line of read("/proc/self/mounts").trim().split("\\n")) {
  const [, target, , options] = line.split(" ");
  mounts[target] = options.split(",");
}
return {
  status: Object.fromEntries(read("/proc/self/status").trim().split("\\n").map((line) => line.split(/:\\s*/, 2))),
  mounts,
  attempts: {
    "netlink socket": attempt(() => os.networkInterfaces()),
    spawn: attempt(() => spawnSync(process.execPath, ["-v"])),
    "write outside": attempt(() => fs.writeFileSync("/opt/canary", "x")),
    "write /dev": attempt(() => fs.writeFileSync("/dev/shm/canary", "x")),
    "open a terminal": attempt(() => fs.openSync("/dev/ptmx", "r+")),
    "UDP socket": await new Promise((resolve) => dgram.createSocket("udp4").on("error", (error) => resolve(error.code)).bind(0, () => resolve("ok"))),
    "TCP socket": await new Promise((resolve) => net.connect(1, "127.0.0.1").on("error", (error) => resolve(error.code)).on("connect", () => resolve("ok"))),
    "open /proc/self/mem": attempt(() => fs.openSync("/proc/self/mem", "r+")),
    "read the runtime": attempt(() => fs.openSync(process.execPath, "r")),
  },
  interfaces: read("/proc/net/dev").trim().split("\\n").slice(2).map((line) => line.split(":")[0].trim()),
  uid: process.getuid(),
  sysctls: Object.fromEntries(${JSON.stringify(Object.keys(SYSCTLS))}.map((name) => [name, (read("/proc/sys/" + name.replaceAll(".", "/")) ?? "").trim().replace(/\\s+/g, " ")])),
  resourceLimits: Object.fromEntries(read("/proc/self/limits").trim().split("\\n").slice(1).map((line) => [line.slice(0, 26).trim(), line.slice(47, 68).trim()])),
  memoryLimitBytes: number("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
  pidsLimit: number("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"),
};
`;

/** Starts the canary and judges every layer. Throws when it cannot be run, with the reason. */
export async function runCanary(provider: SandboxProvider, shape: Pick<EffectivePolicy, "image" | "engineRuntime">): Promise<LayerState[]> {
  const policy: EffectivePolicy = { ...CANARY_POLICY, image: shape.image, engineRuntime: shape.engineRuntime };
  const signal = AbortSignal.timeout(2 * TIMEOUT_MS);
  const stderr: Buffer[] = [];
  const sandbox = await provider.start(newExecutionId(), policy, signal);
  try {
    const program = { code: CANARY_PROGRAM, files: [], stdin: "", args: [], env: {}, outputFiles: [] };
    const sink = {
      stdout: () => undefined,
      stderr: (chunk: Buffer) => {
        stderr.push(chunk);
      },
    };
    const end = await sandbox.run(program, sink, signal);
    if (end.kind !== "finished" || end.finished.error !== null) {
      const reason = end.kind === "finished" ? end.finished.error?.message : end.kind;
      throw new Error(`the canary ended unexpectedly (${reason ?? "no reason"}) ${Buffer.concat(stderr).toString("utf8").slice(0, 2000)}`);
    }
    const report = canaryReportSchema.parse(end.finished.result);
    const expected = {
      memoryBytes: policy.limits.memoryBytes,
      pidsLimit: THREADS_PER_PROCESS,
      writePath: "/workspace/temp",
      sysctls: SYSCTLS,
    };
    return LAYERS.map(({ check, id, required, title }) => {
      const problem = check(report, expected);
      return problem === undefined ? { id, title, required } : { id, title, required, problem };
    });
  } finally {
    await sandbox.dispose();
  }
}
