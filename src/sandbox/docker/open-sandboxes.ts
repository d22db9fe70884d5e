/**
 * Brings the sandbox layer up, and proves it: engine, images, every path of the configuration, leftovers, user ids, canary.
 *
 * A runtime that cannot run here is kept with its reason and refuses requests; the start fails when none is left, or when a required
 * layer of defence is not in force.
 */

import path from "node:path";

import type { Logger } from "pino";

import { StartupError } from "../../domain/errors.ts";
import { newInstanceId } from "../../domain/ids.ts";
import type { RuntimeDefinition } from "../../domain/runtime.ts";
import { CleanupStack } from "../../lib/cleanup-stack.ts";
import { within } from "../../lib/deadline.ts";
import type { SandboxProvider } from "../ports.ts";
import { ContainerRemover } from "./container-remover.ts";
import { runCanary } from "./canary.ts";
import type { LayerState } from "./canary.ts";
import { DockerSandboxProvider } from "./docker-provider.ts";
import { connectEngine, DEFAULT_ENGINE_SOCKET, engineStatus } from "./engine.ts";
import { engineArchitecture } from "./image/architecture.ts";
import { findImage } from "./image/find-image.ts";
import { LABEL } from "./labels.ts";
import { checkReadable, isDirectory, ReadablePathError, realPaths, resolveReadable } from "./readable-paths.ts";
import { hostIdentity, reclaim, removeEmptyRunRoot } from "./reclaim.ts";
import { RunDirectory } from "./run-directory.ts";
import { UidLease } from "./uid-lease.ts";

/** How long the engine may take to answer at the start. */
const ENGINE_ANSWER_TIMEOUT_MS = 15_000;

export interface EngineVersions {
  readonly version: string;
  readonly apiVersion: string;
  /** Name → version of its parts: containerd, runc. */
  readonly components: Readonly<Record<string, string>>;
}

export interface Sandboxes {
  readonly provider: SandboxProvider;
  /** The runtimes, with those that cannot run here marked so. */
  readonly runtimes: ReadonlyMap<string, RuntimeDefinition>;
  readonly engine: EngineVersions;
  readonly images: readonly { readonly nodeMajor: number; readonly tag: string }[];
  readonly layers: readonly LayerState[];
  readonly ping: () => Promise<unknown>;
  /** Ends the waiting for an engine that is away: what cannot be removed now is left to the next start. */
  giveUp(): void;
  /** Gives back everything that the engine and the host hold for this instance. */
  close(): Promise<void>;
}

/** The settings of the service that the sandbox layer needs; every path is absolute. */
export interface SandboxSettings {
  readonly dockerHost: string | undefined;
  readonly configDir: string;
  readonly runtimesFile: string;
  readonly stateDir: string;
  readonly workspaceRoot: string;
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
  const engine = await askEngine(docker);
  const architecture = await engineArchitecture(docker);
  await checkPaths(config, packageRoot, runtimes);

  const found = new Map<number, string>();
  const images: { nodeMajor: number; tag: string }[] = [];
  const usable = new Map<string, RuntimeDefinition>();
  for (const [name, runtime] of runtimes) {
    const reasons = [...runtime.unavailable];
    if (!found.has(runtime.nodeMajor)) {
      const image = await findImage({ docker, packageRoot, nodeMajor: String(runtime.nodeMajor) });
      if (image.state === "ready") {
        found.set(runtime.nodeMajor, image.id);
        images.push({ nodeMajor: runtime.nodeMajor, tag: image.tag });
      } else reasons.push(image.message);
    }
    if (reasons.length > 0) logger.error({ runtime: name, reasons }, `the runtime "${name}" cannot run: ${reasons.join("; ")}`);
    usable.set(name, { ...runtime, unavailable: reasons });
  }
  const [first] = [...usable.values()].filter((runtime) => runtime.unavailable.length === 0);
  const imageId = first === undefined ? undefined : found.get(first.nodeMajor);
  if (first === undefined || imageId === undefined) {
    throw new StartupError(
      [...usable.values()].flatMap(({ name, unavailable }) => unavailable.map((reason) => `runtime "${name}": ${reason}`)),
    );
  }

  const instanceId = newInstanceId();
  const host = await hostIdentity();
  const runDirectory = await RunDirectory.open(config.stateDir, instanceId);
  cleanup.defer("remove the run directory", async () => {
    await runDirectory.close();
    await removeEmptyRunRoot(config.stateDir);
  });
  const labels = { [LABEL.instance]: instanceId, [LABEL.runDirectory]: runDirectory.root, [LABEL.host]: host };
  const reclaimed = await reclaim({
    docker,
    stateDir: config.stateDir,
    instanceId,
    host,
    engineIsLocal: config.dockerHost === undefined || config.dockerHost.startsWith("unix://"),
    onError: (what, error) => {
      logger.warn({ what, err: error }, "a leftover of an earlier instance could not be removed");
    },
  });
  if (reclaimed.containers + reclaimed.directories > 0) logger.warn(reclaimed, "removed what an earlier instance had left");

  const uids = await UidLease.acquire(docker, { imageId, labels: { ...labels, [LABEL.kind]: "uid-lease" } });
  cleanup.defer("give the user ids back", () => uids.release());

  const remover = new ContainerRemover(docker);
  const provider = new DockerSandboxProvider({
    docker,
    remover,
    architecture,
    imageIdFor: (nodeMajor) => found.get(nodeMajor),
    runDirectory,
    uids,
    workspaceRoot: config.workspaceRoot,
    labels,
    onCleanupError: (executionId, step, error) => {
      logger.error({ executionId, step, err: error }, "clean-up failed; the next start reclaims what is left");
    },
  });
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

async function askEngine(docker: ReturnType<typeof connectEngine>): Promise<Sandboxes["engine"]> {
  try {
    const { ApiVersion, Components, Version } = await within(docker.version(), ENGINE_ANSWER_TIMEOUT_MS, "the engine's answer");
    const components = Object.fromEntries(Components.map((component) => [component.Name, component.Version]));
    return { version: Version, apiVersion: ApiVersion, components };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const advice =
      code === "EACCES"
        ? "this user may not use it: join the engine's group (usually docker)"
        : code === "ENOENT" || code === "ECONNREFUSED"
          ? "it is not running: start it, or set DOCKER_HOST"
          : (error as Error).message;
    throw new StartupError([`no container engine: ${advice}`], error);
  }
}

/** Every path that a runtime names, all problems at once. */
async function checkPaths(config: SandboxSettings, packageRoot: string, runtimes: ReadonlyMap<string, RuntimeDefinition>): Promise<void> {
  if (!(await isDirectory(config.workspaceRoot))) {
    throw new StartupError([`the workspace root ${config.workspaceRoot} is no folder; make it, or set CODE_MODE_WORKSPACE_ROOT`]);
  }
  const engineSocket =
    config.dockerHost?.startsWith("unix://") === true ? config.dockerHost.slice("unix://".length) : DEFAULT_ENGINE_SOCKET;
  const protectedPaths = await realPaths([config.configDir, config.stateDir, packageRoot, engineSocket]);
  const problems: string[] = [];
  for (const [name, runtime] of runtimes) {
    for (const entry of runtime.permissions.fileSystem.read) {
      try {
        await checkReadable(await resolveReadable(config.workspaceRoot, entry.path), protectedPaths);
      } catch (error) {
        if (!(error instanceof ReadablePathError)) throw error;
        problems.push(`${path.basename(config.runtimesFile)}: runtimes.${name}.permissions.fileSystem.read: ${error.message}`);
      }
    }
  }
  if (problems.length > 0) throw new StartupError(problems);
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
    const shape = `${runtime.nodeMajor}/${runtime.engineRuntime ?? ""}`;
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

function explainCanary(error: unknown): string {
  const causes: string[] = [];
  for (let current: unknown = error; current instanceof Error && causes.length < 5; current = current.cause) causes.push(current.message);
  const reason = causes.join(": ");
  return engineStatus((error as Error).cause) === undefined
    ? `the canary sandbox did not work: ${reason}. If the engine runs inside a virtual machine (Docker Desktop, colima), a unix socket of this host cannot be mounted: run the service itself in a container on that engine.`
    : `the engine could not start the canary sandbox: ${reason}`;
}
