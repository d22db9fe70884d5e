/**
 * This machine's apt: resolves Debian packages as for an empty system and downloads them. Needs no root, changes nothing on the
 * machine, and leaves the check of signatures to apt. Nothing of a package is installed or run.
 */

import { mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import type { Architecture } from "./architecture.ts";
import { CommandError, runCommand } from "./command.ts";
import { ImageBuildError, messageOf } from "./image-error.ts";

export interface AptOptions {
  /** Names, or `name=version`. */
  readonly packages: readonly string[];
  /** For everything that apt keeps; the caller removes it. */
  readonly directory: string;
  readonly onProgress: (line: string) => void;
  readonly signal: AbortSignal | undefined;
}

/** A downloaded package. */
export interface DebianArchive {
  readonly name: string;
  readonly version: string;
  readonly path: string;
  readonly bytes: number;
}

/** The machine's own hooks are for its own system: they clean its cache, refresh its indexes. */
const NO_HOOKS = ["APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success", "AptCli::Hooks"];

/** Downloads the packages and all that they depend on. Sorted by name. */
export async function downloadPackages({ directory, onProgress, packages, signal }: AptOptions): Promise<DebianArchive[]> {
  const archives = join(directory, "archives");
  const settings = await prepare(directory, archives);
  const apt = (command: string, args: readonly string[], settingsOfRun: readonly string[]): Promise<Buffer> =>
    runCommand(command, [...args, "-c", join(directory, "no-hooks.conf"), ...settingsOfRun], { signal });
  const install = ["install", "--download-only", "-q", "-y", ...packages];
  const fresh = [...settings, "-o", `Dir::State::lists=${join(directory, "lists")}`];
  try {
    await apt("apt-get", install, settings);
  } catch {
    signal?.throwIfAborted();
    // Never updated, or so long ago that the packages are gone. We may not update the machine's lists, so we get our own.
    onProgress("Debian packages: this machine's package lists are of no use, fetching fresh ones");
    try {
      await apt("apt-get", ["update", "-q", "-y"], fresh);
      await apt("apt-get", install, fresh);
    } catch (error) {
      signal?.throwIfAborted();
      const records = await apt("apt-cache", ["show", "-q", "libc6", ...packages], fresh).then(String, (failure: unknown) =>
        failure instanceof CommandError ? failure.output : "",
      );
      signal?.throwIfAborted();
      const unknown = packages.filter((entry) => !isDescribed(entry, records));
      // When apt knows nothing at all, it is not the names.
      if (unknown.length > 0 && isDescribed("libc6", records)) throw unknownPackages(unknown, error);
      throw new ImageBuildError("debian_unavailable", `${messageOf(error)} (check its sources and the network)`, error);
    }
  }
  return listArchives(archives, packages);
}

async function prepare(directory: string, archives: string): Promise<string[]> {
  await mkdir(join(archives, "partial"), { recursive: true });
  await mkdir(join(directory, "lists", "partial"), { recursive: true });
  await writeFile(join(directory, "status"), "");
  await writeFile(join(directory, "no-hooks.conf"), NO_HOOKS.map((name) => `#clear ${name};\n`).join(""));
  const settings = {
    "Dir::State::status": join(directory, "status"),
    "Dir::State::extended_states": join(directory, "extended-states"),
    "Dir::Cache": directory,
    "Dir::Cache::archives": archives,
    "Dir::Cache::pkgcache": "",
    "Dir::Cache::srcpkgcache": "",
    "APT::Install-Recommends": "false",
    "Acquire::Languages": "none",
    "Acquire::Retries": "2",
    // The locks of the machine's own package manager: they need root, and everything that is written here is ours.
    "Debug::NoLocking": "true",
  };
  return Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
}

/** Whether `apt-cache show` has a record of the package, and of the version if one is named. */
function isDescribed(entry: string, records: string): boolean {
  const [name = "", version] = entry.split("=");
  return records.split("\n\n").some((record) => {
    const lines = record.split("\n");
    return lines.includes(`Package: ${name}`) && (version === undefined || lines.includes(`Version: ${version}`));
  });
}

function unknownPackages(entries: readonly string[], cause?: unknown): ImageBuildError {
  const list = entries.map((entry) => `"${entry}"`).join(", ");
  return new ImageBuildError(
    "package_unknown",
    `packages: apt on this machine knows no Debian package ${list}. Look the name up with \`apt-cache search\`; a virtual package needs ` +
      "the name of a real one.",
    cause,
  );
}

/** Throws when a package that was named is not there: apt takes a name that it does not know for a pattern, or for a virtual package. */
async function listArchives(folder: string, packages: readonly string[]): Promise<DebianArchive[]> {
  const files = (await readdir(folder)).filter((file) => file.endsWith(".deb")).sort();
  const archives = await Promise.all(
    files.map(async (file) => {
      // `libc6_2.36-9_amd64.deb`; apt writes the colon of an epoch as %3a.
      const [name = file, version = ""] = file.split("_");
      const path = join(folder, file);
      return { name, version: decodeURIComponent(version), path, bytes: (await stat(path)).size };
    }),
  );
  const names = new Set(archives.map(({ name }) => name));
  const unknown = packages.filter((entry) => !names.has(entry.replace(/=.*$/, "")));
  if (unknown.length > 0) throw unknownPackages(unknown);
  return archives;
}

/** The files of a package, as a tar. */
export async function openPackage({ path }: DebianArchive, signal: AbortSignal | undefined): Promise<Readable> {
  return Readable.from([await runCommand("dpkg-deb", ["--fsys-tarfile", path], { signal })]);
}

/** Why apt cannot be used here for an engine of the architecture; `undefined` if it can. */
export async function whyNoApt(architecture: Architecture, signal: AbortSignal | undefined): Promise<string | undefined> {
  try {
    await runCommand("apt-get", ["--version"], { signal });
    await runCommand("dpkg-deb", ["--version"], { signal });
    const own = (await runCommand("dpkg", ["--print-architecture"], { signal })).toString("utf8").trim();
    return own === architecture ? undefined : `this machine is ${own}, the Docker engine's is ${architecture}`;
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof CommandError) return error.message;
    throw error;
  }
}
