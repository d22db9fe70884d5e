/**
 * The layers of defence: which are required, what each one stops, and how a canary sandbox proves it at every start.
 *
 * The one place for these claims: the start-up check, `GET /health` and the table in docs/threat-model.md are made from it. A layer
 * that is not listed is not claimed.
 */

import { z } from "zod";

/** What the canary program reports from inside. It runs trusted code, so the report can be believed. */
export const canaryReportSchema = z.strictObject({
  /** `/proc/self/status`, as name → value. */
  status: z.record(z.string(), z.string()),
  /** Mounts as target → options. */
  mounts: z.record(z.string(), z.array(z.string())),
  /** Attempts that must fail, as attempt → error code; `"ok"` when it worked. */
  attempts: z.record(z.string(), z.string()),
  interfaces: z.array(z.string()),
  uid: z.int(),
  /** Kernel settings of the sandbox's own network namespace, as name → value. */
  sysctls: z.record(z.string(), z.string()),
  /** `/proc/self/limits`, as name → hard limit. */
  resourceLimits: z.record(z.string(), z.string()),
  memoryLimitBytes: z.number().nullable(),
  pidsLimit: z.number().nullable(),
  /** Supplementary groups, the user's own left out. */
  groups: z.array(z.int()),
  /** Every file of the image that has an executable bit or a group of its own, by path. */
  executables: z.record(
    z.string(),
    z.strictObject({
      group: z.int(),
      /** `ok`, `ELF` for machine code that could be read, or an error's code. */
      read: z.string(),
      /** `ok`, an error's code, or what the loader had to say. */
      run: z.string(),
    }),
  ),
});
export type CanaryReport = z.infer<typeof canaryReportSchema>;

/** What the canary was started with. */
export interface CanaryExpectation {
  readonly memoryBytes: number;
  readonly pidsLimit: number;
  readonly writePath: string;
  readonly sysctls: Readonly<Record<string, string>>;
  /** Whether it can start processes. */
  readonly processes: "one" | "many";
  /** The groups of the commands that it is granted. */
  readonly groups: readonly number[];
}

export interface Layer {
  readonly id: string;
  readonly title: string;
  readonly required: boolean;
  readonly stops: string;
  /** Why the layer is not in force, or `undefined` when it is. */
  readonly check: (report: CanaryReport, expected: CanaryExpectation) => string | undefined;
}

const ALL_ZERO = /^0+$/;

const failsWith = (report: CanaryReport, attempt: string, codes: readonly string[]): string | undefined => {
  const outcome = report.attempts[attempt];
  return outcome !== undefined && codes.includes(outcome)
    ? undefined
    : `${attempt}: expected ${codes.join(" or ")}, got ${outcome ?? "nothing"}`;
};

const firstProblem = (...problems: readonly (string | undefined)[]): string | undefined =>
  problems.find((problem) => problem !== undefined);

const RUNTIME = "/usr/local/bin/node";
/** Node and the C library's loader, which every process needs. */
const isRuntime = (file: string): boolean => file === RUNTIME || /^\/usr\/lib[^.]*\/ld-linux[^/]*\.so\.\d+$/.test(file);

/** Every layer, in the order in which the threat model lists them. */
export const LAYERS: readonly Layer[] = [
  {
    id: "capabilities",
    title: "No capabilities",
    required: true,
    stops: "everything that needs a privilege: mounting, raw sockets, other users' files, kernel modules",
    check: ({ status }) =>
      firstProblem(
        ...["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"].map((set) =>
          ALL_ZERO.test(status[set] ?? "") ? undefined : `${set} is ${status[set] ?? "unknown"}`,
        ),
      ),
  },
  {
    id: "no-new-privileges",
    title: "No new privileges",
    required: true,
    stops: "set-user-id programs and file capabilities",
    check: ({ status }) => (status["NoNewPrivs"] === "1" ? undefined : "NoNewPrivs is not set"),
  },
  {
    id: "seccomp",
    title: "System call allowlist (seccomp)",
    required: true,
    stops: "kernel attack surface: other socket families, ptrace, bpf, io_uring, user namespaces, memfd, other ABIs",
    check: (report) =>
      firstProblem(report.status["Seccomp"] === "2" ? undefined : "no filter is installed", failsWith(report, "netlink socket", ["EPERM"])),
  },
  {
    id: "one-process",
    title: "No new processes (maxProcesses 1)",
    required: true,
    stops: "fork bombs, background processes, running any other program",
    check: (report, { processes }) => (processes === "one" ? failsWith(report, "spawn", ["EPERM"]) : undefined),
  },
  {
    id: "read-only-root",
    title: "Read-only root file system and mounts",
    required: true,
    stops: "changing the runtime, planting files, writing to folders of the host",
    check: (report) =>
      firstProblem(
        ...["/", "/workspace", "/run/code-mode"].map((target) =>
          report.mounts[target]?.includes("ro") === true ? undefined : `${target} is not mounted read-only`,
        ),
        failsWith(report, "write outside", ["EROFS", "EACCES"]),
      ),
  },
  {
    id: "noexec",
    title: "Nothing to execute in writable and mounted places",
    required: true,
    stops: "bringing a program or a native module along",
    check: ({ mounts }, { writePath }) =>
      firstProblem(
        ...[writePath, "/workspace", "/run/code-mode"].flatMap((target) =>
          ["noexec", "nosuid", "nodev"].map((flag) =>
            mounts[target]?.includes(flag) === true ? undefined : `${target} is mounted without ${flag}`,
          ),
        ),
      ),
  },
  {
    id: "unreadable-runtime",
    title: "Unreadable runtime binary",
    required: true,
    stops: "overwriting the runtime's code through /proc/self/mem, core dumps",
    check: (report) =>
      firstProblem(failsWith(report, "open /proc/self/mem", ["EACCES", "EPERM"]), failsWith(report, "read the runtime", ["EACCES"])),
  },
  {
    id: "granted-commands",
    title: "Nothing to execute but what was granted",
    required: true,
    stops: "running a command that the policy leaves out, copying it, having the loader run it, overwriting a command's code",
    check: ({ executables, groups }, expected) =>
      firstProblem(
        RUNTIME in executables ? undefined : "the files of the image were not looked at",
        [...groups].sort().join() === [...expected.groups].sort().join() ? undefined : `its groups are ${groups.join(", ") || "none"}`,
        ...Object.entries(executables).flatMap(([file, { group, read, run }]) => {
          const isGranted = expected.groups.includes(group);
          return [
            isGranted || isRuntime(file) || run === "EACCES" ? undefined : `executing ${file}: expected EACCES, got ${run}`,
            (isGranted ? read !== "ELF" : read === "EACCES") ? undefined : `reading ${file}: expected EACCES, got ${read}`,
          ];
        }),
      ),
  },
  {
    id: "no-network",
    title: "No network interface",
    required: true,
    stops: "every connection to other machines and to the host",
    check: ({ interfaces }) => (interfaces.every((name) => name === "lo") ? undefined : `interfaces: ${interfaces.join(", ")}`),
  },
  {
    id: "own-user",
    title: "A user id of its own",
    required: true,
    stops: "shared per-user limits and signals between sandboxes",
    check: ({ uid }) => (uid >= 1000 ? undefined : `runs as uid ${uid}`),
  },
  {
    id: "no-shared-memory",
    title: "No /dev/shm and no pseudo-terminals",
    required: true,
    stops: "writable memory outside the caps, taking terminals from the host's pool",
    check: (report) =>
      firstProblem(
        report.mounts["/dev/shm"] === undefined ? undefined : "/dev/shm is mounted",
        failsWith(report, "write /dev", ["EROFS", "EACCES", "EPERM", "ENOENT"]),
        failsWith(report, "open a terminal", ["ENOENT", "EACCES"]),
      ),
  },
  {
    id: "resource-limits",
    title: "Resource limits: no core dumps, no message queues",
    required: true,
    stops: "handlers of the host that core dumps would start, kernel memory in queues",
    check: ({ resourceLimits }) =>
      firstProblem(
        ...Object.entries({ "Max core file size": "1", "Max msgqueue size": "0" }).map(([name, value]) =>
          resourceLimits[name] === value ? undefined : `${name} is ${resourceLimits[name] ?? "unknown"}`,
        ),
        /^\d+$/.test(resourceLimits["Max cpu time"] ?? "") ? undefined : "CPU time is not limited",
      ),
  },
  {
    id: "socket-memory",
    title: "No TCP or UDP sockets, small socket buffers and queues",
    required: true,
    stops: "taking the kernel's memory for sockets, which not every cgroup counts",
    check: (report, { sysctls }) =>
      firstProblem(
        ...Object.entries(sysctls).map(([name, value]) =>
          report.sysctls[name] === value ? undefined : `${name} is ${report.sysctls[name] ?? "unknown"}`,
        ),
        failsWith(report, "UDP socket", ["EPERM"]),
        failsWith(report, "TCP socket", ["EPERM"]),
      ),
  },
  {
    id: "memory",
    title: "Memory limit",
    required: true,
    stops: "exhausting the host's memory",
    check: ({ memoryLimitBytes }, { memoryBytes }) =>
      memoryLimitBytes === memoryBytes ? undefined : `the limit is ${memoryLimitBytes ?? "unknown"}, not ${memoryBytes}`,
  },
  {
    id: "pids",
    title: "Process and thread limit",
    required: true,
    stops: "exhausting the host's process table",
    check: (report, { pidsLimit }) =>
      report.pidsLimit === pidsLimit ? undefined : `the limit is ${report.pidsLimit ?? "unknown"}, not ${pidsLimit}`,
  },
];

/** The granted commands of a canary that cannot be executed, each with the reason. That is no hole, but of no use either. */
export function findBrokenCommands({ executables }: CanaryReport, { groups }: CanaryExpectation): string[] {
  const granted = Object.entries(executables).filter(([, { group }]) => groups.includes(group));
  const broken = granted.flatMap(([file, { run }]) => (run === "ok" ? [] : [`${file}: ${run}`]));
  const found = new Set(granted.map(([, { group }]) => group));
  return [...broken, ...groups.filter((group) => !found.has(group)).map((group) => `no file of the image has the group ${group}`)];
}
