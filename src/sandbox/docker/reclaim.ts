/**
 * Removes what a dead instance left: containers, their volumes, its run directory.
 *
 * An instance is dead when the liveness socket in its run directory refuses connections or is gone, and the path of that socket means
 * the same file here as it did there. Whatever cannot be told for sure is left alone: a test run or a second service on the same
 * engine must never lose a container to this one.
 */

import { readdir, readFile, readlink, rm, rmdir } from "node:fs/promises";
import { connect } from "node:net";
import path from "node:path";

import type Docker from "dockerode";

import { removeContainer } from "./engine.ts";
import { LABEL } from "./labels.ts";
import { ALIVE_SOCKET, runRoot } from "./run-directory.ts";

export interface Reclaimed {
  readonly containers: number;
  readonly directories: number;
}

const CONNECT_TIMEOUT_MS = 2000;

/** Identifies the boot and mount namespace of this process: only within it does a path of another process mean the same file. */
export async function hostIdentity(): Promise<string> {
  try {
    const [bootId, mountNamespace] = await Promise.all([
      readFile("/proc/sys/kernel/random/boot_id", "utf8"),
      readlink("/proc/self/ns/mnt"),
    ]);
    return `${bootId.trim()}/${mountNamespace}`;
  } catch {
    return "unknown";
  }
}

/** Removes everything of dead instances, and counts it. Failures of single items are handed to `onError`; the rest goes on. */
export async function reclaim(options: {
  docker: Docker;
  stateDir: string;
  /** The caller's own instance, which is alive. */
  instanceId: string;
  host: string;
  onError: (what: string, error: unknown) => void;
}): Promise<Reclaimed> {
  const { docker, stateDir, instanceId, host, onError } = options;
  const verdicts = new Map<string, Promise<boolean>>();
  const isDead = (directory: string): Promise<boolean> => {
    const verdict = verdicts.get(directory) ?? isSocketDead(path.join(directory, ALIVE_SOCKET));
    verdicts.set(directory, verdict);
    return verdict;
  };

  const isLeftover = async (labels: Readonly<Record<string, string>>): Promise<boolean> => {
    const directory = labels[LABEL.runDirectory];
    if (labels[LABEL.instance] === instanceId || directory === undefined) return false;
    const pathIsShared = (host !== "unknown" && labels[LABEL.host] === host) || path.dirname(directory) === runRoot(stateDir);
    return pathIsShared && isDead(directory);
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
  return { containers, directories: await removeDeadDirectories(runRoot(stateDir), instanceId, isDead, onError) };
}

async function removeDeadDirectories(
  root: string,
  instanceId: string,
  isDead: (directory: string) => Promise<boolean>,
  onError: (what: string, error: unknown) => void,
): Promise<number> {
  let removed = 0;
  for (const name of await readdir(root).catch(() => [])) {
    const directory = path.join(root, name);
    if (name === instanceId || !name.startsWith("ins_") || !(await isDead(directory))) continue;
    try {
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

/** True only when nobody can be listening: the socket is gone, or refuses. Any other answer may be a living instance. */
function isSocketDead(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    const settle = (dead: boolean): void => {
      socket.destroy();
      resolve(dead);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => {
      settle(false);
    });
    socket.once("connect", () => {
      settle(false);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      settle(error.code === "ENOENT" || error.code === "ECONNREFUSED");
    });
  });
}
