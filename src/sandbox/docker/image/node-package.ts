/**
 * Node's binary, from a package of the npm registry. npm only fetches the archive: it runs nothing of it and installs nothing, and
 * not a byte is used before the archive's hash is the pinned one.
 */

import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createGunzip } from "node:zlib";
import { SANDBOX_PATHS } from "../../../bridge/protocol.ts";
import { CommandError, runCommand } from "./command.ts";
import type { ImageEntry } from "./image-entries.ts";
import { ImageBuildError, messageOf } from "./image-error.ts";
import type { NodePin } from "./image-sources.ts";
import { readTar } from "./read-tar.ts";

export interface NodePackageOptions {
  readonly node: NodePin;
  /** Where npm looks for a project's configuration, in addition to the user's. */
  readonly packageRoot: string;
  /** For the archive; the caller removes it. */
  readonly directory: string;
  readonly signal: AbortSignal | undefined;
}

export async function readNodeFiles(options: NodePackageOptions): Promise<ImageEntry[]> {
  const archive = await fetchArchive(options);
  const { name, integrity } = options.node.package;
  verifyIntegrity(archive, integrity, `${name}@${options.node.version}`);
  return extractNode(archive);
}

async function fetchArchive({ node, packageRoot, directory, signal }: NodePackageOptions): Promise<Buffer> {
  const what = `${node.package.name}@${node.version}`;
  const flags = ["--ignore-scripts", "--loglevel=error", "--no-update-notifier"];
  try {
    await runCommand("npm", ["pack", what, "--pack-destination", directory, ...flags], { directory: packageRoot, signal });
  } catch (error) {
    signal?.throwIfAborted();
    const remedy =
      error instanceof CommandError && error.missing ? "Install npm (it comes with Node)." : "Check the network and npm's configuration.";
    throw new ImageBuildError("node_unavailable", `The package ${what} could not be fetched: ${messageOf(error)}\n${remedy}`, error);
  }
  const [file] = await readdir(directory);
  if (file === undefined) throw new ImageBuildError("node_unavailable", `\`npm pack ${what}\` left no archive.`);
  return readFile(join(directory, file));
}

/** Refuses an archive that is not the pinned one. */
export function verifyIntegrity(archive: Buffer, integrity: string, what: string): void {
  const actual = `sha512-${createHash("sha512").update(archive).digest("base64")}`;
  if (actual === integrity) return;
  throw new ImageBuildError(
    "integrity_mismatch",
    `The archive of ${what} is not the pinned one and was not used: expected ${integrity}, got ${actual}. ` +
      "If sandbox-image/node.json was changed, its integrity must be the one that `npm view <package> dist.integrity` shows; " +
      "otherwise do not trust the registry that npm uses.",
  );
}

/** The binary and its licence. */
export async function extractNode(archive: Buffer): Promise<ImageEntry[]> {
  const wanted = new Map([
    // Without the right to read: a program that could read the binary could also open /proc/self/mem and write into the runtime.
    ["package/bin/node", { path: SANDBOX_PATHS.node.slice(1), mode: 0o711 }],
    ["package/LICENSE", { path: "usr/share/doc/node/LICENSE", mode: 0o644 }],
  ]);
  const entries: ImageEntry[] = [];
  await readTar(createGunzip().end(archive), async ({ name, type }, content) => {
    const place = type === "file" ? wanted.get(name) : undefined;
    if (place !== undefined) entries.push({ type: "file", ...place, content: await content() });
  });
  if (entries.length !== wanted.size) {
    throw new ImageBuildError("node_unavailable", `The Node package lacks one of ${[...wanted.keys()].join(", ")}.`);
  }
  return entries;
}
