import assert from "node:assert/strict";

import type Docker from "dockerode";

import { compileContainer, THREADS_PER_PROCESS } from "../../../../src/sandbox/docker/container-config.ts";
import type { ContainerInputs } from "../../../../src/sandbox/docker/container-config.ts";
import { compileSeccomp } from "../../../../src/sandbox/docker/seccomp.ts";
import { policyOf } from "../../support/policies.ts";

const LABELS = { "code-mode.instance": "ins_x", "code-mode.execution": "exe_x" };

const compiled = (
  settings: object = {},
  request: object = {},
  more: Partial<ContainerInputs> = {},
): Docker.ContainerCreateOptions & { HostConfig: Docker.HostConfig } => {
  const options = compileContainer({
    policy: policyOf(settings, request),
    imageId: "sha256:image",
    executableGroups: new Map(),
    architecture: "amd64",
    uid: 20_007,
    labels: LABELS,
    directories: [
      { source: "/state/run/x/sockets", target: "/run/code-mode" },
      { source: "/state/run/x/workspace", target: "/workspace" },
    ],
    etcFiles: [{ source: "/state/run/etc/hosts", target: "/etc/hosts" }],
    ...more,
  });
  return { ...options, HostConfig: options.HostConfig! };
};

const securityOf = ({ HostConfig }: ReturnType<typeof compiled>): string[] => HostConfig.SecurityOpt as string[];
const profileOf = (container: ReturnType<typeof compiled>): unknown => JSON.parse(securityOf(container)[1]!.replace(/^seccomp=/, ""));

const ulimits = ({ HostConfig }: ReturnType<typeof compiled>): Record<string, number> =>
  Object.fromEntries(
    (HostConfig.Ulimits as { Name: string; Soft: number; Hard: number }[]).map(({ Hard, Name, Soft }) => {
      assert.equal(Soft, Hard, Name);
      return [Name, Hard];
    }),
  );

describe("container-config: the hardening that every container has", () => {
  const container = compiled();
  const host = container.HostConfig;

  for (const [flag, value] of [
    ["CapDrop", ["ALL"]],
    ["GroupAdd", []],
    ["ReadonlyRootfs", true],
    ["Privileged", false],
    ["NetworkMode", "none"],
    ["IpcMode", "none"],
    ["LogConfig", { Type: "none", Config: {} }],
    ["RestartPolicy", { Name: "no" }],
    ["AutoRemove", false],
    ["Init", false],
    ["OomScoreAdj", 1000],
    ["Memory", 512 * 2 ** 20],
    ["MemorySwap", 512 * 2 ** 20],
    ["NanoCpus", 1e9],
    ["PidsLimit", THREADS_PER_PROCESS],
    ["Sysctls", { "net.ipv4.tcp_rmem": "4096 8192 32768", "net.ipv4.tcp_wmem": "4096 4096 4096", "net.core.somaxconn": "64" }],
  ] as const) {
    it(`HostConfig.${flag} is ${JSON.stringify(value)}`, () => {
      assert.deepEqual((host as unknown as Record<string, unknown>)[flag], value);
    });
  }

  for (const flag of [
    "CapAdd",
    "Binds",
    "Devices",
    "DeviceRequests",
    "PidMode",
    "UsernsMode",
    "CgroupnsMode",
    "UTSMode",
    "VolumesFrom",
    "Links",
    "PortBindings",
    "PublishAllPorts",
    "ExtraHosts",
    "Dns",
    "OomKillDisable",
    "CgroupParent",
    "Runtime",
    "ShmSize",
  ]) {
    it(`HostConfig.${flag} is not set`, () => {
      assert.ok(!(flag in host));
    });
  }

  it("privileges cannot be gained, and the seccomp profile is the compiled one", () => {
    assert.equal(securityOf(container).length, 2);
    assert.equal(securityOf(container)[0], "no-new-privileges:true");
    assert.deepEqual(profileOf(container), compileSeccomp({ architecture: "amd64", processes: "one", tcp: false }));
  });

  it("what tells about the host is masked, what could change it is read-only", () => {
    for (const path of [
      "/dev/pts",
      "/proc/acpi",
      "/proc/cmdline",
      "/proc/interrupts",
      "/proc/kcore",
      "/proc/keys",
      "/proc/loadavg",
      "/proc/pressure",
      "/proc/timer_list",
      "/proc/scsi",
      "/sys/firmware",
      "/sys/devices/virtual",
    ]) {
      assert.ok(host.MaskedPaths!.includes(path), path);
    }
    for (const path of ["/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]) assert.ok(host.ReadonlyPaths!.includes(path), path);
  });

  it("the program is the runtime with the runner, as a user of its own, in the workspace", () => {
    const { Cmd, Entrypoint, Hostname, Image, User, WorkingDir } = container;
    assert.deepEqual(
      [Image, Entrypoint, User, WorkingDir, Hostname],
      ["sha256:image", ["/usr/local/bin/node"], "20007:20007", "/workspace", "sandbox"],
    );
    assert.deepEqual(Cmd, ["--max-old-space-size=384", "/opt/code-mode/runner.cjs"]);
    assert.ok(!("Env" in container), "nothing of the host's environment, and nothing of the caller's before its delivery");
  });

  it("its streams are attached, without a terminal, and stdin ends when it is over", () => {
    const { AttachStderr, AttachStdin, AttachStdout, NetworkDisabled, OpenStdin, StdinOnce, Tty } = container;
    assert.deepEqual(
      [AttachStdin, AttachStdout, AttachStderr, OpenStdin, StdinOnce, Tty, NetworkDisabled],
      [true, true, true, true, true, false, true],
    );
  });

  it("core dumps, message queues and locked memory are off or tiny", () => {
    assert.deepEqual(ulimits(container), { core: 1, cpu: 60, fsize: 64 * 2 ** 20, memlock: 65_536, msgqueue: 0, nofile: 1024 });
  });

  it("it bears the labels by which it is found again", () => {
    assert.deepEqual(container.Labels, LABELS);
  });
});

describe("container-config: mounts", () => {
  it("of folders are read-only and noexec, and go away with the container", () => {
    const { Mounts } = compiled().HostConfig;
    const volume = (source: string, target: string): unknown => ({
      Type: "volume",
      Target: target,
      VolumeOptions: {
        NoCopy: true,
        Labels: LABELS,
        DriverConfig: { Name: "local", Options: { type: "none", device: source, o: "bind,ro,noexec,nosuid,nodev" } },
      },
    });
    assert.deepEqual(Mounts, [
      volume("/state/run/x/sockets", "/run/code-mode"),
      volume("/state/run/x/workspace", "/workspace"),
      { Type: "bind", Source: "/state/run/etc/hosts", Target: "/etc/hosts", ReadOnly: true },
    ]);
  });

  it("of writable folders are tmpfs of the program's own, capped in bytes and entries, with nothing to execute", () => {
    const { Tmpfs } = compiled({
      permissions: { fileSystem: { write: ["temp", "out/a b"] } },
      limits: { tempBytes: "1MB", tempInodes: 100 },
    }).HostConfig;
    const options = "rw,noexec,nosuid,nodev,size=1048576,nr_inodes=100,mode=0700,uid=20007,gid=20007";
    assert.deepEqual(Tmpfs, { "/workspace/temp": options, "/workspace/out/a b": options });
  });

  it("of writable folders are none where the policy, or the request, has none", () => {
    assert.deepEqual(compiled().HostConfig.Tmpfs, {});
    assert.deepEqual(
      compiled({ permissions: { fileSystem: { write: ["temp"] } } }, { permissions: { fileSystem: { write: [] } } }).HostConfig.Tmpfs,
      {},
    );
  });
});

describe("container-config: commands", () => {
  const SETTINGS = {
    packages: ["git", "jq"],
    permissions: {
      fileSystem: { execute: ["/usr/lib/git-core"] },
      system: { allowedCommands: ["node", "jq", "git"], maxProcesses: 4 },
    },
  };
  const executableGroups = new Map([
    ["git", [60_701]],
    ["jq", [60_702]],
    ["/usr/lib/git-core", [60_711, 60_701, 60_704]],
    ["curl", [60_703]],
  ]);
  const groupsOf = (request: object): unknown => compiled(SETTINGS, request, { executableGroups }).HostConfig.GroupAdd;

  it("bring the groups of what is granted, each once, and no other", () => {
    assert.deepEqual(groupsOf({}), ["60701", "60702", "60704", "60711"]);
  });

  for (const [system, execute, groups] of [
    [{ allowedCommands: ["jq"] }, [], ["60702"]],
    [{ allowedCommands: ["jq"] }, undefined, ["60701", "60702", "60704", "60711"]],
    [{ allowedCommands: ["node"] }, [], []],
    [{ allowedCommands: [] }, [], []],
    [{ maxProcesses: 1 }, undefined, []],
  ] as const) {
    it(`of a request with ${JSON.stringify({ ...system, execute })} bring ${groups.join(", ") || "none"}`, () => {
      const fileSystem = execute === undefined ? {} : { execute };
      assert.deepEqual(groupsOf({ permissions: { system, fileSystem } }), groups);
    });
  }

  it("that the image knows nothing of start no container", () => {
    assert.throws(() => compiled(SETTINGS), /the image has no groups for jq/);
  });
});

describe("container-config: what the policy sets", () => {
  it("memory is a hard limit without swap, and the heap stays below it", () => {
    for (const [memory, heapMib] of [
      ["64MB", 48],
      ["256MB", 192],
      ["1GB", 768],
    ] as const) {
      const { Cmd, HostConfig } = compiled({ memoryLimit: "1GB" }, { limits: { memory } });
      assert.equal(HostConfig.Memory, HostConfig.MemorySwap);
      assert.equal(HostConfig.Memory! / 2 ** 20, (heapMib * 4) / 3);
      assert.equal(Cmd![0], `--max-old-space-size=${heapMib}`);
    }
  });

  it("CPU is a share, and CPU time ends some time after the deadline, for when nobody enforces that", () => {
    const container = compiled({ timeout: 10_000, limits: { cpus: 2.5 } });
    assert.equal(container.HostConfig.NanoCpus, 2.5e9);
    assert.equal(ulimits(container)["cpu"], 55);
    assert.equal(ulimits(compiled({ timeout: 1, limits: { cpus: 0.05 } }))["cpu"], 31, "the start needs some too");
  });

  it("one process means that none can be made; more mean more threads in all", () => {
    const three = compiled({ permissions: { system: { maxProcesses: 3 } } });
    assert.equal(three.HostConfig.PidsLimit, 3 * THREADS_PER_PROCESS);
    assert.deepEqual(profileOf(three), compileSeccomp({ architecture: "amd64", processes: "many", tcp: false }));
  });

  for (const [network, request, tcp] of [
    [{}, {}, false],
    [{ loopback: false, allowedPorts: [80] }, {}, false],
    [{ loopback: true }, {}, true],
    [{ loopback: true }, { loopback: false }, false],
    // The way to other hosts begins on the loopback.
    [{ allowedHosts: ["example.com"] }, {}, true],
    [{ allowedHosts: ["example.com"] }, { allowedHosts: [] }, false],
  ] as const) {
    it(`TCP sockets ${tcp ? "" : "do not "}exist with ${JSON.stringify(network)}, narrowed by ${JSON.stringify(request)}`, () => {
      const container = compiled({ permissions: { network } }, { permissions: { network: request } });
      assert.deepEqual(profileOf(container), compileSeccomp({ architecture: "amd64", processes: "one", tcp }));
    });
  }

  it("files may be as many and as large as the limits say", () => {
    const limits = ulimits(compiled({ limits: { openFiles: 77, tempBytes: "1MB" } }));
    assert.deepEqual([limits["nofile"], limits["fsize"]], [77, 2 ** 20]);
  });

  it("code from strings is turned off where the policy says so", () => {
    assert.deepEqual(compiled({ deniedOperations: ["Function"] }).Cmd, [
      "--max-old-space-size=384",
      "--disallow-code-generation-from-strings",
      "/opt/code-mode/runner.cjs",
    ]);
  });

  it("the engine's runtime is the configured one", () => {
    assert.equal(compiled({ engineRuntime: "runsc" }).HostConfig.Runtime, "runsc");
  });

  it("the seccomp profile is that of the architecture", () => {
    assert.match(securityOf(compiled({}, {}, { architecture: "arm64" }))[1]!, /SCMP_ARCH_AARCH64/);
  });
});
