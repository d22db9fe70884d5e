/** The container engine: whether it answers, what it is made of, what it can enforce. */

import { StartupError } from "../domain/errors.ts";
import { TimeoutError } from "../lib/deadline.ts";
import { DEFAULT_ENGINE_SOCKET, engineStatus } from "../sandbox/docker/engine.ts";
import type { EngineFacts } from "../sandbox/docker/engine-facts.ts";
import { failWith } from "./check.ts";
import type { Check, Outcome } from "./check.ts";
import type { Facts } from "./facts.ts";
import { judgeDisk, judgeHoles } from "./host-checks.ts";
import { findHoles } from "./known-holes.ts";
import { compareVersions, parseVersion } from "./versions.ts";

/** The oldest API that was tried: that of Docker 20.10. */
const OLDEST_API = "1.41";

export function engineChecks(facts: Facts): Check[] {
  const { engine } = facts;
  /** A check of what the engine says. */
  const of = (judge: (found: EngineFacts) => Outcome | Promise<Outcome>) => async () => judge(await engine.need());
  return [
    {
      id: "engine.answers",
      title: "Answers",
      run: () =>
        engine.ask().then(
          (found) => judgeAnswer(found, facts.config.dockerHost),
          (error: unknown) => judgeNoEngine(error, facts.config.dockerHost),
        ),
    },
    {
      id: "engine.known-holes",
      title: "Known holes",
      run: of(async ({ components, version }) => {
        const parts = { ...components, Engine: version };
        return judgeHoles(`Docker ${version}${partsOf(components)}`, await findHoles(parts));
      }),
    },
    { id: "engine.cgroups", title: "Control groups", run: of(judgeCgroups) },
    { id: "engine.limits", title: "Limits", run: of(judgeLimits) },
    { id: "engine.seccomp", title: "System call filter", run: of(judgeSeccomp) },
    { id: "engine.user", title: "Whose rights", run: of(judgeUser) },
    {
      id: "engine.runtimes",
      title: "Runtimes",
      run: of(async (found) => {
        const asked = await facts.runtimes.ask().then(
          ({ runtimes }) => [...runtimes.values()].flatMap((runtime) => runtime.engineRuntime ?? []),
          () => [],
        );
        return judgeRuntimes(found, asked);
      }),
    },
    { id: "engine.storage", title: "Storage", run: of(judgeStorage) },
    {
      id: "engine.disk",
      title: "Disk, engine",
      run: of(({ rootDir, sameKernel }) =>
        sameKernel && rootDir !== ""
          ? judgeDisk(rootDir, "`code-mode image prune` and `docker system df` show what can go.")
          : { status: "info", found: "the engine's folder is not on this machine" },
      ),
    },
    {
      id: "engine.live-restore",
      title: "Live restore",
      run: of(({ liveRestore }) => ({
        status: "info",
        found: liveRestore
          ? "on: containers outlive a restart of the engine; what nobody watches ends at its CPU limit"
          : "off: a restart of the engine ends the programs that run",
      })),
    },
  ];
}

const partsOf = (components: Readonly<Record<string, string>>): string =>
  ["containerd", "runc", "crun"].flatMap((name) => (components[name] === undefined ? [] : [`, ${name} ${components[name]}`])).join("");

export function judgeAnswer({ apiVersion, operatingSystem, version }: EngineFacts, dockerHost: string | undefined): Outcome {
  const found = `Docker ${version} on ${operatingSystem}, API ${apiVersion}`;
  const [present, oldest] = [parseVersion(apiVersion), parseVersion(OLDEST_API)];
  if (present !== undefined && oldest !== undefined && compareVersions(present, oldest) < 0)
    return { status: "warn", found, remedy: `Update the engine: nothing older than API ${OLDEST_API} was tried.` };
  if (dockerHost !== undefined && !dockerHost.startsWith("unix://")) {
    return {
      status: "warn",
      found: `${found}, over ${dockerHost}`,
      remedy: "Whoever reaches that address is root there: use the engine's unix socket. The engine must be on this machine in any case.",
    };
  }
  return { status: "ok", found };
}

/** Why there is no answer, by the code of the failure. */
export function judgeNoEngine(error: unknown, dockerHost: string | undefined): Outcome {
  if (error instanceof StartupError) return failWith(error.problems);
  const address = dockerHost ?? `unix://${DEFAULT_ENGINE_SOCKET}`;
  const isSocket = address.startsWith("unix://");
  const start = "Start the engine (`sudo systemctl start docker`), or name another one in DOCKER_HOST.";
  const reasons: Readonly<Record<string, readonly [string, string]>> = {
    ENOENT: ["there is no such socket", `Install Docker, if it is not there. ${start}`],
    EACCES: [
      "this user may not use it",
      "Add the user to the socket's group (`sudo usermod -aG docker $USER`) and log in again. Whoever is in it is as good as root here.",
    ],
    ECONNREFUSED: [isSocket ? "the socket is there, but nobody answers" : "the connection is refused", start],
    ENOTFOUND: ["that host is not known", "Mend DOCKER_HOST."],
    EHOSTUNREACH: ["that host cannot be reached", "Mend DOCKER_HOST."],
    ETIMEDOUT: ["that host does not answer", "Mend DOCKER_HOST, or see what is between."],
  };
  const { code, message } = error as NodeJS.ErrnoException;
  const [reason, remedy] =
    reasons[code ?? ""] ??
    (error instanceof TimeoutError
      ? ["it takes the connection and says nothing", "Restart the engine; its log says why (`journalctl -u docker`)."]
      : [message, start]);
  const status = engineStatus(error);
  if (status !== undefined)
    return {
      status: "fail",
      found: `${address} answers with HTTP ${status}: ${message}`,
      remedy: "The engine's log says why (`journalctl -u docker`).",
    };
  return { status: "fail", found: `no answer from ${address}: ${reason}`, remedy };
}

export function judgeCgroups({ cgroupDriver, cgroupVersion }: EngineFacts): Outcome {
  const found = `version ${cgroupVersion}, ${cgroupDriver}`;
  return cgroupVersion === "2"
    ? { status: "ok", found }
    : {
        status: "warn",
        found: `${found}: the kernel's memory for TCP is not counted to a container`,
        remedy:
          "It matters only where a runtime sets network.loopback; small socket buffers bound it there. Boot with systemd.unified_cgroup_hierarchy=1 for version 2.",
      };
}

export function judgeLimits({ limits }: EngineFacts): Outcome {
  const missing = Object.entries(limits).flatMap(([name, present]) => (present ? [] : [name]));
  return missing.length === 0
    ? { status: "ok", found: "memory, swap, tasks and CPU can be limited" }
    : {
        status: "fail",
        found: `the engine cannot limit ${missing.join(", ")}`,
        remedy:
          missing.includes("memory") || missing.includes("swap")
            ? "Boot with cgroup_enable=memory swapaccount=1. A rootless engine needs these controllers delegated to its user."
            : "See that the kernel has the pids and cpu controllers. A rootless engine needs them delegated to its user.",
      };
}

export function judgeSeccomp({ securityOptions }: EngineFacts): Outcome {
  return securityOptions.includes("seccomp")
    ? { status: "ok", found: "seccomp is there" }
    : {
        status: "fail",
        found: "the engine has no seccomp",
        remedy: "Use a kernel and an engine with seccomp: sandboxes do not start without.",
      };
}

export function judgeUser({ securityOptions }: EngineFacts): Outcome {
  if (securityOptions.includes("rootless")) return { status: "info", found: "rootless: a break-out ends in that user's rights" };
  if (securityOptions.includes("userns"))
    return { status: "info", found: "root, with user namespaces (userns-remap): ids of sandboxes are shifted" };
  return {
    status: "info",
    found: "root, without user namespaces: a break-out of the engine or the kernel is root on the host",
    remedy: "A rootless engine or a virtual machine around engine and service takes that away; see docs/threat-model.md.",
  };
}

export function judgeRuntimes({ defaultRuntime, runtimes }: EngineFacts, asked: readonly string[]): Outcome {
  const found = `${[...runtimes.keys()].join(", ")}; default ${defaultRuntime}`;
  const missing = asked.filter((name) => !runtimes.has(name));
  if (missing.length > 0) {
    return {
      status: "fail",
      found: `the configuration asks for ${missing.join(", ")}; the engine has ${found}`,
      remedy: "Add it to `runtimes` in /etc/docker/daemon.json and restart the engine, or mend engineRuntime in runtimes.json.",
    };
  }
  const unfiltered = [...new Set([defaultRuntime, ...asked])].filter(
    (name) => name.startsWith("runsc") && !(runtimes.get(name) ?? []).some((argument) => /^--?oci-seccomp/.test(argument)),
  );
  return unfiltered.length === 0
    ? { status: "ok", found }
    : {
        status: "warn",
        found: `${unfiltered.join(", ")} ignores the system call filter`,
        remedy: "Give it --oci-seccomp in its runtimeArgs.",
      };
}

export function judgeStorage({ storageDriver }: EngineFacts): Outcome {
  const slow = ["vfs", "devicemapper"].includes(storageDriver);
  return slow
    ? { status: "warn", found: `${storageDriver}: copies much for each container`, remedy: "Use overlay2 on ext4 or xfs." }
    : { status: "ok", found: storageDriver };
}
