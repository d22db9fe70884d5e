/** The paths that the configuration names, all problems at once: the workspace root, and everything that a runtime makes readable or keeps. */

import path from "node:path";

import type { RuntimeDefinition } from "../../domain/runtime.ts";
import { DEFAULT_ENGINE_SOCKET } from "./engine.ts";
import { findPersistProblem } from "./persist/configured-folder.ts";
import { checkReadable, isDirectory, ReadablePathError, realPaths, resolveReadable } from "./readable-paths.ts";

/** The settings of the service that the sandbox layer needs; every path is absolute. */
export interface SandboxSettings {
  readonly dockerHost: string | undefined;
  readonly configDir: string;
  readonly runtimesFile: string;
  /** It may lie outside of the configuration folder. */
  readonly keysFile: string;
  readonly stateDir: string;
  /** Both may lie outside of the state folder. */
  readonly audit: { readonly folder: string; readonly keyFile: string };
  readonly workspaceRoot: string;
}

/** Of the service's package: what it runs, and makes images from. */
const PROGRAM_FOLDERS = ["bench", "config", "dist", "node_modules", "sandbox-image", "scripts", "src", "test"];

/** What is wrong with the paths of the configuration; empty when nothing is. */
export async function findPathProblems(
  config: SandboxSettings,
  packageRoot: string,
  runtimes: ReadonlyMap<string, RuntimeDefinition>,
): Promise<string[]> {
  if (!(await isDirectory(config.workspaceRoot))) {
    return [`the workspace root ${config.workspaceRoot} is no folder; make it, or set CODE_MODE_WORKSPACE_ROOT`];
  }
  const engineSocket =
    config.dockerHost?.startsWith("unix://") === true ? config.dockerHost.slice("unix://".length) : DEFAULT_ENGINE_SOCKET;
  // The workspace may lie in the project's folder, as it does when the project runs from its sources.
  const places = {
    notContained: await realPaths([packageRoot, engineSocket]),
    closed: await realPaths([config.configDir, config.stateDir, config.keysFile, config.audit.folder, config.audit.keyFile]),
  };
  const persistPlaces = {
    notContained: places.notContained,
    // Where the service's own program is, files of programs are not to go.
    closed: [...places.closed, ...(await realPaths(PROGRAM_FOLDERS.map((folder) => path.join(packageRoot, folder))))],
  };
  const problems: string[] = [];
  for (const [name, runtime] of runtimes) {
    const { read, write } = runtime.permissions.fileSystem;
    for (const { path: folder } of write.filter(({ persist }) => persist)) {
      const problem = await findPersistProblem(config.workspaceRoot, folder, persistPlaces);
      if (problem !== undefined)
        problems.push(`${path.basename(config.runtimesFile)}: runtimes.${name}.permissions.fileSystem.write: ${problem}`);
    }
    for (const entry of read) {
      try {
        await checkReadable(await resolveReadable(config.workspaceRoot, entry.path), places);
      } catch (error) {
        if (!(error instanceof ReadablePathError)) throw error;
        problems.push(`${path.basename(config.runtimesFile)}: runtimes.${name}.permissions.fileSystem.read: ${error.message}`);
      }
    }
  }
  return problems;
}
