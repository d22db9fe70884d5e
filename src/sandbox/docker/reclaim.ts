/**
 * Removes what a dead instance left: containers, their volumes, files that it had staged to keep them, its run directory.
 *
 * An instance is dead when its liveness socket is there and refuses connections. A socket that is gone tells less: the path may mean
 * another file here than it did there. It counts only within the same boot and mount namespace, or for the same path after a reboot of
 * the machine that the engine runs on. Whatever cannot be told for sure is left alone: a test run or a second service on the same
 * engine must never lose a container to this one.
 */

import { readdir, readFile, readlink, rm, rmdir } from "node:fs/promises";
import { connect } from "node:net";
import path from "node:path";

import type Docker from "dockerode";

import { removeContainer } from "./engine.ts";
import { LABEL } from "./labels.ts";
import { removeStaged } from "./persist/staging.ts";
import { ALIVE_SOCKET, runRoot } from "./run-directory.ts";

export interface Reclaimed {
  readonly containers: number;
  readonly directories: number;
}

const CONNECT_TIMEOUT_MS = 2000;
const UNKNOWN_HOST = "unknown";

const bootOf = (host: string): string => host.split("/", 1)[0] ?? "";

/** Identifies the boot and mount namespace of this process: only within it does a path of another process mean the same file. */
export async function hostIdentity(): Promise<string> {
  try {
    const [bootId, mountNamespace] = await Promise.all([
      readFile("/proc/sys/kernel/random/boot_id", "utf8"),
      readlink("/proc/self/ns/mnt"),
    ]);
    return `${bootId.trim()}/${mountNamespace}`;
  } catch {
    return UNKNOWN_HOST;
  }
}

/** Removes everything of dead instances, and counts it. Failures of single items are handed to `onError`; the rest goes on. */
export async function reclaim(options: {
  docker: Docker;
  stateDir: string;
  /** The caller's own instance, which is alive. */
  instanceId: string;
  host: string;
  /** The engine runs on this machine, so a reboot of it ended every container. */
  engineIsLocal: boolean;
  onError: (what: string, error: unknown) => void;
}): Promise<Reclaimed> {
  const { docker, stateDir, instanceId, host, engineIsLocal, onError } = options;
  const verdicts = new Map<string, Promise<Liveness>>();
  const ask = (directory: string): Promise<Liveness> => {
    const verdict = verdicts.get(directory) ?? askLiveness(path.join(directory, ALIVE_SOCKET));
    verdicts.set(directory, verdict);
    return verdict;
  };
  const isLeftover = async (labels: Readonly<Record<string, string>>): Promise<boolean> => {
    const directory = labels[LABEL.runDirectory];
    const origin = labels[LABEL.host];
    if (labels[LABEL.instance] === instanceId || directory === undefined || origin === undefined) return false;
    const liveness = await ask(directory);
    if (liveness !== "gone") return liveness === "dead";
    const rebooted = engineIsLocal && bootOf(origin) !== bootOf(host) && path.dirname(directory) === runRoot(stateDir);
    return host !== UNKNOWN_HOST && (origin === host || rebooted);
  };
  const filters = { label: [LABEL.instance] };

  let containers = 0;
  for (const container of await docker.listContainers({ all: true, filters })) {
    if (!(await isLeftover(container.Labels))) continue;
    try {
      await removeContainer(docker, container.Id);
      containers += 1;
    } catch (error) {
      onError(container.Id, error);
    }
  }
  // Volumes go with their container; this is for one that somebody removed by hand without them.
  const { Volumes: volumes } = await docker.listVolumes({ filters: JSON.stringify(filters) });
  for (const volume of volumes) {
    if (!(await isLeftover(volume.Labels))) continue;
    await docker
      .getVolume(volume.Name)
      .remove()
      .catch((error: unknown) => {
        onError(volume.Name, error);
      });
  }
  return { containers, directories: await removeDeadDirectories(runRoot(stateDir), instanceId, ask, onError) };
}

async function removeDeadDirectories(
  root: string,
  instanceId: string,
  ask: (directory: string) => Promise<Liveness>,
  onError: (what: string, error: unknown) => void,
): Promise<number> {
  let removed = 0;
  for (const name of await readdir(root).catch(() => [])) {
    const directory = path.join(root, name);
    if (name === instanceId || !name.startsWith("ins_") || (await ask(directory)) === "alive") continue;
    try {
      for (const execution of await readdir(directory)) await removeStaged(path.join(directory, execution));
      await rm(directory, { recursive: true, force: true });
      removed += 1;
    } catch (error) {
      onError(directory, error);
    }
  }
  return removed;
}

/** Removes the run root when no instance is left in it. */
export async function removeEmptyRunRoot(stateDir: string): Promise<void> {
  await rmdir(runRoot(stateDir)).catch(() => undefined);
}

/** `dead`: the socket is there and refuses. `gone`: there is no such socket here. `alive`: anything else may be a living instance. */
type Liveness = "alive" | "dead" | "gone";

function askLiveness(socketPath: string): Promise<Liveness> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    const settle = (liveness: Liveness): void => {
      socket.destroy();
      resolve(liveness);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => {
      settle("alive");
    });
    socket.once("connect", () => {
      settle("alive");
    });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      settle(error.code === "ECONNREFUSED" ? "dead" : error.code === "ENOENT" ? "gone" : "alive");
    });
  });
}
