/**
 * Each layer of defence by itself: of all that a sandbox is started with only this one is in force, for root with every capability
 * where the layer allows it, and still it stops its attack.
 */

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { chmod, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import path from "node:path";

import type Docker from "dockerode";

import { compileContainer } from "../../src/sandbox/docker/container-config.ts";
import { engineArchitecture } from "../../src/sandbox/docker/image/architecture.ts";
import { LAYERS } from "../../src/sandbox/layers.ts";
import { docker, eventually, makeTempFolder } from "../helpers/service.ts";
import { policyOf } from "../unit/support/policies.ts";
import { attack } from "./support/attack.ts";
import { runContainer, sandboxOptions, unrestrictedOptions } from "./support/container.ts";
import { MASKED_GROUP, PROBE, probeImageId, probeProgram, UNREADABLE_PROBE } from "./support/probe-image.ts";

/** Flags of a container: those of the sandbox that are in force, and what the control has in their place. */
type Flags = Partial<Docker.HostConfig> & { readonly User?: string };

interface Isolated {
  readonly title: string;
  readonly without: () => Promise<string>;
  readonly shows: string | RegExp;
  readonly alone: () => Promise<string>;
  readonly gives: string | RegExp;
}

const MEMORY_LIMIT_MIB = 64;
/** Any user but root, and no capability that an exec could keep. */
const SOMEBODY: Flags = { User: "19998:19998", CapAdd: [], CapDrop: ["ALL"] };

/** What the sandbox's container is started with. */
async function sandboxFlags(settings: object = {}): Promise<Docker.HostConfig> {
  const options = await sandboxOptions([], await probeImageId(), { memoryLimit: `${MEMORY_LIMIT_MIB}MB`, ...settings });
  return options.HostConfig;
}

/** Runs one attack in a container in which nothing but these flags is in force. */
async function run(call: string, { User = "0:0", ...flags }: Flags = {}, program = PROBE): Promise<string> {
  const { exitCode, stdout } = await runContainer({ ...unrestrictedOptions([program, call], await probeImageId(), flags), User });
  return stdout === "" ? `exit code ${exitCode}` : stdout.slice(call.length).trim();
}

/** An attack that one flag, or a few that belong together, stops. */
function byFlags(
  call: string,
  title: string,
  pick: (flags: Docker.HostConfig) => Flags,
  {
    control = () => ({}),
    gives,
    shows = "ok",
  }: Pick<Isolated, "gives"> & { shows?: string; control?: (flags: Docker.HostConfig) => Flags },
): Isolated {
  return {
    title,
    shows,
    gives,
    without: async () => run(call, control(await sandboxFlags())),
    alone: async () => run(call, pick(await sandboxFlags())),
  };
}

/** The engine cannot set the filter by itself: without no-new-privileges it would be stopped by it before the container is ready. */
const filter = ({ SecurityOpt }: Docker.HostConfig): Flags => ({ SecurityOpt: SecurityOpt! });
const withExec = (mounts: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(mounts).map(([target, options]) => [target, options.replace("noexec", "exec")]));

const FORK: Isolated = {
  title: "a new process",
  shows: "ok",
  gives: "EPERM",
  // The filter of a runtime with more than one process.
  without: async () => run("fork", filter(await sandboxFlags({ permissions: { system: { maxProcesses: 2 } } }))),
  alone: async () => run("fork", filter(await sandboxFlags())),
};

/** A folder of the host with a program in it, mounted as an ordinary bind mount and as the sandbox does it. */
const EXEC_MOUNTED: Isolated = {
  title: "a program in a folder of the host",
  shows: "exit code 42",
  gives: "EACCES",
  without: () => withProgramFolder((folder) => run("exec_mounted", { Binds: [`${folder}:/mounted:ro`] })),
  alone: () =>
    withProgramFolder(async (source) => {
      const { HostConfig } = compileContainer({
        policy: policyOf(),
        imageId: await probeImageId(),
        executableGroups: new Map(),
        architecture: await engineArchitecture(docker),
        uid: 19_998,
        labels: {},
        directories: [{ source, target: "/mounted" }],
        etcFiles: [],
      });
      return run("exec_mounted", { Mounts: HostConfig!.Mounts! });
    }),
};

async function withProgramFolder(use: (folder: string) => Promise<string>): Promise<string> {
  const folder = await makeTempFolder();
  try {
    await chmod(folder, 0o755);
    await writeFile(path.join(folder, "probe"), await probeProgram(), { mode: 0o755 });
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const OVERWRITE: Isolated = {
  title: "writing the own code through /proc/self/mem",
  shows: "overwritten",
  gives: "EACCES",
  without: () => run("write_own_code", SOMEBODY),
  alone: () => run("write_own_code", SOMEBODY, UNREADABLE_PROBE),
};
const READ_RUNTIME: Isolated = {
  title: "reading the runtime's binary",
  shows: "ok",
  gives: "EACCES",
  without: () => run("read_runtime"),
  alone: () => run("read_runtime", SOMEBODY),
};
/** In a folder where a core dump can be written. The probe raises its limit itself. */
const DUMPING: Flags = { ...SOMEBODY, Tmpfs: { "/tmp": "rw,mode=0700,uid=19998" } };
const DUMP_UNREADABLE: Isolated = {
  title: "a core dump of the runtime",
  shows: "dumped",
  gives: "not dumped",
  without: () => run("dump_core", DUMPING),
  alone: () => run("dump_core", DUMPING, UNREADABLE_PROBE),
};
const DUMP_LIMITED: Isolated = {
  title: "a core dump",
  shows: "dumped",
  // A limit of 0 does not keep the kernel from starting a handler; then the unreadable runtime does.
  gives: /^not dumped$|^cannot be shown: core dumps go to a handler/,
  without: () => run("dump_core", DUMPING),
  alone: async () => {
    if ((await readFile("/proc/sys/kernel/core_pattern", "utf8")).startsWith("|")) return "cannot be shown: core dumps go to a handler";
    return run("dump_core", { ...DUMPING, Ulimits: (await sandboxFlags()).Ulimits! });
  },
};

/** A service of the host, on loopback only. */
async function connectTo(flags: (sandbox: Docker.HostConfig) => Flags): Promise<string> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    return await run(`connect:${(server.address() as AddressInfo).port}`, flags(await sandboxFlags()));
  } finally {
    server.close();
  }
}
const CONNECT: Isolated = {
  title: "a connection to a port of the host",
  shows: "ok",
  gives: "ECONNREFUSED",
  without: () => connectTo(() => ({ NetworkMode: "host" })),
  alone: () => connectTo(({ NetworkMode }) => ({ NetworkMode: NetworkMode! })),
};

/** What one user may have on the machine is taken by a container of that user. */
async function beside(neighbour: string): Promise<string> {
  const { User, ...flags } = SOMEBODY;
  const container = await docker.createContainer({
    ...unrestrictedOptions([PROBE, "take_all_inotify"], await probeImageId(), flags),
    name: `code-mode-attack-${randomBytes(6).toString("hex")}`,
    User: User!,
  });
  try {
    await container.start();
    await eventually("everything is taken", async () => (await container.logs({ stdout: true })).includes("taken"));
    return await run("take_one_inotify", { ...SOMEBODY, User: neighbour });
  } finally {
    await container.remove({ force: true, v: true });
  }
}
const SHARED_LIMITS: Isolated = {
  title: "taking what a user may have on the whole machine from another sandbox",
  shows: "EMFILE",
  gives: "ok",
  without: () => beside(SOMEBODY.User!),
  alone: () => beside("19997:19997"),
};

const masked = ({ GroupAdd }: Docker.HostConfig): Flags => ({ ...SOMEBODY, GroupAdd: GroupAdd! });
const unmasked = (): Flags => ({ ...SOMEBODY, GroupAdd: [String(MASKED_GROUP)] });

const TRACE: Isolated = {
  title: "taking hold of a command's process",
  shows: "ok",
  gives: "EPERM",
  without: () => run("trace_child:0", unmasked()),
  alone: () => run("trace_child:1", unmasked()),
};

/** Every layer's attacks. A layer that is not here has no test, and fails. */
const ISOLATED: Readonly<Record<string, readonly Isolated[]>> = {
  capabilities: [byFlags("mount", "a mount", ({ CapDrop }) => ({ CapAdd: [], CapDrop: CapDrop! }), { gives: "EPERM" })],
  "no-new-privileges": [
    byFlags(
      "set_user_id_program",
      "a set-user-id program of root",
      ({ SecurityOpt }) => ({
        SecurityOpt: ["seccomp=unconfined", ...SecurityOpt!.filter((option: string) => !option.startsWith("seccomp="))],
      }),
      { shows: "root", gives: "not root" },
    ),
  ],
  seccomp: [byFlags("bpf", "bpf", filter, { gives: "EPERM" }), byFlags("socket:16:3:0", "a netlink socket", filter, { gives: "EPERM" })],
  "one-process": [FORK],
  "read-only-root": [
    byFlags("write_root", "a file beside the runtime", ({ ReadonlyRootfs }) => ({ ReadonlyRootfs: ReadonlyRootfs! }), { gives: "EROFS" }),
  ],
  noexec: [
    byFlags("exec_file", "a program in a writable folder", ({ Tmpfs }) => ({ Tmpfs: Tmpfs! }), {
      control: ({ Tmpfs }) => ({ Tmpfs: withExec(Tmpfs as Record<string, string>) }),
      shows: "exit code 42",
      gives: "EACCES",
    }),
    EXEC_MOUNTED,
  ],
  "granted-commands": [
    byFlags("exec_masked", "a command without its group", masked, { control: unmasked, shows: "exit code 42", gives: "EACCES" }),
    byFlags("read_masked", "reading a command", masked, { gives: "EACCES" }),
    TRACE,
  ],
  "unreadable-runtime": [OVERWRITE, READ_RUNTIME, DUMP_UNREADABLE],
  "no-network": [CONNECT],
  "own-user": [SHARED_LIMITS],
  "no-shared-memory": [
    byFlags("shared_memory", "a file in /dev/shm", ({ IpcMode }) => ({ IpcMode: IpcMode! }), { gives: "ENOENT" }),
    byFlags("take_terminal", "a terminal of the host's pool", ({ MaskedPaths }) => ({ MaskedPaths: MaskedPaths! }), { gives: "ENOENT" }),
  ],
  "resource-limits": [byFlags("mq_open", "a message queue", ({ Ulimits }) => ({ Ulimits: Ulimits! }), { gives: "EMFILE" }), DUMP_LIMITED],
  "socket-memory": [
    byFlags("socket:2:1:0", "a TCP socket", filter, { gives: "EPERM" }),
    byFlags("fill_socket", "filling a connection that nobody reads", ({ Sysctls }) => ({ Sysctls: Sysctls! }), {
      shows: "above 512 KiB",
      gives: "below 512 KiB",
    }),
    byFlags("fill_queue", "connections that nobody accepts", ({ Sysctls }) => ({ Sysctls: Sysctls! }), {
      shows: "above 100 connections",
      gives: "below 100 connections",
    }),
  ],
  memory: [
    byFlags(
      `allocate:${2 * MEMORY_LIMIT_MIB}`,
      "twice the memory of the limit",
      ({ Memory, MemorySwap }) => ({ Memory: Memory!, MemorySwap: MemorySwap! }),
      // SIGKILL
      { gives: "exit code 137" },
    ),
  ],
  pids: [byFlags("take_tasks:200", "200 threads", ({ PidsLimit }) => ({ PidsLimit: PidsLimit! }), { gives: "EAGAIN" })],
};

describe("Security: layers", () => {
  for (const { id, title } of LAYERS) {
    for (const { alone, gives, shows, title: what, without } of ISOLATED[id] ?? []) {
      attack({ name: `${title}, alone: ${what}`, layer: id, without: { run: without, shows }, within: { run: alone, gives } });
    }
  }

  it("have a test each", () => {
    assert.deepEqual(Object.keys(ISOLATED).sort(), LAYERS.map(({ id }) => id).sort());
  });
});
