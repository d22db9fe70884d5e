/** `code-mode image`: builds and removes the sandbox images. */

import { readEnvironment } from "../config/environment.ts";
import { loadRuntimes } from "../config/runtimes-file.ts";
import { imageKey } from "../domain/image-spec.ts";
import type { ImageSpec } from "../domain/image-spec.ts";
import { packageRoot } from "../lib/package-info.ts";
import { connectEngine } from "../sandbox/docker/engine.ts";
import { buildSandboxImage } from "../sandbox/docker/image/build-image.ts";
import { findImage, pruneSandboxImages } from "../sandbox/docker/image/find-image.ts";

/** Builds what the runtimes of the configuration need. */
export async function buildImages({ refresh }: { refresh: boolean }): Promise<number> {
  const config = readEnvironment();
  const docker = connectEngine(config.dockerHost);
  for (const image of await configuredImages(config.runtimesFile)) {
    const { built, nodeVersion, tag } = await buildSandboxImage({ docker, packageRoot, image, refresh, onProgress: say });
    say(built ? `built ${tag} (Node ${nodeVersion})` : `${tag} (Node ${nodeVersion}) is up to date`);
  }
  return 0;
}

/** Removes images of older sources; with `all` the current ones too. */
export async function pruneImages({ all }: { all: boolean }): Promise<number> {
  const config = readEnvironment();
  const docker = connectEngine(config.dockerHost);
  const keep: string[] = [];
  for (const image of all ? [] : await configuredImages(config.runtimesFile)) {
    const found = await findImage({ docker, packageRoot, image });
    if (found.state === "ready") keep.push(found.tag);
  }
  const { refused, removed } = await pruneSandboxImages(docker, keep);
  for (const image of removed) say(`removed ${image.tags.join(", ") || image.id}`);
  for (const { image, reason } of refused) say(`kept ${image.tags.join(", ") || image.id}: ${reason}`);
  return refused.length === 0 ? 0 : 1;
}

/** What the runtimes of the configuration need, each image once. */
async function configuredImages(runtimesFile: string): Promise<ImageSpec[]> {
  const { runtimes } = await loadRuntimes(runtimesFile);
  return [...new Map([...runtimes.values()].map(({ image }) => [imageKey(image), image])).values()];
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
