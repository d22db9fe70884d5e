/**
 * From the policy of an execution to the container that enforces it. One pure function; nothing else sets a flag.
 */

import type Docker from "dockerode";

import { SANDBOX_PATHS } from "../../bridge/protocol.ts";
import { executablesOf } from "../../domain/commands.ts";
import type { Permissions } from "../../domain/permissions.ts";
import type { EffectivePolicy } from "../../domain/runtime.ts";
import type { ExecutableGroups } from "./image/executable-groups.ts";
import { compileSeccomp } from "./seccomp.ts";
import type { Architecture } from "./seccomp.ts";

/** A host directory as it appears in the container: read-only, and nothing in it can be executed. */
export interface BoundDirectory {
  readonly source: string;
  readonly target: string;
}

export interface ContainerInputs {
  readonly policy: EffectivePolicy;
  readonly imageId: string;
  /** The groups that make what the image has executable. */
  readonly executableGroups: ExecutableGroups;
  readonly architecture: Architecture;
  /** The execution's own user and group id. */
  readonly uid: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly directories: readonly BoundDirectory[];
  /** Static replacements for /etc/hosts and /etc/resolv.conf, which the engine leaves empty without a network. */
  readonly etcFiles: readonly BoundDirectory[];
}

/** Threads that one process of the runtime may have: Node's own (about a dozen), its pool, and workers. */
export const THREADS_PER_PROCESS = 64;
/** Part of the memory limit that the JavaScript heap may take; the rest is for buffers, stacks, code and the writable folders. */
const HEAP_SHARE = 0.75;
/** CPU time beyond the deadline, for start and end. It only matters when the service has died and nobody enforces the deadline. */
const CPU_SLACK_SECONDS = 30;

/**
 * No core dump, whatever the host does with them. Zero would not stop a handler: the kernel starts the one that the host's core_pattern
 * names in spite of it, as root and outside of every container. At exactly one byte it starts none, and a file cannot be so small.
 */
const CORE_LIMIT = 1;

/** The engine's own list plus what tells about the host and no program needs. */
const MASKED_PATHS = [
  "/dev/pts",
  "/proc/acpi",
  "/proc/asound",
  "/proc/bus",
  "/proc/cmdline",
  "/proc/config.gz",
  "/proc/diskstats",
  "/proc/interrupts",
  "/proc/kallsyms",
  "/proc/kcore",
  "/proc/key-users",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/loadavg",
  "/proc/locks",
  "/proc/modules",
  "/proc/partitions",
  // Anybody can write to it: each line has the kernel watch the host's load, for as long as it is open.
  "/proc/pressure",
  "/proc/sched_debug",
  "/proc/scsi",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/sys/block",
  "/sys/bus",
  "/sys/class",
  "/sys/dev",
  "/sys/devices/virtual",
  "/sys/firmware",
  "/sys/kernel",
  "/sys/module",
];
/**
 * Where a runtime has TCP on the sandbox's own loopback, it costs memory of the kernel that version 1 of cgroups does not count, and no
 * version counts that of a connection that nobody has accepted: it takes no descriptor either. So a socket gets small buffers (lowest,
 * default and highest size in bytes), which seccomp refuses to raise, and a listening socket holds few connections that wait.
 */
export const SYSCTLS = {
  "net.ipv4.tcp_rmem": "4096 8192 32768",
  "net.ipv4.tcp_wmem": "4096 4096 4096",
  "net.core.somaxconn": "64",
} as const;
const READONLY_PATHS = ["/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/** The whole configuration of the container. Pure. */
export function compileContainer(inputs: ContainerInputs): Docker.ContainerCreateOptions {
  const { policy, uid } = inputs;
  const { limits, permissions } = policy;
  const { network, system } = permissions;
  const { maxProcesses } = system;
  const seccomp = compileSeccomp({
    architecture: inputs.architecture,
    processes: maxProcesses === 1 ? "one" : "many",
    // What reaches other hosts does so over TCP to the sandbox's own loopback.
    tcp: network.loopback || network.allowedHosts.length > 0,
  });
  const cpuSeconds = Math.ceil((limits.timeoutMs / 1000) * Math.max(1, limits.cpus)) + CPU_SLACK_SECONDS;

  return {
    Image: inputs.imageId,
    Entrypoint: [SANDBOX_PATHS.node],
    Cmd: [
      `--max-old-space-size=${Math.floor((limits.memoryBytes * HEAP_SHARE) / 2 ** 20)}`,
      ...(policy.guards.denyCodeGeneration ? ["--disallow-code-generation-from-strings"] : []),
      SANDBOX_PATHS.runner,
    ],
    WorkingDir: SANDBOX_PATHS.workspace,
    User: `${uid}:${uid}`,
    Hostname: "sandbox",
    Labels: { ...inputs.labels },
    NetworkDisabled: true,
    OpenStdin: true,
    StdinOnce: true,
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
    Tty: false,
    HostConfig: {
      CapDrop: ["ALL"],
      GroupAdd: grantedGroups(permissions, inputs.executableGroups).map(String),
      SecurityOpt: ["no-new-privileges:true", `seccomp=${JSON.stringify(seccomp)}`],
      ReadonlyRootfs: true,
      Privileged: false,
      NetworkMode: "none",
      IpcMode: "none",
      LogConfig: { Type: "none", Config: {} },
      RestartPolicy: { Name: "no" },
      AutoRemove: false,
      Init: false,
      OomScoreAdj: 1000,
      Memory: limits.memoryBytes,
      MemorySwap: limits.memoryBytes,
      NanoCpus: Math.round(limits.cpus * 1e9),
      PidsLimit: THREADS_PER_PROCESS * maxProcesses,
      Ulimits: [
        { Name: "core", Soft: CORE_LIMIT, Hard: CORE_LIMIT },
        { Name: "cpu", Soft: cpuSeconds, Hard: cpuSeconds },
        { Name: "fsize", Soft: limits.tempBytes, Hard: limits.tempBytes },
        { Name: "memlock", Soft: 65_536, Hard: 65_536 },
        { Name: "msgqueue", Soft: 0, Hard: 0 },
        { Name: "nofile", Soft: limits.openFiles, Hard: limits.openFiles },
      ],
      Sysctls: SYSCTLS,
      MaskedPaths: MASKED_PATHS,
      ReadonlyPaths: READONLY_PATHS,
      Mounts: [
        ...inputs.directories.map((directory) => boundDirectory(directory, inputs.labels)),
        ...inputs.etcFiles.map(({ source, target }) => ({ Type: "bind" as const, Source: source, Target: target, ReadOnly: true })),
      ],
      Tmpfs: Object.fromEntries(
        permissions.fileSystem.write.map(({ path }) => [
          `${SANDBOX_PATHS.workspace}/${path}`,
          `rw,noexec,nosuid,nodev,size=${limits.tempBytes},nr_inodes=${limits.tempInodes},mode=0700,uid=${uid},gid=${uid}`,
        ]),
      ),
      ...(policy.engineRuntime === undefined ? {} : { Runtime: policy.engineRuntime }),
    },
  };
}

/**
 * The groups of exactly what the permissions grant, sorted. Every other executable file of the image can be neither executed nor read:
 * it belongs to root and a group of its own, and its mode has nothing for others. Without a second process there is nothing to start one
 * in, so nothing is granted.
 */
export function grantedGroups(permissions: Permissions, groups: ExecutableGroups): number[] {
  if (permissions.system.maxProcesses === 1) return [];
  const granted = executablesOf(permissions).flatMap((entry) => {
    const ofEntry = groups.get(entry);
    // An image is made for the entries of its runtime, and a request can only leave some out.
    if (ofEntry === undefined) throw new Error(`the image has no groups for ${entry}`);
    return ofEntry;
  });
  return [...new Set(granted)].sort((a, b) => a - b);
}

/**
 * A bind mount that is read-only *and* noexec. The engine's own bind mounts cannot say noexec, and its `ReadOnly` flag would mount
 * again without it; an anonymous volume of the `local` driver can, and goes away with its container.
 */
function boundDirectory({ source, target }: BoundDirectory, labels: ContainerInputs["labels"]): Docker.MountSettings {
  return {
    Type: "volume",
    Target: target,
    VolumeOptions: {
      NoCopy: true,
      Labels: labels,
      DriverConfig: { Name: "local", Options: { type: "none", device: source, o: "bind,ro,noexec,nosuid,nodev" } },
    },
  } as unknown as Docker.MountSettings;
}
