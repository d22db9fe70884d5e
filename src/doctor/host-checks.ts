/** The machine that the service runs on: Node, kernel, security modules, kernel settings, disk, clock. */

import { readFile, statfs } from "node:fs/promises";
import { release } from "node:os";
import path from "node:path";

import { GIB, MIB, readableSize } from "../domain/byte-size.ts";
import { NotCheckedError } from "./check.ts";
import type { Check, Outcome } from "./check.ts";
import type { Facts } from "./facts.ts";
import { adviceFor, findHoles, openHoles } from "./known-holes.ts";
import type { Hole } from "./known-holes.ts";
import { compareVersions, parseVersion } from "./versions.ts";

/** As in `engines` of package.json. */
const OLDEST_NODE = "20.19";
const ENOUGH_DISK_BYTES = GIB;
const LEAST_DISK_BYTES = 64 * MIB;
const MOST_CLOCK_SKEW_MS = 60_000;

/** Kernel settings of the host that decide what an unprivileged process may try. None is relied on. */
const SETTINGS = [
  "kernel.unprivileged_bpf_disabled",
  "kernel.unprivileged_userns_clone",
  "kernel.apparmor_restrict_unprivileged_userns",
  "user.max_user_namespaces",
  "kernel.yama.ptrace_scope",
  "kernel.kptr_restrict",
  "kernel.dmesg_restrict",
] as const;

export const hostChecks = (facts: Facts): Check[] => [
  { id: "host.node", title: "Node.js", run: () => judgeNode(process.versions.node) },
  {
    id: "host.kernel",
    title: "Kernel",
    run: async () => {
      if (process.platform !== "linux") return notLinux(process.platform);
      const engine = await facts.engine.ask().catch(() => undefined);
      const isOurs = engine?.sameKernel ?? true;
      const upstream = isOurs
        ? upstreamKernel(release(), await readText("/proc/version_signature"), await readText("/proc/version"))
        : undefined;
      return judgeKernel(upstream ?? engine?.kernelVersion ?? release(), isOurs);
    },
  },
  {
    id: "host.security-modules",
    title: "Security modules",
    run: async () => {
      const engine = await facts.engine.ask().catch(() => undefined);
      return judgeSecurityModules((await readText("/sys/kernel/security/lsm"))?.trim().split(","), engine?.securityOptions ?? []);
    },
  },
  {
    id: "host.kernel-settings",
    title: "Kernel settings",
    run: async () => {
      const read = async (name: string): Promise<string | undefined> => (await readText(`/proc/sys/${name.replaceAll(".", "/")}`))?.trim();
      const values = await Promise.all(SETTINGS.map(async (name) => `${name} = ${(await read(name)) ?? "not there"}`));
      return { status: "info", found: "nothing rests on them; they bound what other processes of this host can try", details: values };
    },
  },
  {
    id: "host.core-dumps",
    title: "Core dumps",
    run: async () => judgeCorePattern((await readText("/proc/sys/kernel/core_pattern"))?.trim()),
  },
  {
    id: "host.disk",
    title: "Disk, state folder",
    run: () => judgeDisk(facts.config.stateDir, "CODE_MODE_STATE_DIR names another folder."),
  },
  {
    id: "host.clock",
    title: "Clock",
    run: async () => judgeClock((await facts.engine.ask().catch(() => undefined))?.clockSkewMs),
  },
];

export function judgeNode(version: string): Outcome {
  const [present, oldest] = [parseVersion(version), parseVersion(OLDEST_NODE)];
  return present !== undefined && oldest !== undefined && compareVersions(present, oldest) >= 0
    ? { status: "ok", found: version }
    : { status: "fail", found: `${version} is too old`, remedy: `Install Node.js ${OLDEST_NODE} or newer.` };
}

const notLinux = (platform: string): Outcome => ({
  status: "fail",
  found: `${platform}; sandboxes need Linux`,
  remedy: "Run the service on Linux, on the machine of the engine: a virtual machine, or a container on that engine.",
});

/** Upstream's number of a distribution's kernel, where the kernel tells: Debian and Ubuntu name theirs `6.1.0-18` and the like. */
export function upstreamKernel(name: string, signature: string | undefined, version: string | undefined): string {
  const [, ofUbuntu] = /^Ubuntu \S+ (\d+\.\d+\.\d+)/.exec(signature ?? "") ?? [];
  const [, ofDebian] = /Debian (\d+\.\d+\.\d+)/.exec(version ?? "") ?? [];
  return ofUbuntu ?? ofDebian ?? name;
}

async function judgeKernel(version: string, isOurs: boolean): Promise<Outcome> {
  const holes = await findHoles({ kernel: version });
  return judgeHoles(`${version}${isOurs ? "" : ", the engine's"}`, holes);
}

/** Open holes are a warning: the number of a distribution's package does not tell what it mends. */
export function judgeHoles(found: string, holes: readonly Hole[]): Outcome {
  const open = openHoles(holes);
  const details = holes.flatMap(({ advisory, mendedBy }) =>
    mendedBy === undefined ? [] : [`${advisory.id}: mended in ${mendedBy}, says its changelog`],
  );
  if (open.length === 0) return { status: "ok", found, ...(details.length === 0 ? {} : { details }) };
  return {
    status: "warn",
    found: `${found}: ${open.length} known ${open.length === 1 ? "hole" : "holes"}, by version`,
    ...(details.length === 0 ? {} : { details }),
    advisories: open.map(({ advisory: { component, fixed, here, id, summary }, version }) => ({
      id,
      component,
      version,
      summary,
      here,
      fixed: [...fixed],
    })),
    remedy: adviceFor(new Set(open.map(({ advisory }) => advisory.component))),
  };
}

/** `modules` as the kernel lists them; `undefined` when it does not say. */
export function judgeSecurityModules(modules: readonly string[] | undefined, engineOptions: readonly string[]): Outcome {
  const confining = ["apparmor", "selinux"].filter((name) => engineOptions.includes(name));
  const listed = modules === undefined ? "the kernel's list cannot be read" : `the kernel has ${modules.join(", ")}`;
  const landlock = modules === undefined ? "Landlock is unknown" : modules.includes("landlock") ? "Landlock is there" : "no Landlock";
  return confining.length > 0
    ? { status: "ok", found: `the engine uses ${confining.join(", ")}; ${landlock}` }
    : {
        status: "info",
        found: `the engine uses neither AppArmor nor SELinux; ${listed}; ${landlock}`,
        remedy: "Nothing rests on them. Either is one more line behind the system call filter.",
      };
}

export function judgeCorePattern(pattern: string | undefined): Outcome {
  if (pattern === undefined) return { status: "info", found: "the pattern cannot be read" };
  return pattern.startsWith("|")
    ? {
        status: "info",
        found: `go to a program of the host (${pattern.split(" ", 1)[0] ?? ""}); sandboxes make none: limit 1, and not dumpable`,
      }
    : { status: "ok", found: `go to files named ${pattern}; sandboxes make none` };
}

/** Free space where `folder` is, or would be made. */
export async function judgeDisk(folder: string, more: string): Promise<Outcome> {
  const { bavail, bsize, ffree, files } = await nearestPlace(folder)
    .then((place) => statfs(place))
    .catch((error: unknown) => {
      throw new NotCheckedError(`${folder} cannot be looked at (${(error as NodeJS.ErrnoException).code ?? "unknown error"})`);
    });
  const bytes = bavail * bsize;
  const found = `${readableSize(bytes)} free at ${folder}`;
  if (bytes < LEAST_DISK_BYTES) return { status: "fail", found, remedy: `Make room. ${more}` };
  if (files > 0 && ffree < 1000) return { status: "warn", found: `${ffree} files free at ${folder}`, remedy: `Remove files. ${more}` };
  return bytes < ENOUGH_DISK_BYTES ? { status: "warn", found, remedy: `Make room. ${more}` } : { status: "ok", found };
}

/** The folder, or the closest place above it that is there: a file, where somebody put one in the way. */
export async function nearestPlace(folder: string): Promise<string> {
  for (let place = folder; ; place = path.dirname(place)) {
    const isThere = await statfs(place).then(
      () => true,
      (error: unknown) => {
        if (!["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
        return false;
      },
    );
    if (isThere || place === path.dirname(place)) return place;
  }
}

export function judgeClock(skewMs: number | undefined): Outcome {
  const now = new Date().toISOString();
  if (skewMs === undefined) return { status: "ok", found: now };
  return Math.abs(skewMs) <= MOST_CLOCK_SKEW_MS
    ? { status: "ok", found: `${now}, as the engine's` }
    : {
        status: "warn",
        found: `the engine's differs by ${Math.round(Math.abs(skewMs) / 1000)} s`,
        remedy: "Set the clock. If the engine runs on another machine, sandboxes cannot reach the service: both must share one.",
      };
}

async function readText(file: string): Promise<string | undefined> {
  return readFile(file, "utf8").catch(() => undefined);
}
