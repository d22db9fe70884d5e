/**
 * Debian's files from a Debian image, for machines without apt. Its file system is read through a container that is never started.
 */

import { randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import type Docker from "dockerode";
import type { Architecture } from "./architecture.ts";
import type { DebianProvider } from "./debian-provider.ts";
import { engineError, isNotFound, readEngineMessages } from "./engine-messages.ts";
import { ImageBuildError, messageOf } from "./image-error.ts";
import { LABELS } from "./labels.ts";

export interface RegistryOptions {
  readonly docker: Docker;
  readonly architecture: Architecture;
  /** The image, pulled unless the engine has it. */
  readonly reference: string;
  readonly prefix: string;
  readonly onProgress: (line: string) => void;
  readonly signal: AbortSignal | undefined;
}

export function registryProvider(options: RegistryOptions): DebianProvider {
  const { docker, reference, onProgress, signal } = options;
  return {
    name: `the image ${reference}`,
    whyNot: () => Promise.resolve(undefined),
    read: async (onTar) => {
      const local = await localImageId(options);
      const id = local ?? (await pull(options));
      onProgress(`Debian packages: from ${reference} (${id.slice(0, 19)})`);
      try {
        await exportImage(options, id, onTar);
      } finally {
        if (local === undefined)
          await docker
            .getImage(reference)
            .remove()
            .catch(() => undefined);
      }
      signal?.throwIfAborted();
      return `${reference} ${id}`;
    },
  };
}

/** The image's id, if the engine has it and it is of the right architecture. */
async function localImageId({ docker, reference, architecture }: RegistryOptions): Promise<string | undefined> {
  try {
    const image = await docker.getImage(reference).inspect();
    return image.Architecture === architecture ? image.Id : undefined;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw engineError(error, `looking for ${reference}`);
  }
}

async function pull(options: RegistryOptions): Promise<string> {
  const { docker, reference, signal, onProgress } = options;
  onProgress(`Debian packages: pulling ${reference}`);
  try {
    await readEngineMessages(await docker.pull(reference, { abortSignal: signal }));
  } catch (error) {
    signal?.throwIfAborted();
    throw new ImageBuildError("debian_unavailable", `the engine cannot pull it: ${messageOf(error)}`, error);
  }
  const id = await localImageId(options);
  if (id === undefined) throw new ImageBuildError("debian_unavailable", `what was pulled is not for ${options.architecture}`);
  return id;
}

async function exportImage(options: RegistryOptions, id: string, onTar: (tar: Readable) => Promise<void>): Promise<void> {
  const { docker, prefix, signal, reference } = options;
  try {
    // Not aborted: an aborted create leaves its container behind.
    const container = await docker.createContainer({
      name: `${prefix}-export-${randomUUID()}`,
      Image: id,
      Cmd: ["/never-started"],
      NetworkDisabled: true,
      Labels: { [LABELS.prefix]: prefix },
    });
    try {
      await onTar(Readable.from(await container.export(), signal === undefined ? {} : { signal }));
    } finally {
      await container.remove({ force: true });
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw engineError(error, `reading ${reference}`);
  }
}
