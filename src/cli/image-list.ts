/** `code-mode image list`: what the configuration needs, what of it is there, and what is left of older sources. */

import { readEnvironment } from "../config/environment.ts";
import { readableSize } from "../domain/byte-size.ts";
import { describeImage } from "../domain/image-spec.ts";
import { packageRoot } from "../lib/package-info.ts";
import { connectEngine } from "../sandbox/docker/engine.ts";
import { findImage, isNeededBy, listSandboxImages } from "../sandbox/docker/image/find-image.ts";
import type { SandboxImage } from "../sandbox/docker/image/find-image.ts";
import { configuredImages } from "./image.ts";
import type { ConfiguredImage } from "./image.ts";

type Engine = ReturnType<typeof connectEngine>;

export interface ListedImage {
  /** `current` is what the configuration needs; `missing` is not there; `older` is needed by nothing. */
  readonly state: "current" | "missing" | "older";
  readonly tag: string;
  readonly id: string | null;
  readonly holds: string;
  readonly runtimes: readonly string[];
  readonly nodeVersion: string | null;
  /** Added Debian packages with their versions, those that others need included; and the modules that the configuration names. */
  readonly packages: readonly string[];
  readonly modules: readonly string[];
  /** Layers that images share are counted in each. */
  readonly sizeBytes: number | null;
  /** Containers that were made of it. */
  readonly containers: number;
}

export async function listImages({ json }: { json: boolean }): Promise<number> {
  const config = readEnvironment();
  const docker = connectEngine(config.dockerHost);
  const images = await gatherImages({ docker, packageRoot, configured: await configuredImages(config.runtimesFile) });
  process.stdout.write(json ? `${JSON.stringify({ images }, undefined, 2)}\n` : renderImages(images));
  return 0;
}

interface GatherOptions {
  readonly docker: Engine;
  readonly packageRoot: string;
  readonly configured: readonly ConfiguredImage[];
  /** Start of the images' names; tests have their own. */
  readonly prefix?: string;
}

export async function gatherImages({ configured, docker, packageRoot, prefix = "code-mode" }: GatherOptions): Promise<ListedImage[]> {
  const all = await listSandboxImages(docker, prefix);
  const counts = await containersByImage(docker);
  const listed: ListedImage[] = [];
  const needed: SandboxImage[] = [];
  for (const { runtimes, spec } of configured) {
    const found = await findImage({ docker, packageRoot, image: spec, prefix });
    const image = found.state === "ready" ? all.find(({ id }) => id === found.id) : undefined;
    if (image !== undefined) needed.push(image);
    listed.push({
      state: image === undefined ? "missing" : "current",
      tag: found.tag,
      id: image?.id ?? null,
      holds: describeImage(spec),
      runtimes,
      nodeVersion: image?.nodeVersion ?? null,
      packages: image?.packages ?? [],
      modules: image?.modules ?? [],
      sizeBytes: image?.sizeBytes ?? null,
      containers: counts.get(image?.id ?? "") ?? 0,
    });
  }
  const isNeeded = isNeededBy(needed);
  const older = all
    .filter((image) => !isNeeded(image))
    .map((image): ListedImage => {
      const { id, kind, modules, nodeVersion, packages, sizeBytes, tags } = image;
      const containers = counts.get(id) ?? 0;
      const holds = `Node ${nodeVersion}${kind === "sandbox" ? "" : `, ${kind}`}`;
      return {
        state: "older",
        tag: tags[0] ?? id.slice(0, 19),
        id,
        holds,
        runtimes: [],
        nodeVersion,
        packages,
        modules,
        sizeBytes,
        containers,
      };
    });
  return [...listed, ...older];
}

async function containersByImage(docker: Engine): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  for (const { ImageID: id } of await docker.listContainers({ all: true })) counts.set(id, (counts.get(id) ?? 0) + 1);
  return counts;
}

/** A table, the current ones with what was asked for in them. */
export function renderImages(images: readonly ListedImage[]): string {
  const rows = images.map(({ containers, holds, runtimes, sizeBytes, state, tag }) => [
    state,
    tag,
    sizeBytes === null ? "" : readableSize(sizeBytes),
    containers === 0 ? "" : `${containers} in use`,
    runtimes.length === 0 ? holds : `${holds} (${runtimes.join(", ")})`,
  ]);
  const widths = [0, 1, 2, 3].map((column) => Math.max(0, ...rows.map((row) => row[column]?.length ?? 0)));
  const lines = images.flatMap((image, index) => {
    const line = (rows[index] ?? []).map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ");
    const versions = image.state === "current" ? [`Node ${image.nodeVersion ?? ""}`, ...namedVersions(image)] : [];
    return [line.trimEnd(), ...(versions.length > 1 ? [`         ${versions.join(", ")}`] : [])];
  });
  if (images.some(({ state }) => state === "missing")) lines.push("", "`code-mode image build` builds what is missing.");
  if (images.some(({ state }) => state === "older")) lines.push("", "`code-mode image prune` removes older ones that no container uses.");
  return `${lines.join("\n")}\n`;
}

/** What came along because others need it is left to --json. */
const namedVersions = ({ holds, modules, packages }: ListedImage): string[] => {
  const named = new Set(
    holds
      .replace(/^.* with /, "")
      .split(", ")
      .map((entry) => entry.replace(/=.*$/, "")),
  );
  return [...packages.filter((entry) => named.has(entry.split(" ")[0] ?? "")), ...modules];
};
