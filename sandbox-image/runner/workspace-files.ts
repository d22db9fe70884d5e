/**
 * Writes the caller's files into the workspace before the program starts.
 *
 * It follows no link and replaces nothing. Where a file may go is not decided here: the service has checked the paths, and the
 * mounts say what is writable.
 */

import path from "node:path";

import type { ExecuteParams } from "../../src/bridge/protocol.ts";
import { Buffer, closeSync, fsConstants, lstatSync, mkdirSync, openSync, writeSync } from "./intrinsics.ts";

const NEW_FILE = fsConstants.O_WRONLY | fsConstants.O_CREAT | fsConstants.O_EXCL | fsConstants.O_NOFOLLOW;

/** A file of the request has no place in the workspace. */
export class WorkspaceFileError extends Error {
  override readonly name = "WorkspaceFileError";
}

export function writeWorkspaceFiles(workspace: string, files: ExecuteParams["files"]): void {
  for (const file of files) {
    try {
      makeParents(workspace, file.path);
      writeNewFile(path.join(workspace, file.path), Buffer.from(file.content, file.encoding));
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new WorkspaceFileError(`The file "${file.path}" of the request could not be written: ${reason}`, { cause });
    }
  }
}

function makeParents(workspace: string, file: string): void {
  let folder = workspace;
  for (const segment of file.split("/").slice(0, -1)) {
    folder = path.join(folder, segment);
    const found = lstatSync(folder, { throwIfNoEntry: false });
    if (found === undefined) mkdirSync(folder);
    else if (!found.isDirectory()) throw new Error(`"${path.relative(workspace, folder)}" is not a folder`);
  }
}

function writeNewFile(file: string, content: Uint8Array): void {
  const fd = openSync(file, NEW_FILE, 0o644);
  try {
    for (let written = 0; written < content.byteLength;) written += writeSync(fd, content, written);
  } finally {
    closeSync(fd);
  }
}
