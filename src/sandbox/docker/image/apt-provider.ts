/**
 * Debian's files from this machine's apt: the packages that it would install into an empty system, downloaded and unpacked by no one
 * but us. Needs no root, changes nothing on the machine, and leaves the check of signatures to apt.
 */

import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import type { Architecture } from "./architecture.ts";
import { CommandError, runCommand } from "./command.ts";
import type { DebianProvider } from "./debian-provider.ts";
import { ImageBuildError, messageOf } from "./image-error.ts";

export interface AptOptions {
  readonly packages: readonly string[];
  /** Of the engine. apt has packages of its own machine's architecture only. */
  readonly architecture: Architecture;
  /** For everything that apt keeps; the caller removes it. */
  readonly directory: string;
  readonly onProgress: (line: string) => void;
  readonly signal: AbortSignal | undefined;
}

/** The machine's own hooks are for its own system: they clean its cache, refresh its indexes. */
const NO_HOOKS = ["APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success", "AptCli::Hooks"];

export function aptProvider({ packages, architecture, directory, onProgress, signal }: AptOptions): DebianProvider {
  const archives = join(directory, "archives");
  const lists = join(directory, "lists");
  const hooks = join(directory, "no-hooks.conf");
  const apt = (command: readonly string[], privateLists: boolean): Promise<Buffer> => {
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
      ...(privateLists ? { "Dir::State::lists": lists } : {}),
    };
    const args = Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
    return runCommand("apt-get", [...command, "-q", "-y", "-c", hooks, ...args], { signal });
  };

  const download = async (): Promise<void> => {
    await mkdir(join(archives, "partial"), { recursive: true });
    await mkdir(join(lists, "partial"), { recursive: true });
    await writeFile(join(directory, "status"), "");
    await writeFile(hooks, NO_HOOKS.map((name) => `#clear ${name};\n`).join(""));
    const install = ["install", "--download-only", ...packages];
    try {
      await apt(install, false);
    } catch {
      signal?.throwIfAborted();
      // Never updated, or so long ago that the packages are gone. We may not update the machine's lists, so we get our own.
      onProgress("Debian packages: this machine's package lists are of no use, fetching fresh ones");
      await apt(["update"], true);
      await apt(install, true);
    }
  };

  return {
    name: "apt on this machine",
    whyNot: () => whyNot(architecture, signal),
    read: async (onTar) => {
      try {
        await download();
      } catch (error) {
        signal?.throwIfAborted();
        throw new ImageBuildError("debian_unavailable", `${messageOf(error)} (check its sources and the network)`, error);
      }
      const files = (await readdir(archives)).filter((name) => name.endsWith(".deb")).sort();
      const versions = files.map(versionOf);
      onProgress(`Debian packages: ${versions.join(", ")}`);
      for (const file of files) {
        await onTar(Readable.from([await runCommand("dpkg-deb", ["--fsys-tarfile", join(archives, file)], { signal })]));
      }
      return versions.join(", ");
    },
  };
}

async function whyNot(architecture: Architecture, signal: AbortSignal | undefined): Promise<string | undefined> {
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

/** `libc6_2.36-9_amd64.deb` → `libc6 2.36-9`. apt writes the colon of an epoch as %3a. */
function versionOf(file: string): string {
  const [name = file, version = ""] = file.split("_");
  return `${name} ${decodeURIComponent(version)}`;
}
