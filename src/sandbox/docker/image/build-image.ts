/**
 * Builds the sandbox image through the engine's API: no Docker command, no image registry, no shell.
 *
 * In tiers, so that a changed runner costs one small layer: the base (Debian's C libraries and Node); on it the packages and modules of
 * a runtime, if it has any; on these the sandbox image with the runner. Each is named by the hash of its sources; what is there already
 * is not built again.
 */

import { chmod, mkdir, mkdtemp, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type Docker from "dockerode";
import { SANDBOX_PATHS } from "../../../bridge/protocol.ts";
import { imageKey } from "../../../domain/image-spec.ts";
import { type Additions, readAdditions } from "./additions.ts";
import { aptProvider } from "./apt-provider.ts";
import { type Architecture, engineArchitecture } from "./architecture.ts";
import type { DebianWanted } from "./debian-filter.ts";
import { type DebianFiles, readDebianFiles } from "./debian-provider.ts";
import { engineError, readEngineMessages } from "./engine-messages.ts";
import { formatGroups } from "./executable-groups.ts";
import { findTagged } from "./find-image.ts";
import { type ImageEntry, packContext } from "./image-entries.ts";
import { ImageBuildError, isDiskFull, messageOf } from "./image-error.ts";
import { type ImageSelection, type ImageSources, readImageSources } from "./image-sources.ts";
import { LABELS } from "./labels.ts";
import { readNodeFiles } from "./node-package.ts";
import { registryProvider } from "./registry-provider.ts";

/** The Node package, Debian's packages, modules, and apt's lists where they are fetched too. */
const TEMPORARY_BYTES = 200e6;

export interface BuildOptions extends ImageSelection {
  readonly docker: Docker;
  /** Builds anew although nothing changed, with the newest Debian packages and modules. */
  readonly refresh?: boolean;
  /** Tags of the bases that were refreshed, where several images are in one go: a base is refreshed once. */
  readonly refreshedBases?: Set<string>;
  /** The Debian image to take the C libraries from where apt cannot be used. */
  readonly debianImage?: string;
  /** The ways to get Debian's files, in the order in which they are tried. */
  readonly debianFrom?: readonly ("apt" | "registry")[];
  readonly onProgress?: (line: string) => void;
  readonly signal?: AbortSignal;
}

export interface BuiltImage {
  readonly id: string;
  readonly tag: string;
  readonly baseTag: string;
  readonly additionsTag: string | undefined;
  readonly nodeVersion: string;
  readonly architecture: Architecture;
  /** False when the image was there already. */
  readonly built: boolean;
}

/** What the steps of one build share. */
interface Build {
  readonly options: BuildOptions;
  readonly sources: ImageSources;
  readonly onProgress: (line: string) => void;
  readonly signal: AbortSignal | undefined;
}

/** Makes sure that the engine has the image of the present sources. */
export async function buildSandboxImage(options: BuildOptions): Promise<BuiltImage> {
  const { docker, signal, refresh = false, onProgress = () => undefined } = options;
  try {
    signal?.throwIfAborted();
    const architecture = await engineArchitecture(docker);
    const sources = await readImageSources(options, architecture);
    const { additions, tag, baseTag, node } = sources;
    const present = refresh ? undefined : await findTagged(docker, tag, LABELS.sources, sources.hash);
    if (present === undefined) await build({ options, sources, onProgress, signal }, refresh);
    // Looked up again: two builds at a time end with one tag, and what carries it is what stays.
    const image = present ?? (await findTagged(docker, tag, LABELS.sources, sources.hash));
    if (image === undefined) throw new ImageBuildError("engine_failed", `The Docker engine built ${tag}, but without its labels.`);
    return {
      id: image.id,
      tag,
      baseTag,
      additionsTag: additions?.tag,
      nodeVersion: node.version,
      architecture,
      built: present === undefined,
    };
  } catch (error) {
    if (signal?.aborted === true) throw new ImageBuildError("aborted", "The build of the sandbox image was cancelled.", error);
    throw isDiskFull(error) ? diskFull(messageOf(error), error) : error;
  }
}

function diskFull(problem: string, cause?: unknown): ImageBuildError {
  const places = `the Docker engine's, or the one of ${tmpdir()} (TMPDIR sets another folder)`;
  return new ImageBuildError("disk_full", `A disk is full: ${places}. Make room for 500 MB.\n${problem}`, cause);
}

async function build(run: Build, refresh: boolean): Promise<void> {
  const { additions } = run.sources;
  const { docker } = run.options;
  await withTemporaryDirectory(async (directory) => {
    if (additions === undefined) {
      await ensureBase(run, directory, { refresh });
    } else if (refresh || (await findTagged(docker, additions.tag, LABELS.additions, additions.hash)) === undefined) {
      const added = await fetchAdditions(run, directory, refresh);
      await ensureBase(run, directory, { refresh, added: added.packages });
      await buildAdditions(run, additions, added);
    }
  });
  await buildOnBase(run);
}

interface BaseNeeds {
  readonly refresh: boolean;
  /** The Debian packages that come on top. */
  readonly added?: ReadonlyMap<string, string>;
}

/** Makes sure that the base is there, and that its C libraries are those that the added packages were resolved with. */
async function ensureBase(run: Build, directory: string, { added = new Map(), refresh }: BaseNeeds): Promise<void> {
  const { docker, refreshedBases } = run.options;
  const { baseHash, baseTag, node } = run.sources;
  const wanted = node.debianPackages.map((name) => [name, added.get(name)] as const);
  const fits = (origin = ""): boolean =>
    wanted.every(([name, version]) => version === undefined || origin.split(", ").includes(`${name} ${version}`));

  const isRefreshed = refreshedBases?.has(baseTag) ?? false;
  const base = refresh && !isRefreshed ? undefined : await findTagged(docker, baseTag, LABELS.base, baseHash);
  if (base !== undefined && fits(base.labels[LABELS.debian])) return;
  if (base !== undefined) run.onProgress("the base has other versions of Debian's libraries than the packages need, and is made anew");
  const packages = wanted.map(([name, version]) => (version === undefined ? name : `${name}=${version}`));
  const origin = await buildBase(run, directory, packages);
  refreshedBases?.add(baseTag);
  if (!fits(origin)) {
    throw new ImageBuildError(
      "debian_incomplete",
      `The base has other libraries (${origin}) than the packages need (${packages.join(", ")}).`,
    );
  }
}

/** Debian's libraries, Node, /etc and the directories that the service mounts things on. Gives where Debian's files are from. */
async function buildBase(run: Build, directory: string, packages: readonly string[]): Promise<string> {
  const { options, sources, onProgress, signal } = run;
  const { node, files, prefix } = sources;
  const debian = await fetchDebian(run, join(directory, "base"), packages);
  signal?.throwIfAborted();
  onProgress(`Node ${node.version}: package ${node.package.name}`);
  const nodeDirectory = join(directory, "node");
  await mkdir(nodeDirectory);
  const nodeFiles = await readNodeFiles({ node, packageRoot: options.packageRoot, directory: nodeDirectory, signal });

  const entries: ImageEntry[] = [
    ...debian.entries,
    ...nodeFiles,
    ...files.etc.map(({ name, content }) => ({ type: "file", path: `etc/${name}`, mode: 0o644, content }) as const),
    ...[SANDBOX_PATHS.workspace, SANDBOX_PATHS.sockets, "/tmp"].map(
      (path) => ({ type: "directory", path: path.slice(1), mode: 0o755 }) as const,
    ),
  ];
  await runBuild(run, {
    tag: sources.baseTag,
    dockerfile: files.baseDockerfile,
    entries,
    args: { PREFIX: prefix },
    labels: {
      [LABELS.base]: sources.baseHash,
      [LABELS.version]: node.version,
      [LABELS.major]: sources.nodeMajor,
      [LABELS.debian]: debian.origin,
    },
  });
  return debian.origin;
}

async function fetchDebian(run: Build, directory: string, packages: readonly string[]): Promise<DebianFiles> {
  const { options, sources, onProgress, signal } = run;
  const { docker, debianImage = "debian:trixie-slim", debianFrom = ["apt", "registry"] } = options;
  const { architecture, prefix } = sources;
  const shared = { architecture, onProgress, signal };
  const providers = {
    apt: aptProvider({ ...shared, packages, directory }),
    registry: registryProvider({ ...shared, docker, reference: debianImage, prefix }),
  };
  return readDebianFiles(
    debianFrom.map((name) => providers[name]),
    baseFiles(sources),
    signal,
  );
}

/** What the base has of Debian. */
const baseFiles = ({ architecture, node }: ImageSources): DebianWanted => ({
  architecture,
  libraries: node.libraries,
  packages: node.debianPackages,
});

function fetchAdditions({ onProgress, options, signal, sources }: Build, directory: string, refresh: boolean): Promise<Additions> {
  const { architecture, spec } = sources;
  const { packageRoot } = options;
  return readAdditions({ spec, architecture, base: baseFiles(sources), packageRoot, directory, refresh, onProgress, signal });
}

async function buildAdditions(run: Build, { hash, tag }: { hash: string; tag: string }, added: Additions): Promise<void> {
  const list = (entries: readonly string[]): string => entries.join(", ");
  await runBuild(run, {
    tag,
    dockerfile: run.sources.files.dockerfile,
    entries: added.entries,
    args: { BASE: run.sources.baseTag },
    labels: {
      [LABELS.additions]: hash,
      [LABELS.packages]: list([...added.packages].map(([name, version]) => `${name} ${version}`)),
      [LABELS.modules]: list(added.modules),
      [LABELS.groups]: formatGroups(added.groups),
    },
  });
}

async function buildOnBase(run: Build): Promise<void> {
  const { additions, baseTag, files, hash, spec, tag } = run.sources;
  const folder = dirname(SANDBOX_PATHS.runner).slice(1);
  await runBuild(run, {
    tag,
    dockerfile: files.dockerfile,
    entries: [
      { type: "file", path: SANDBOX_PATHS.runner.slice(1), mode: 0o644, content: files.runner },
      { type: "file", path: `${folder}/typescript.cjs`, mode: 0o644, content: files.typescript },
    ],
    args: { BASE: additions?.tag ?? baseTag },
    labels: { [LABELS.sources]: hash, [LABELS.spec]: imageKey(spec) },
  });
}

interface Step {
  readonly tag: string;
  readonly dockerfile: Buffer;
  readonly entries: readonly ImageEntry[];
  readonly args: Record<string, string>;
  readonly labels: Record<string, string>;
}

/** One build on the engine. An aborted one is stopped by the engine when our end of the connection closes. */
async function runBuild({ onProgress, options, signal }: Build, step: Step): Promise<void> {
  const bytes = step.entries.reduce((sum, entry) => sum + (entry.type === "file" ? entry.content.length : 0), 0);
  onProgress(`building ${step.tag} (${(bytes / 1e6).toFixed(1)} MB)`);
  const context = await packContext(step.dockerfile, step.entries);
  try {
    const answer = await options.docker.buildImage(context, {
      t: step.tag,
      buildargs: step.args,
      labels: step.labels,
      rm: true,
      forcerm: true,
      // 1 is the classic builder, which every engine has.
      version: "1",
      ...(signal === undefined ? {} : { abortSignal: signal }),
    });
    if ((await readEngineMessages(answer)) !== undefined) return;
  } catch (error) {
    throw engineError(error, `building ${step.tag}`);
  } finally {
    context.destroy();
  }
  throw new ImageBuildError("engine_unavailable", `The Docker engine went away while building ${step.tag}. Start it and try again.`);
}

async function withTemporaryDirectory(use: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "code-mode-image-"));
  try {
    const { bavail, bsize } = await statfs(directory);
    // Known now, and not after minutes: npm and apt take a full disk for a broken network, or wait.
    if (bavail * bsize < TEMPORARY_BYTES) throw diskFull(`${directory} has less than ${TEMPORARY_BYTES / 1e6} MB left.`);
    // As root, apt downloads as a user of its own, who must get through. There is nothing secret in it.
    await chmod(directory, 0o711);
    await use(directory);
  } finally {
    await rm(directory, { recursive: true, force: true, maxRetries: 3 });
  }
}
