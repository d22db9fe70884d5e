/**
 * The sandbox images that tests need beside the one of the shipped configuration.
 *
 * They are built under the project's own names and stay for the next run, like that one; `code-mode image prune` removes them.
 */

import { parseRuntimes } from "../../src/config/runtimes-file.ts";
import { imageKey } from "../../src/domain/image-spec.ts";
import { packageRoot } from "../../src/lib/package-info.ts";
import { buildSandboxImage } from "../../src/sandbox/docker/image/build-image.ts";
import { findImage } from "../../src/sandbox/docker/image/find-image.ts";
import { docker } from "./service.ts";

/** Long enough for downloads on a slow line. */
export const IMAGE_TIMEOUT_MS = 300_000;

/** Builds what these runtimes need, as far as it is not there. */
export async function buildImagesFor(runtimes: Readonly<Record<string, object>>): Promise<void> {
  const { runtimes: defined } = parseRuntimes(JSON.stringify({ runtimes }), "the test's runtimes");
  const images = new Map([...defined.values()].map(({ image }) => [imageKey(image), image]));
  for (const image of images.values()) await buildSandboxImage({ docker, packageRoot, image });
}

/** The id of the image of a runtime with these settings, which must be there. */
export async function imageIdOf(settings: object): Promise<string> {
  const { runtimes } = parseRuntimes(JSON.stringify({ runtimes: { one: settings } }), "the test's runtimes");
  const found = await findImage({ docker, packageRoot, image: runtimes.get("one")!.image });
  if (found.state !== "ready") throw new Error(found.message);
  return found.id;
}

/** A runtime with a shell and common commands, for tests of what a program can do with them. Those that share it share an image. */
export const TOOLS = {
  packages: ["coreutils", "curl", "dash", "git", "gzip", "jq"],
  permissions: {
    fileSystem: { write: ["./temp"], execute: ["/usr/lib/git-core/git-remote-http", "/usr/lib/git-core/git-submodule"] },
    system: {
      allowedCommands: ["cat", "cp", "curl", "env", "git", "gzip", "jq", "ln", "sh", "sleep", "yes", "zcat"],
      maxProcesses: 4,
    },
  },
} as const;
