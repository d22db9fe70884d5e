/** `code-mode image`: builds and removes the sandbox images. */

import { readEnvironment } from "../config/environment.ts";
import { loadRuntimes } from "../config/runtimes-file.ts";
import { packageRoot } from "../lib/package-info.ts";
import { connectEngine } from "../sandbox/docker/engine.ts";
import { buildSandboxImage } from "../sandbox/docker/image/build-image.ts";
import { findImage, pruneSandboxImages } from "../sandbox/docker/image/find-image.ts";

/** Builds what the runtimes of the configuration need. */
export async function buildImages({ refresh }: { refresh: boolean }): Promise<number> {
  const config = readEnvironment();
  const docker = connectEngine(config.dockerHost);
  for (const nodeMajor of await configuredMajors(config.runtimesFile)) {
    const { built, nodeVersion, tag } = await buildSandboxImage({ docker, packageRoot, nodeMajor, refresh, onProgress: say });
    say(built ? `built ${tag} (Node ${nodeVersion})` : `${tag} (Node ${nodeVersion}) is up to date`);
  }
  return 0;
}

/** Removes images of older sources; with `all` the current ones too. */
export async function pruneImages({ all }: { all: boolean }): Promise<number> {
  const config = readEnvironment();
  const docker = connectEngine(config.dockerHost);
  const keep: string[] = [];
  for (const nodeMajor of all ? [] : await configuredMajors(config.runtimesFile)) {
    const image = await findImage({ docker, packageRoot, nodeMajor });
    if (image.state === "ready") keep.push(image.tag);
  }
  const { refused, removed } = await pruneSandboxImages(docker, keep);
  for (const image of removed) say(`removed ${image.tags.join(", ") || image.id}`);
  for (const { image, reason } of refused) say(`kept ${image.tags.join(", ") || image.id}: ${reason}`);
  return refused.length === 0 ? 0 : 1;
}

async function configuredMajors(runtimesFile: string): Promise<string[]> {
  const { runtimes } = await loadRuntimes(runtimesFile);
  return [...new Set([...runtimes.values()].map((runtime) => String(runtime.nodeMajor)))];
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
