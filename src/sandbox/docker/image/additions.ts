/**
 * What a runtime adds to the base: the files of its Debian packages and npm modules, unpacked and filtered. Nothing of them is installed
 * or run, and of their programs only those come along that the runtime allows.
 */

import { join } from "node:path";
import type { ImageSpec } from "../../../domain/image-spec.ts";
import { downloadPackages, openPackage, whyNoApt } from "./apt.ts";
import type { Architecture } from "./architecture.ts";
import { DebianFilter, type DebianWanted } from "./debian-filter.ts";
import type { ExecutableGroups } from "./executable-groups.ts";
import { grantExecutables } from "./executables.ts";
import { FilePool } from "./file-pool.ts";
import type { ImageEntry } from "./image-entries.ts";
import { ImageBuildError } from "./image-error.ts";
import { installModules } from "./npm-modules.ts";
import { poolEntries } from "./pool-entries.ts";

export interface AdditionsOptions {
  readonly spec: ImageSpec;
  readonly architecture: Architecture;
  /** What the base has of Debian. */
  readonly base: DebianWanted;
  readonly packageRoot: string;
  /** For what is downloaded; the caller removes it. */
  readonly directory: string;
  readonly refresh: boolean;
  readonly onProgress: (line: string) => void;
  readonly signal: AbortSignal | undefined;
}

export interface Additions {
  readonly entries: readonly ImageEntry[];
  readonly groups: ExecutableGroups;
  /** Every Debian package that was unpacked, with its version. */
  readonly packages: ReadonlyMap<string, string>;
  /** The modules that were named: `lodash 4.17.21`. */
  readonly modules: readonly string[];
}

export async function readAdditions(options: AdditionsOptions): Promise<Additions> {
  const { base, spec } = options;
  const pool = new FilePool();
  const packages = spec.packages.length === 0 ? new Map<string, string>() : await addPackages(options, pool);
  const modules = spec.modules.length === 0 ? [] : await addModules(options, pool);
  pool.mergeCopies();
  const grants = grantExecutables(pool, spec.executables);
  const filter = new DebianFilter(base);
  const entries = poolEntries(pool, grants, (path) => filter.isLibrary(path));
  assertNoStrayProgram(entries);
  return { entries, groups: grants.groups, packages, modules };
}

async function addPackages(options: AdditionsOptions, pool: FilePool): Promise<Map<string, string>> {
  const { architecture, directory, onProgress, signal, spec } = options;
  const whyNot = await whyNoApt(architecture, signal);
  if (whyNot !== undefined) {
    throw new ImageBuildError(
      "debian_unavailable",
      `packages: they are fetched with apt, and it cannot be used here: ${whyNot}. Build this image on a Debian or Ubuntu machine of ` +
        "the engine's architecture (DOCKER_HOST names an engine elsewhere), or leave packages empty.",
    );
  }
  onProgress(`Debian packages: fetching ${spec.packages.join(", ")} and what they need`);
  const archives = await downloadPackages({ packages: spec.packages, directory: join(directory, "packages"), onProgress, signal });
  for (const archive of archives) await pool.addPackage(await openPackage(archive, signal));
  const named = new Set(spec.packages.map((entry) => entry.replace(/=.*$/, "")));
  const shown = archives.filter(({ name }) => named.has(name)).map(({ name, version }) => `${name} ${version}`);
  onProgress(
    `Debian packages: ${shown.join(", ")}; ${archives.length} in all, ${megabytes(archives.reduce((sum, { bytes }) => sum + bytes, 0))}`,
  );
  return new Map(archives.map(({ name, version }) => [name, version]));
}

async function addModules(options: AdditionsOptions, pool: FilePool): Promise<readonly string[]> {
  const { directory, onProgress, spec } = options;
  onProgress(`npm modules: fetching ${spec.modules.join(", ")} and what they need`);
  const { files, others, versions } = await installModules({ ...options, modules: spec.modules, directory: join(directory, "modules") });
  for (const { content, path } of files) pool.addModuleFile(path, content);
  const bytes = files.reduce((sum, { content }) => sum + content.length, 0);
  onProgress(`npm modules: ${versions.join(", ")}; ${versions.length + others} in all, ${megabytes(bytes)}`);
  return versions;
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

/** A second look, apart from the rules that chose: whatever is not for a group can be executed by nobody. */
function assertNoStrayProgram(entries: readonly ImageEntry[]): void {
  for (const entry of entries) {
    if (entry.type !== "file" || entry.gid !== undefined || (entry.mode & 0o111) === 0) continue;
    throw new ImageBuildError("unsafe_content", `The image would not be safe: ${entry.path} can be executed by everybody.`);
  }
}
