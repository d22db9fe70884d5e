/** `code-mode image build` and `prune`: makes and removes the sandbox images. */

import { readEnvironment } from "../config/environment.ts";
import { loadRuntimes } from "../config/runtimes-file.ts";
import { readableSize } from "../domain/byte-size.ts";
import { describeImage, imageKey } from "../domain/image-spec.ts";
import type { ImageSpec } from "../domain/image-spec.ts";
import { packageRoot } from "../lib/package-info.ts";
import { connectEngine } from "../sandbox/docker/engine.ts";
import { buildSandboxImage } from "../sandbox/docker/image/build-image.ts";
import type { BuildOptions } from "../sandbox/docker/image/build-image.ts";
import { findImage, pruneSandboxImages } from "../sandbox/docker/image/find-image.ts";
import { ImageBuildError } from "../sandbox/docker/image/image-error.ts";

/** What the runtimes of the configuration need, each image once, and which runtimes share it. */
export interface ConfiguredImage {
  readonly spec: ImageSpec;
  readonly runtimes: readonly string[];
}

/** What an image that did not build says of the next one: nothing, unless it is about the engine. */
const HOPELESS: ReadonlySet<string> = new Set(["aborted", "architecture_unsupported", "engine_unavailable"]);

/** Builds what the runtimes of the configuration need. One that fails does not stop the others; the exit code is 1 then. */
export async function buildImages({ refresh }: { refresh: boolean }): Promise<number> {
  const config = readEnvironment();
  const docker = connectEngine(config.dockerHost);
  const images = await configuredImages(config.runtimesFile);
  const failed: string[] = [];
  const refreshedBases = new Set<string>();
  for (const [index, { runtimes, spec }] of images.entries()) {
    const at = `${images.length === 1 ? "" : `[${index + 1}/${images.length}] `}${describeImage(spec)}`;
    const onProgress = (line: string): void => {
      say(`${at}: ${line}`);
    };
    try {
      onProgress(await buildOne({ docker, packageRoot, image: spec, refresh, refreshedBases, onProgress }));
    } catch (error) {
      if (!(error instanceof ImageBuildError) || HOPELESS.has(error.reason)) throw error;
      failed.push(describeImage(spec));
      complain(`${at}: failed (for ${runtimesOf(runtimes)}): ${error.message}`);
    }
  }
  if (failed.length === 0) return 0;
  if (images.length > 1) complain(`${failed.length} of ${images.length} images could not be built: ${failed.join("; ")}`);
  return 1;
}

/** Builds an image, or sees that it is there; says how it went. */
async function buildOne(options: BuildOptions): Promise<string> {
  const began = performance.now();
  const { built, id, nodeVersion, tag } = await buildSandboxImage(options);
  if (!built) return `${tag} (Node ${nodeVersion}) is up to date`;
  const { Size: bytes } = await options.docker.getImage(id).inspect();
  return `built ${tag} (Node ${nodeVersion}, ${readableSize(bytes)}) in ${((performance.now() - began) / 1000).toFixed(1)} s`;
}

/** Removes images of older sources; with `all` the current ones too. */
export async function pruneImages({ all }: { all: boolean }): Promise<number> {
  const config = readEnvironment();
  const docker = connectEngine(config.dockerHost);
  const keep: string[] = [];
  for (const { spec } of all ? [] : await configuredImages(config.runtimesFile)) {
    const found = await findImage({ docker, packageRoot, image: spec });
    if (found.state === "ready") keep.push(found.tag);
  }
  const { refused, removed } = await pruneSandboxImages(docker, keep);
  for (const image of removed) say(`removed ${image.tags.join(", ") || image.id}`);
  for (const { image, reason } of refused) say(`kept ${image.tags.join(", ") || image.id}: ${reason}`);
  return refused.length === 0 ? 0 : 1;
}

export async function configuredImages(runtimesFile: string): Promise<ConfiguredImage[]> {
  const { runtimes } = await loadRuntimes(runtimesFile);
  const images = new Map<string, { spec: ImageSpec; runtimes: string[] }>();
  for (const { image, name } of runtimes.values()) {
    const key = imageKey(image);
    const entry = images.get(key) ?? { spec: image, runtimes: [] };
    entry.runtimes.push(name);
    images.set(key, entry);
  }
  return [...images.values()];
}

const runtimesOf = (names: readonly string[]): string =>
  `${names.length === 1 ? "the runtime" : "the runtimes"} ${names.map((name) => `"${name}"`).join(", ")}`;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function complain(line: string): void {
  process.stderr.write(`${line}\n`);
}
