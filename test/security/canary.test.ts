/**
 * The start of a service on an engine that does not enforce what it was asked for: a proxy takes one flag of a container away, and the
 * canary must see it from inside and name the layer.
 */

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";

import type Docker from "dockerode";

import { StartupError } from "../../src/domain/errors.ts";
import { compileSeccomp } from "../../src/sandbox/docker/seccomp.ts";
import { LABEL } from "../../src/sandbox/docker/labels.ts";
import { LAYERS } from "../../src/sandbox/layers.ts";
import { EngineProxy } from "../helpers/proxy.ts";
import type { ContainerChange } from "../helpers/proxy.ts";
import { docker, makeTempFolder, TestService } from "../helpers/service.ts";
import { recordAttack } from "./support/attack.ts";
import { sandboxOptions, unrestrictedOptions } from "./support/container.ts";
import { MASKED_GROUP, PROBE, probeImageId } from "./support/probe-image.ts";

interface Case {
  /** The flag, by its name in the engine's API. */
  readonly flag: string;
  readonly title: string;
  readonly change: ContainerChange;
  /** The layers that a start must name, all of them and no other. */
  readonly layers: readonly string[];
}

const without = (flag: keyof Docker.HostConfig, layer: string): Case => ({
  flag,
  title: `no ${flag}`,
  change: ({ HostConfig }) => {
    // eslint-disable-next-line @typescript-eslint/no-dynamic-delete
    delete HostConfig[flag];
  },
  layers: [layer],
});

const withFlags = (title: string, flags: Partial<Docker.HostConfig>, ...layers: string[]): Case => ({
  flag: Object.keys(flags)[0]!,
  title,
  change: ({ HostConfig }) => void Object.assign(HostConfig, flags),
  layers,
});

const withoutUlimit = (name: string): Case => ({
  flag: "Ulimits",
  title: `no limit for ${name}`,
  change: ({ HostConfig }) => {
    HostConfig.Ulimits = HostConfig.Ulimits!.filter((limit: Docker.Ulimit) => limit.Name !== name);
  },
  layers: ["resource-limits"],
});

/** A folder of the host that is mounted without one of the options. */
const mountedWithout = (target: string, option: string): Case => ({
  flag: "Mounts",
  title: `${target} mounted without ${option}`,
  change: ({ HostConfig }) => {
    const mount = HostConfig.Mounts!.find(({ Target }) => Target === target)!;
    const { Options: options } = mount.VolumeOptions!.DriverConfig;
    options["o"] = options["o"]!.replace(`,${option}`, "");
  },
  // Without `ro` the engine does not apply the other options either.
  layers: option === "ro" ? ["read-only-root", "noexec"] : ["noexec"],
});

/** The writable folder without one of the options; the engine has them by default, so their opposite is asked for. */
const writableWith = (option: string): Case => ({
  flag: "Tmpfs",
  title: `a writable folder mounted with ${option}`,
  change: ({ HostConfig }) => {
    const folders = HostConfig.Tmpfs as Record<string, string>;
    for (const [target, options] of Object.entries(folders)) folders[target] = options.replace(`no${option}`, option);
  },
  layers: ["noexec"],
});

const NO_NEW_PRIVILEGES = "no-new-privileges:true";
const architecture = process.arch === "x64" ? "amd64" : "arm64";
const manyProcesses = JSON.stringify(compileSeccomp({ architecture, processes: "many", tcp: false }));
const withTcp = JSON.stringify(compileSeccomp({ architecture, processes: "one", tcp: true }));
/** A program that can open sockets of the internet takes memory of the kernel that no limit counts. */
const FILTER_LAYERS = ["seccomp", "one-process", "socket-memory"];

const CASES: readonly Case[] = [
  without("CapDrop", "capabilities"),
  withFlags("the group of a command", { GroupAdd: [String(MASKED_GROUP)] }, "granted-commands"),
  withFlags("one capability", { CapAdd: ["NET_BIND_SERVICE"] }, "capabilities"),
  withFlags("no filter", { SecurityOpt: [NO_NEW_PRIVILEGES, "seccomp=unconfined"] }, ...FILTER_LAYERS),
  withFlags("the engine's own filter", { SecurityOpt: [NO_NEW_PRIVILEGES] }, ...FILTER_LAYERS),
  withFlags("the filter for many processes", { SecurityOpt: [NO_NEW_PRIVILEGES, `seccomp=${manyProcesses}`] }, "one-process"),
  withFlags("the filter with TCP sockets", { SecurityOpt: [NO_NEW_PRIVILEGES, `seccomp=${withTcp}`] }, "socket-memory"),
  withFlags("no filter and new privileges", { SecurityOpt: ["seccomp=unconfined"] }, "no-new-privileges", ...FILTER_LAYERS),
  without("ReadonlyRootfs", "read-only-root"),
  ...["exec", "suid", "dev"].map(writableWith),
  ...["/workspace", "/run/code-mode"].flatMap((target) =>
    ["ro", "noexec", "nosuid", "nodev"].map((option) => mountedWithout(target, option)),
  ),
  withFlags("IpcMode private", { IpcMode: "private" }, "no-shared-memory"),
  {
    flag: "MaskedPaths",
    title: "/dev/pts not masked",
    change: ({ HostConfig }) => {
      HostConfig.MaskedPaths = HostConfig.MaskedPaths!.filter((masked: string) => masked !== "/dev/pts");
    },
    layers: ["no-shared-memory"],
  },
  ...["core", "msgqueue", "cpu"].map(withoutUlimit),
  without("Sysctls", "socket-memory"),
  withFlags("no memory limit", { Memory: 0, MemorySwap: 0 }, "memory"),
  withFlags("a higher memory limit", { Memory: 2 ** 30, MemorySwap: 2 ** 30 }, "memory"),
  without("PidsLimit", "pids"),
  withFlags("a higher PidsLimit", { PidsLimit: 1024 }, "pids"),
  {
    flag: "NetworkMode",
    title: "a network",
    change: (options) => {
      options.NetworkDisabled = false;
      options.HostConfig.NetworkMode = "bridge";
    },
    layers: ["no-network"],
  },
  {
    flag: "User",
    title: "root as the user",
    change: (options) => void (options.User = "0:0"),
    // Root owns the runtime and the loader, so root can read them.
    layers: ["own-user", "unreadable-runtime", "granted-commands"],
  },
];

/** What the canary does not look at; docs/threat-model.md says so. Or what stops nothing by itself. */
const NOT_LOOKED_AT = [
  "AutoRemove",
  "Init",
  "LogConfig",
  "NanoCpus",
  "OomScoreAdj",
  "Privileged",
  "ReadonlyPaths",
  "RestartPolicy",
  // With Memory.
  "MemorySwap",
];

const titleOf = (id: string): string => LAYERS.find((layer) => layer.id === id)!.title;

describe("Security: canary", () => {
  let folder: string;
  let proxy: EngineProxy;
  const instances = new Set<string>();

  before(async () => {
    folder = await makeTempFolder();
    proxy = new EngineProxy(folder);
    await proxy.open();
  });

  after(async () => {
    await proxy.close();
    await rm(folder, { recursive: true, force: true });
    for (const instance of instances) {
      const filters = { label: [`${LABEL.instance}=${instance}`] };
      assert.deepEqual(await docker.listContainers({ all: true, filters }), [], "a refused start leaves a container");
      const { Volumes: volumes } = await docker.listVolumes({ filters: JSON.stringify(filters) });
      assert.deepEqual(volumes, [], "a refused start leaves a volume");
    }
  });

  /** Starts a service whose sandboxes are changed on their way to the engine. Gives the ids of the layers that the refusal names. */
  async function layersMissed(change: ContainerChange): Promise<{ layers: string[]; problems: readonly string[] }> {
    proxy.change = (options) => {
      instances.add(options.Labels![LABEL.instance]!);
      if (options.Labels![LABEL.kind] === "sandbox") change(options);
    };
    try {
      const service = await TestService.start({ env: { DOCKER_HOST: proxy.dockerHost } });
      await service.close();
      return { layers: [], problems: [] };
    } catch (error) {
      if (!(error instanceof StartupError)) throw error;
      const { problems } = error;
      const named = LAYERS.filter(({ title }) => problems.some((problem) => problem.includes(`not in force: ${title}:`)));
      return { problems, layers: named.map(({ id }) => id) };
    } finally {
      proxy.change = undefined;
    }
  }

  async function record(
    what: string,
    { layers, problems }: Awaited<ReturnType<typeof layersMissed>>,
    expected: readonly string[],
  ): Promise<void> {
    await recordAttack({
      area: "Security: canary",
      attack: `an engine that gives ${what}`,
      layer: expected.join(", "),
      without: "a sound engine: the service starts",
      expected: "no start",
      within: problems.length === 0 ? "it started" : layers.map(titleOf).join(", ") || problems.join(" "),
      passed: layers.join() === expected.join(),
    });
  }

  it("lets a service start through a proxy that changes nothing", async () => {
    const { problems } = await layersMissed(() => undefined);
    assert.deepEqual(problems, []);
  });

  for (const { change, layers: expected, title } of CASES) {
    it(`refuses a start with ${title}`, async () => {
      const missed = await layersMissed(change);
      const inOrder = LAYERS.map(({ id }) => id).filter((id) => expected.includes(id));
      await record(title, missed, inOrder);
      assert.deepEqual(missed.layers, inOrder, missed.problems.join("\n"));
    });
  }

  it("refuses a start with a runtime that everybody can read", async () => {
    const image = await readableRuntime();
    try {
      const missed = await layersMissed((options) => void (options.Image = image));
      const layers = ["unreadable-runtime", "granted-commands"];
      await record("an image whose runtime everybody can read", missed, layers);
      assert.deepEqual(missed.layers, layers, missed.problems.join("\n"));
    } finally {
      await docker.getImage(image).remove({ force: true });
    }
  });

  it("refuses a start with an image that has a program beside Node", async () => {
    const image = await probeImageId();
    const missed = await layersMissed((options) => void (options.Image = image));
    await record("an image with a program beside Node", missed, ["granted-commands"]);
    assert.deepEqual(missed.layers, ["granted-commands"], missed.problems.join("\n"));
    assert.match(missed.problems.join(), /executing \/usr\/local\/bin\/probe: expected EACCES, got ok/);
  });

  it("needs no-new-privileges beside the filter: the engine starts nothing without", async () => {
    const { layers, problems } = await layersMissed(({ HostConfig }) => {
      HostConfig.SecurityOpt = HostConfig.SecurityOpt!.filter((option: string) => option !== NO_NEW_PRIVILEGES);
    });
    assert.deepEqual(layers, []);
    assert.equal(problems.length, 1);
  });

  it("sees every flag of a sandbox missing, but those that it does not look at", async () => {
    const { HostConfig } = await sandboxOptions([], await probeImageId());
    const tried = new Set(CASES.map(({ flag }) => flag));
    const left = Object.keys(HostConfig).filter((flag) => !tried.has(flag) && !NOT_LOOKED_AT.includes(flag));
    assert.deepEqual(left, []);
    assert.deepEqual(
      LAYERS.map(({ id }) => id).filter((id) => id !== "unreadable-runtime" && !CASES.some(({ layers }) => layers.includes(id))),
      [],
      "a layer that no case takes away",
    );
  });
});

/** The sandbox image, with the mode of its runtime changed. */
async function readableRuntime(): Promise<string> {
  const container = await docker.createContainer({
    ...unrestrictedOptions([PROBE, "make_runtime_readable"], await probeImageId()),
    name: `code-mode-attack-${randomBytes(6).toString("hex")}`,
  });
  try {
    await container.start();
    const { StatusCode: exitCode } = (await container.wait()) as { StatusCode: number };
    assert.equal(exitCode, 0);
    return ((await container.commit()) as { Id: string }).Id;
  } finally {
    await container.remove({ force: true, v: true });
  }
}
