/**
 * Brings the sandbox layer up, and proves it: engine, images, every path of the configuration, leftovers, user ids, canary.
 *
 * A runtime that cannot run here is kept with its reason and refuses requests; the start fails when none is left, or when a required
 * layer of defence is not in force.
 */

import type { Logger } from "pino";

import { StartupError } from "../../domain/errors.ts";
import { describeImage, imageKey } from "../../domain/image-spec.ts";
import type { RuntimeDefinition } from "../../domain/runtime.ts";
import { findUnsupported } from "../../domain/unsupported.ts";
import { CleanupStack } from "../../lib/cleanup-stack.ts";
import type { SandboxProvider } from "../ports.ts";
import { runCanary } from "./canary.ts";
import type { LayerState } from "./canary.ts";
import { findPathProblems } from "./configured-paths.ts";
import type { SandboxSettings } from "./configured-paths.ts";
import { connectEngine, engineStatus } from "./engine.ts";
import { askVersions, explainNoEngine } from "./engine-facts.ts";
import type { EngineVersions } from "./engine-facts.ts";
import { engineArchitecture } from "./image/architecture.ts";
import type { UsableImage } from "./image/executable-groups.ts";
import { findImage } from "./image/find-image.ts";
import { openInstance } from "./open-instance.ts";

export interface Sandboxes {
  readonly provider: SandboxProvider;
  /** The runtimes, with those that cannot run here marked so. */
  readonly runtimes: ReadonlyMap<string, RuntimeDefinition>;
  readonly engine: EngineVersions;
  readonly images: readonly { readonly holds: string; readonly tag: string }[];
  readonly layers: readonly LayerState[];
  readonly ping: () => Promise<unknown>;
  /** Ends the waiting for an engine that is away: what cannot be removed now is left to the next start. */
  giveUp(): void;
  /** Gives back everything that the engine and the host hold for this instance. */
  close(): Promise<void>;
}

interface OpenOptions {
  readonly config: SandboxSettings;
  readonly runtimes: ReadonlyMap<string, RuntimeDefinition>;
  readonly packageRoot: string;
  readonly logger: Logger;
}

/** Throws a {@link StartupError} that lists what to mend; nothing is left behind then. */
export async function openSandboxes(options: OpenOptions): Promise<Sandboxes> {
  const { logger } = options;
  const cleanup = new CleanupStack({
    onError: (step, error) => {
      logger.error({ step, err: error }, "shutdown step failed");
    },
  });
  try {
    return await open(options, cleanup);
  } catch (error) {
    await cleanup.close();
    throw error;
  }
}

async function open({ config, logger, packageRoot, runtimes }: OpenOptions, cleanup: CleanupStack): Promise<Sandboxes> {
  const docker = connectEngine(config.dockerHost);
  const engine = await askVersions(docker).catch((error: unknown) => {
    throw new StartupError([`no container engine: ${explainNoEngine(error)}`], error);
  });
  const architecture = await engineArchitecture(docker);
  const problems = await findPathProblems(config, packageRoot, runtimes);
  if (problems.length > 0) throw new StartupError(problems);

  const found = new Map<string, UsableImage>();
  const images: { holds: string; tag: string }[] = [];
  const usable = new Map<string, RuntimeDefinition>();
  for (const [name, runtime] of runtimes) {
    const reasons = [...runtime.unavailable];
    if (!found.has(imageKey(runtime.image))) {
      const image = await findImage({ docker, packageRoot, image: runtime.image });
      if (image.state === "ready") {
        found.set(imageKey(runtime.image), image);
        images.push({ holds: describeImage(runtime.image), tag: image.tag });
      } else reasons.push(image.message);
    }
    if (reasons.length > 0) logger.error({ runtime: name, reasons }, `the runtime "${name}" cannot run: ${reasons.join("; ")}`);
    const unsupported = findUnsupported(runtime.permissions);
    if (unsupported.length > 0)
      logger.warn({ runtime: name, unsupported }, `the runtime "${name}" runs only requests that narrow: ${unsupported.join("; ")}`);
    usable.set(name, { ...runtime, unavailable: reasons });
  }
  if ([...usable.values()].every(({ unavailable }) => unavailable.length > 0)) {
    throw new StartupError(
      [...usable.values()].flatMap(({ name, unavailable }) => unavailable.map((reason) => `runtime "${name}": ${reason}`)),
    );
  }

  const { provider, remover } = await openInstance(
    { docker, architecture, images: found, config, log: logger, reclaimLeftovers: true },
    cleanup,
  );
  const layers = await proveShapes(provider, usable, logger);
  return {
    provider,
    runtimes: usable,
    engine,
    images,
    layers,
    ping: () => docker.ping(),
    giveUp: () => {
      remover.close();
    },
    close: () => cleanup.close(),
  };
}

/**
 * Runs a canary for each runtime of the engine that a runtime asks for. One that the engine cannot start makes those runtimes
 * unavailable. Throws when none is left, or when a required layer is not in force.
 */
async function proveShapes(provider: SandboxProvider, usable: Map<string, RuntimeDefinition>, logger: Logger): Promise<LayerState[]> {
  const proven = new Map<string, LayerState[]>();
  const failed = new Map<string, string>();
  for (const [name, runtime] of usable) {
    if (runtime.unavailable.length > 0) continue;
    const shape = `${runtime.image.nodeMajor}/${runtime.engineRuntime ?? ""}`;
    if (!proven.has(shape) && !failed.has(shape)) {
      const outcome = await runCanary(provider, runtime).catch(explainCanary);
      if (typeof outcome === "string") failed.set(shape, outcome);
      else proven.set(shape, refuseMissing(outcome));
    }
    const reason = failed.get(shape);
    if (reason === undefined) continue;
    logger.error({ runtime: name, reason }, `the runtime "${name}" cannot run: ${reason}`);
    usable.set(name, { ...runtime, unavailable: [reason] });
  }
  const [first] = proven.values();
  if (first === undefined) throw new StartupError([...failed.values()]);
  return first;
}

/** Throws a {@link StartupError} when a required layer is not in force. */
function refuseMissing(layers: LayerState[]): LayerState[] {
  const missing = layers.filter((layer) => layer.required && layer.problem !== undefined);
  if (missing.length === 0) return layers;
  throw new StartupError(missing.map(({ problem, title }) => `a required layer of defence is not in force: ${title}: ${problem ?? ""}`));
}

/** Why a canary could not be run, for the operator. */
export function explainCanary(error: unknown): string {
  const causes: string[] = [];
  for (let current: unknown = error; current instanceof Error && causes.length < 5; current = current.cause) causes.push(current.message);
  const reason = causes.join(": ");
  return engineStatus((error as Error).cause) === undefined
    ? `the canary sandbox did not work: ${reason}. If the engine runs inside a virtual machine (Docker Desktop, colima), a unix socket of this host cannot be mounted: run the service itself in a container on that engine.`
    : `the engine could not start the canary sandbox: ${reason}`;
}
