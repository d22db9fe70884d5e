/**
 * What several checks look at, asked once. Each fact has one check that reports why it cannot be had; the others are then "not checked".
 */

import type { ServiceConfig } from "../config/environment.ts";
import { loadKeys } from "../config/keys.ts";
import type { LoadedKeys } from "../config/keys.ts";
import { loadMcpServers } from "../config/mcp-servers-file.ts";
import type { LoadedMcpServers } from "../config/mcp-servers-file.ts";
import { loadRuntimes } from "../config/runtimes-file.ts";
import type { LoadedRuntimes } from "../config/runtimes-file.ts";
import { imageKey } from "../domain/image-spec.ts";
import type { ImageSpec } from "../domain/image-spec.ts";
import { connectEngine } from "../sandbox/docker/engine.ts";
import { askFacts } from "../sandbox/docker/engine-facts.ts";
import type { EngineFacts } from "../sandbox/docker/engine-facts.ts";
import { findImage } from "../sandbox/docker/image/find-image.ts";
import type { FoundImage } from "../sandbox/docker/image/find-image.ts";
import { NotCheckedError } from "./check.ts";

export interface FactsOptions {
  readonly config: ServiceConfig;
  readonly packageRoot: string;
  /** Start of the images' names; tests have their own. */
  readonly imagePrefix?: string;
}

/** A fact: `ask` rejects with the reason, `need` with a {@link NotCheckedError}. */
interface Fact<T> {
  ask(): Promise<T>;
  need(): Promise<T>;
}

/** What a runtime asks for, and what the engine has of it. */
export interface RuntimeImage {
  readonly spec: ImageSpec;
  readonly found: FoundImage;
}

export interface Facts {
  readonly config: ServiceConfig;
  readonly packageRoot: string;
  readonly engine: Fact<EngineFacts>;
  readonly runtimes: Fact<LoadedRuntimes>;
  readonly servers: Fact<LoadedMcpServers>;
  readonly keys: Fact<LoadedKeys>;
  readonly imagePrefix: string | undefined;
  /** The image of each runtime, each image once. */
  readonly images: Fact<readonly RuntimeImage[]>;
  /** A client of the engine. Throws a `StartupError` when its address is none. */
  connect(): ReturnType<typeof connectEngine>;
}

export function gatherFacts({ config, imagePrefix, packageRoot }: FactsOptions): Facts {
  const connect = (): ReturnType<typeof connectEngine> => connectEngine(config.dockerHost);
  const engine = fact("no engine answers", async () => askFacts(connect()));
  const runtimes = fact("runtimes.json cannot be used", () => loadRuntimes(config.runtimesFile));
  const servers = fact("mcp-servers.json cannot be used", () =>
    loadMcpServers(config.mcpServersFile, { variable: config.variable, timeoutMs: config.toolTimeoutMs }),
  );
  const keys = fact("the keys cannot be used", () => loadKeys(config));
  const images = fact("the images are not known", async () => {
    const [{ runtimes: defined }] = await Promise.all([runtimes.need(), engine.need()]);
    const selection = imagePrefix === undefined ? { packageRoot } : { packageRoot, prefix: imagePrefix };
    const specs = new Map([...defined.values()].map(({ image }) => [imageKey(image), image]));
    const images: RuntimeImage[] = [];
    for (const spec of specs.values()) images.push({ spec, found: await findImage({ docker: connect(), ...selection, image: spec }) });
    return images;
  });
  return { config, packageRoot, imagePrefix, connect, engine, runtimes, servers, keys, images };
}

function fact<T>(missing: string, find: () => Promise<T>): Fact<T> {
  let found: Promise<T> | undefined;
  const ask = (): Promise<T> => (found ??= find());
  const need = (): Promise<T> =>
    ask().catch((error: unknown) => {
      throw error instanceof NotCheckedError ? error : new NotCheckedError(missing, { cause: error });
    });
  return { ask, need };
}
