/** Opens an instance, and with it the provider that starts its sandboxes: run directory, leftovers of others, user ids. */

import type Docker from "dockerode";
import type { Logger } from "pino";

import { newInstanceId } from "../../domain/ids.ts";
import { imageKey } from "../../domain/image-spec.ts";
import type { CleanupStack } from "../../lib/cleanup-stack.ts";
import type { SandboxSettings } from "./configured-paths.ts";
import { ContainerRemover } from "./container-remover.ts";
import { DockerSandboxProvider } from "./docker-provider.ts";
import type { UsableImage } from "./image/executable-groups.ts";
import { LABEL } from "./labels.ts";
import { hostIdentity, reclaim, removeEmptyRunRoot } from "./reclaim.ts";
import { RunDirectory } from "./run-directory.ts";
import type { Architecture } from "./seccomp.ts";
import { UidLease } from "./uid-lease.ts";

interface InstanceOptions {
  readonly docker: Docker;
  readonly architecture: Architecture;
  /** The images that are there, by {@link imageKey}; at least one. More may be added later. */
  readonly images: ReadonlyMap<string, UsableImage>;
  readonly config: Pick<SandboxSettings, "dockerHost" | "stateDir" | "workspaceRoot">;
  /** Remove what dead instances left. */
  readonly reclaimLeftovers: boolean;
  readonly log: Pick<Logger, "warn" | "error">;
}

interface Instance {
  readonly provider: DockerSandboxProvider;
  /** The same with other images. */
  readonly providerFor: (images: ReadonlyMap<string, UsableImage>) => DockerSandboxProvider;
  readonly remover: ContainerRemover;
}

/** What it acquires goes on `cleanup`. Throws a `StartupError` that says what to mend. */
export async function openInstance(options: InstanceOptions, cleanup: CleanupStack): Promise<Instance> {
  const { architecture, config, docker, images, log } = options;
  const [anyImage] = images.values();
  if (anyImage === undefined) throw new Error("an instance needs an image");
  const instanceId = newInstanceId();
  const host = await hostIdentity();
  const runDirectory = await RunDirectory.open(config.stateDir, instanceId);
  cleanup.defer("remove the run directory", async () => {
    await runDirectory.close();
    await removeEmptyRunRoot(config.stateDir);
  });
  const labels = { [LABEL.instance]: instanceId, [LABEL.runDirectory]: runDirectory.root, [LABEL.host]: host };
  if (options.reclaimLeftovers) {
    const reclaimed = await reclaim({
      docker,
      stateDir: config.stateDir,
      instanceId,
      host,
      engineIsLocal: config.dockerHost === undefined || config.dockerHost.startsWith("unix://"),
      onError: (what, error) => {
        log.warn({ what, err: error }, "a leftover of an earlier instance could not be removed");
      },
    });
    if (reclaimed.containers + reclaimed.directories > 0) log.warn(reclaimed, "removed what an earlier instance had left");
  }

  const uids = await UidLease.acquire(docker, { imageId: anyImage.id, labels: { ...labels, [LABEL.kind]: "uid-lease" } });
  cleanup.defer("give the user ids back", () => uids.release());

  const remover = new ContainerRemover(docker);
  const providerFor: Instance["providerFor"] = (available) =>
    new DockerSandboxProvider({
      docker,
      remover,
      architecture,
      imageFor: (image) => available.get(imageKey(image)),
      runDirectory,
      uids,
      workspaceRoot: config.workspaceRoot,
      logger: log,
      labels,
    });
  return { provider: providerFor(images), providerFor, remover };
}
