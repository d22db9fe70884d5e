/**
 * npm modules for an image: npm resolves and downloads them into a folder of ours and checks them against the registry's hashes. Nothing
 * of them is run, and only what a registry has is taken.
 */

import { copyFile, lstat, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { z } from "zod";
import { splitModule } from "../../../domain/image-spec.ts";
import type { Architecture } from "./architecture.ts";
import { CommandError, runCommand } from "./command.ts";
import { ImageBuildError, messageOf } from "./image-error.ts";

export interface ModuleOptions {
  /** `name`, or `name@version`. */
  readonly modules: readonly string[];
  readonly architecture: Architecture;
  /** Where npm looks for a project's configuration, in addition to the user's. */
  readonly packageRoot: string;
  /** For everything that npm makes; the caller removes it. */
  readonly directory: string;
  /** Ask the registry again for what npm has in its cache. */
  readonly refresh: boolean;
  readonly signal: AbortSignal | undefined;
}

export interface ModuleFiles {
  /** Path in the image, without the leading slash. */
  readonly files: readonly { readonly path: string; readonly content: Buffer }[];
  /** The modules that were named, with what each became: `lodash 4.17.21`. */
  readonly versions: readonly string[];
  /** How many others came with them. */
  readonly others: number;
}

const CPUS = { amd64: "x64", arm64: "arm64" } as const;

/** What npm says of what it installed. */
const lockSchema = z.object({
  packages: z.record(
    z.string(),
    z.object({
      version: z.string().optional(),
      resolved: z.string().optional(),
      integrity: z.string().optional(),
      link: z.boolean().optional(),
      inBundle: z.boolean().optional(),
    }),
  ),
});

const failureSchema = z.object({ error: z.object({ code: z.string().optional(), summary: z.string().optional() }) });

export async function installModules(options: ModuleOptions): Promise<ModuleFiles> {
  const { directory, modules } = options;
  await mkdir(directory, { recursive: true });
  await copyFile(join(options.packageRoot, ".npmrc"), join(directory, ".npmrc")).catch(() => undefined);
  const dependencies = Object.fromEntries(modules.map((entry) => [splitModule(entry).name, splitModule(entry).version ?? "latest"]));
  await writeFile(join(directory, "package.json"), JSON.stringify({ name: "modules", private: true, dependencies }));
  await install(options);
  const folder = join(directory, "node_modules");
  const installed = await readLock(folder);
  const versionOf = (name: string): string => installed.get(`node_modules/${name}`) ?? "";
  return {
    files: await readFiles(folder, directory),
    versions: modules.map((entry) => `${splitModule(entry).name} ${versionOf(splitModule(entry).name)}`),
    others: installed.size - modules.length,
  };
}

async function install({ architecture, directory, modules, refresh, signal }: ModuleOptions): Promise<void> {
  const flags = [
    ...[
      "--ignore-scripts",
      "--omit=dev",
      "--no-audit",
      "--no-fund",
      "--no-bin-links",
      "--no-update-notifier",
      "--loglevel=error",
      "--json",
    ],
    ...["--os=linux", `--cpu=${CPUS[architecture]}`, "--libc=glibc", "--workspaces=false", "--global=false", "--install-links=true"],
    // A dependency from a repository would be cloned and built here.
    "--git=/nonexistent",
    // Then only what is not from a registry says where it is from.
    "--omit-lockfile-registry-resolved=true",
    ...(refresh ? ["--prefer-online"] : []),
  ];
  try {
    await runCommand("npm", ["install", ...flags], { directory, signal });
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof CommandError && error.missing) {
      throw new ImageBuildError("modules_unavailable", "modules: npm is needed to fetch them. Install it (it comes with Node).", error);
    }
    const unknown: string[] = [];
    for (const entry of modules) if (!(await isKnown(entry, directory, signal))) unknown.push(entry);
    const list = unknown.map((entry) => `"${entry}"`).join(", ");
    throw unknown.length === 0
      ? new ImageBuildError("modules_unavailable", `modules: npm failed: ${summaryOf(error)}\nCheck the network and npm's settings.`, error)
      : new ImageBuildError(
          "module_unknown",
          `modules: npm finds no ${list}. Check name and version, and that the registry is reached.`,
          error,
        );
  }
}

/** Whether the registry has a version of it. */
async function isKnown(entry: string, directory: string, signal: AbortSignal | undefined): Promise<boolean> {
  try {
    const answer = await runCommand("npm", ["view", entry, "version", "--json", "--loglevel=silent"], { directory, signal });
    return answer.toString("utf8").trim() !== "";
  } catch (error) {
    signal?.throwIfAborted();
    return codeOf(error) !== "E404";
  }
}

const failureOf = (error: unknown): z.infer<typeof failureSchema>["error"] | undefined => {
  try {
    return error instanceof CommandError ? failureSchema.parse(JSON.parse(error.output)).error : undefined;
  } catch {
    return undefined;
  }
};
const codeOf = (error: unknown): string | undefined => failureOf(error)?.code;
const summaryOf = (error: unknown): string => failureOf(error)?.summary?.trim() ?? messageOf(error);

/** The version of each package by its folder. Throws for one that no registry vouches for. */
async function readLock(folder: string): Promise<Map<string, string>> {
  const text = await readFile(join(folder, ".package-lock.json"), "utf8");
  const { packages } = lockSchema.parse(JSON.parse(text));
  for (const [place, { inBundle = false, integrity, link = false, resolved }] of Object.entries(packages)) {
    // What a package bundles is part of its own archive, and covered by its hash.
    if (inBundle || (!link && integrity !== undefined && resolved === undefined)) continue;
    throw new ImageBuildError(
      "unsafe_content",
      `modules: ${place.replace(/^node_modules\//, "")} is not from a registry but from "${resolved ?? "elsewhere"}". Use versions whose dependencies are.`,
    );
  }
  return new Map(Object.entries(packages).map(([place, { version = "" }]) => [place, version]));
}

/** All regular files below the folder but npm's own notes. */
async function readFiles(folder: string, root: string): Promise<{ path: string; content: Buffer }[]> {
  const files: { path: string; content: Buffer }[] = [];
  for (const name of (await readdir(folder)).sort()) {
    const path = join(folder, name);
    const stats = await lstat(path);
    if (stats.isDirectory() && name !== ".bin") files.push(...(await readFiles(path, root)));
    else if (stats.isFile() && name !== ".package-lock.json") files.push({ path: relative(root, path), content: await readFile(path) });
    else if (stats.isSymbolicLink()) {
      throw new ImageBuildError("unsafe_content", `modules: ${relative(root, path)} is a link, which no archive of a registry has.`);
    }
  }
  return files;
}
