/** What can be said of the runtimes of a configuration before a container is started: their readable paths, and their images. */

import type Docker from "dockerode";

import { StartupError } from "../../domain/errors.ts";
import { describeImage, imageKey } from "../../domain/image-spec.ts";
import type { RuntimeDefinition } from "../../domain/runtime.ts";
import { findUnsupported } from "../../domain/unsupported.ts";
import { findPathProblems } from "./configured-paths.ts";
import type { SandboxSettings } from "./configured-paths.ts";
import type { UsableImage } from "./image/executable-groups.ts";
import { findImage } from "./image/find-image.ts";

export interface CheckedRuntimes {
  /** With the reasons of those that cannot run here. */
  readonly runtimes: ReadonlyMap<string, RuntimeDefinition>;
  /** The images that are there, by `imageKey`. */
  readonly images: ReadonlyMap<string, UsableImage>;
  /** The same for people: what each holds, in words, and its name. */
  readonly named: readonly { readonly holds: string; readonly tag: string }[];
}

export interface RuntimeSources {
  readonly docker: Docker;
  readonly config: SandboxSettings;
  readonly packageRoot: string;
}

/** Throws a {@link StartupError} that lists the readable paths that cannot be used. A missing image is a matter of its runtimes only. */
export async function checkRuntimes(
  { config, docker, packageRoot }: RuntimeSources,
  runtimes: ReadonlyMap<string, RuntimeDefinition>,
): Promise<CheckedRuntimes> {
  const problems = await findPathProblems(config, packageRoot, runtimes);
  if (problems.length > 0) throw new StartupError(problems);

  const images = new Map<string, UsableImage>();
  const named: { holds: string; tag: string }[] = [];
  const missing = new Map<string, string>();
  for (const { image } of runtimes.values()) {
    const key = imageKey(image);
    if (images.has(key) || missing.has(key)) continue;
    const found = await findImage({ docker, packageRoot, image });
    if (found.state === "ready") {
      images.set(key, found);
      named.push({ holds: describeImage(image), tag: found.tag });
    } else missing.set(key, found.message);
  }
  const checked = [...runtimes].map(([name, runtime]) => {
    const reason = missing.get(imageKey(runtime.image));
    return [name, reason === undefined ? runtime : { ...runtime, unavailable: [...runtime.unavailable, reason] }] as const;
  });
  return { runtimes: new Map(checked), images, named };
}

/** Why none of the runtimes can run; empty when one can. */
export function findNothingUsable(runtimes: ReadonlyMap<string, RuntimeDefinition>): string[] {
  const all = [...runtimes.values()];
  if (all.some(({ unavailable }) => unavailable.length === 0)) return [];
  return all.flatMap(({ name, unavailable }) => unavailable.map((reason) => `runtime "${name}": ${reason}`));
}

/** What runs now, or does all that its policy says, and would not any more; empty when nothing is lost. */
export function findLosses(present: ReadonlyMap<string, RuntimeDefinition>, next: ReadonlyMap<string, RuntimeDefinition>): string[] {
  return [...next.values()].flatMap((runtime) => {
    const before = present.get(runtime.name);
    if (before === undefined || before.unavailable.length > 0) return [];
    const unsupported = findUnsupported(before.permissions).length > 0 ? [] : findUnsupported(runtime.permissions);
    return [...runtime.unavailable, ...unsupported].map(
      (reason) => `runtime "${runtime.name}" can run now, and could not any more: ${reason}`,
    );
  });
}
