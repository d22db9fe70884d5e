/**
 * Brings the sandbox layer up, and proves it: engine, images, every path of the configuration, leftovers, user ids, canaries. The same
 * is asked of a configuration that takes the place of the first.
 *
 * A runtime that cannot run here is kept with its reason and refuses requests; the start fails when none is left, or when a required
 * layer of defence is not in force.
 */

import type { Logger } from "pino";

import { StartupError } from "../../domain/errors.ts";
import type { RuntimeDefinition } from "../../domain/runtime.ts";
import { findUnsupported } from "../../domain/unsupported.ts";
import type { CleanupStack } from "../../lib/cleanup-stack.ts";
import type { SandboxProvider } from "../ports.ts";
import type { LayerState } from "./canary.ts";
import { checkRuntimes, findLosses, findNothingUsable } from "./checked-runtimes.ts";
import type { CheckedRuntimes, RuntimeSources } from "./checked-runtimes.ts";
import type { SandboxSettings } from "./configured-paths.ts";
import { connectEngine, DEFAULT_ENGINE_SOCKET } from "./engine.ts";
import { askVersions, explainNoEngine } from "./engine-facts.ts";
import type { EngineVersions } from "./engine-facts.ts";
import { engineArchitecture } from "./image/architecture.ts";
import { openInstance } from "./open-instance.ts";
import { ProvenShapes } from "./proven-shapes.ts";

export interface Sandboxes {
  readonly provider: SandboxProvider;
  /** The runtimes, with those that cannot run here marked so. */
  readonly runtimes: ReadonlyMap<string, RuntimeDefinition>;
  readonly engine: EngineVersions;
  readonly images: CheckedRuntimes["named"];
  readonly layers: readonly LayerState[];
  readonly ping: () => Promise<unknown>;
  /**
   * Takes other runtimes in place of the present ones; sandboxes of the old policies can still be started. Throws a
   * {@link StartupError}, and changes nothing, when the start would not take them, or when one that can run now could not any more.
   */
  replaceRuntimes(runtimes: ReadonlyMap<string, RuntimeDefinition>): Promise<void>;
  /** Ends the waiting for an engine that is away: what cannot be removed now is left to the next start. */
  giveUp(): void;
}

interface OpenOptions {
  readonly config: SandboxSettings;
  readonly runtimes: ReadonlyMap<string, RuntimeDefinition>;
  readonly packageRoot: string;
  readonly logger: Logger;
}

/** What it acquires goes on `cleanup`. Throws a {@link StartupError} that lists what to mend. */
export async function openSandboxes({ config, logger, packageRoot, runtimes }: OpenOptions, cleanup: CleanupStack): Promise<Sandboxes> {
  const docker = connectEngine(config.dockerHost);
  const engine = await askVersions(docker).catch((error: unknown) => {
    const address = config.dockerHost ?? `unix://${DEFAULT_ENGINE_SOCKET}`;
    throw new StartupError([`no container engine at ${address}: ${explainNoEngine(error)}`], error);
  });
  const architecture = await engineArchitecture(docker);
  const sources: RuntimeSources = { docker, config, packageRoot };
  const checked = await checkRuntimes(sources, runtimes);
  refuse(findNothingUsable(checked.runtimes));

  // Images are added and never taken away: an execution that waits keeps the policy that it came with.
  const images = new Map(checked.images);
  const instance = { docker, architecture, images, config, log: logger, reclaimLeftovers: true };
  const { provider, providerFor, remover } = await openInstance(instance, cleanup);
  const shapes = new ProvenShapes();
  let inForce = { ...checked, runtimes: await shapes.prove({ provider, ...checked }) };
  refuse(findNothingUsable(inForce.runtimes));
  logUnavailable(inForce.runtimes, logger);

  const replaceRuntimes = async (next: ReadonlyMap<string, RuntimeDefinition>): Promise<void> => {
    const found = await checkRuntimes(sources, next);
    refuse(findLosses(inForce.runtimes, found.runtimes), findNothingUsable(found.runtimes));
    const judged = await shapes.prove({ provider: providerFor(found.images), ...found });
    refuse(findLosses(inForce.runtimes, judged), findNothingUsable(judged));
    for (const [key, image] of found.images) images.set(key, image);
    inForce = { ...found, runtimes: judged };
    logUnavailable(judged, logger);
  };
  return {
    provider,
    get runtimes() {
      return inForce.runtimes;
    },
    engine,
    get images() {
      return inForce.named;
    },
    get layers() {
      return shapes.layers;
    },
    ping: () => docker.ping(),
    replaceRuntimes,
    giveUp: () => {
      remover.close();
    },
  };
}

/** Throws the first list of problems that holds any. */
function refuse(...lists: readonly (readonly string[])[]): void {
  const problems = lists.find(({ length }) => length > 0);
  if (problems !== undefined) throw new StartupError([...new Set(problems)]);
}

function logUnavailable(runtimes: ReadonlyMap<string, RuntimeDefinition>, logger: Logger): void {
  for (const [name, { permissions, unavailable: reasons }] of runtimes) {
    if (reasons.length > 0) logger.error({ runtime: name, reasons }, `the runtime "${name}" cannot run: ${reasons.join("; ")}`);
    const unsupported = findUnsupported(permissions);
    if (unsupported.length > 0)
      logger.warn({ runtime: name, unsupported }, `the runtime "${name}" runs only requests that narrow: ${unsupported.join("; ")}`);
  }
}
