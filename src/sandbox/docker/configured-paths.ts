/** The paths that the configuration names, all problems at once: the workspace root, and everything that a runtime makes readable. */

import path from "node:path";

import type { RuntimeDefinition } from "../../domain/runtime.ts";
import { DEFAULT_ENGINE_SOCKET } from "./engine.ts";
import { checkReadable, isDirectory, ReadablePathError, realPaths, resolveReadable } from "./readable-paths.ts";

/** The settings of the service that the sandbox layer needs; every path is absolute. */
export interface SandboxSettings {
  readonly dockerHost: string | undefined;
  readonly configDir: string;
  readonly runtimesFile: string;
  /** It may lie outside of the configuration folder. */
  readonly keysFile: string;
  readonly stateDir: string;
  readonly workspaceRoot: string;
}

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
    closed: await realPaths([config.configDir, config.stateDir, config.keysFile]),
  };
  const problems: string[] = [];
  for (const [name, runtime] of runtimes) {
    for (const entry of runtime.permissions.fileSystem.read) {
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
