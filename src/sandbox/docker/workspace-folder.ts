/**
 * The host folder that becomes a sandbox's read-only /workspace: mount points, snapshots, and the input files.
 *
 * Only the service writes here. Input files below a writable path are not for this folder: they go to the runner, which writes them
 * into the tmpfs that only the sandbox itself can reach.
 */

import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";

import { AppError } from "../../domain/errors.ts";
import type { ExecutionRequest, InputFile } from "../../domain/execution.ts";
import type { Permissions } from "../../domain/permissions.ts";
import type { EffectivePolicy } from "../../domain/runtime.ts";
import { isWithin, overlap } from "../../domain/sandbox-path.ts";

/** Input files by where they go. */
export interface SplitFiles {
  readonly readOnly: readonly InputFile[];
  readonly writable: readonly InputFile[];
}

/**
 * Refuses input files that could not be placed: `INVALID_REQUEST` for one that would lie in, or hide, a readable path of the runtime,
 * or take the place of a writable folder; `LIMIT_EXCEEDED` for too many.
 */
export function checkInputFiles({ files }: Pick<ExecutionRequest, "files">, { limits, permissions }: EffectivePolicy): void {
  const { read, write } = permissions.fileSystem;
  if (files.length > limits.inputFiles) {
    throw new AppError({
      code: "LIMIT_EXCEEDED",
      message: `The request brings ${files.length} files; this runtime takes ${limits.inputFiles}.`,
      details: [{ path: "files", message: `at most ${limits.inputFiles} files` }],
    });
  }
  const details = files.flatMap(({ path: file }, index) => {
    const at = `files.${index}.path`;
    const hidden = read.find((entry) => overlap(file, entry.path));
    if (hidden !== undefined)
      return [{ path: at, message: `"${file}" lies in the readable path "${hidden.path}" of the runtime; choose another folder` }];
    if (write.some((entry) => isWithin(entry.path, file))) return [{ path: at, message: `"${file}" is a writable folder of the runtime` }];
    return [];
  });
  if (details.length > 0)
    throw new AppError({ code: "INVALID_REQUEST", message: details.map(({ message }) => message).join("; "), details });
}

/** Sorts the input files of a request by who can write them. */
export function splitInputFiles(files: readonly InputFile[], permissions: Permissions): SplitFiles {
  const { write } = permissions.fileSystem;
  const isWritable = (file: InputFile): boolean => write.some((entry) => isWithin(file.path, entry.path));
  return { readOnly: files.filter((file) => !isWritable(file)), writable: files.filter(isWritable) };
}

/** Makes the folders that something gets mounted on. */
export async function makeMountPoints(workspace: string, paths: readonly string[]): Promise<void> {
  for (const mountPoint of paths) await mkdir(path.join(workspace, mountPoint), { recursive: true, mode: 0o755 });
}

/** Writes the read-only input files. The paths are in normal form and unique; existing files are never overwritten. */
export async function writeInputFiles(workspace: string, files: readonly InputFile[]): Promise<void> {
  for (const file of files) {
    const target = path.join(workspace, file.path);
    await mkdir(path.dirname(target), { recursive: true, mode: 0o755 });
    await writeFile(target, Buffer.from(file.content, file.encoding), { flag: "wx", mode: 0o644 });
  }
}
