/**
 * What an image is made from, and the hashes of it that name the image: equal sources, equal tag, nothing to build.
 *
 * The Debian packages count by name only. Their newest version at the time of the build is taken; `refresh` takes a newer one. So do
 * modules, as far as their version is left open.
 */

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { type ImageSpec, imageKey } from "../../../domain/image-spec.ts";
import type { Architecture } from "./architecture.ts";
import { ImageBuildError, messageOf } from "./image-error.ts";

/** Raise it when this code makes another image of the same sources: the filter, the layout, modes, labels. */
const FORMAT = "5";

/** Files of `sandbox-image/etc`, which become the image's /etc. Named one by one, so that no editor's backup gets in. */
const ETC_FILES = ["group", "nsswitch.conf", "passwd"] as const;

const packageSchema = z.strictObject({
  name: z.string().min(1),
  integrity: z.string().regex(/^sha512-[A-Za-z0-9+/]{86}==$/, "expected sha512-<base64>"),
});

/** `node.json`: for each major version what is installed, and what its binary asks for. */
const nodeFileSchema = z.record(
  z.string().regex(/^\d+$/, "expected a major version"),
  z.strictObject({
    version: z.string().regex(/^\d+\.\d+\.\d+$/, "expected an exact version"),
    packages: z.strictObject({ amd64: packageSchema, arm64: packageSchema }),
    /** The shared libraries that the binary names (`readelf -d`), without the loader. */
    libraries: z.array(z.string().regex(/^lib[^/]+\.so\.\d+$/, "expected a name like libc.so.6")).min(1),
    /** The Debian packages that these are in. */
    debianPackages: z.array(z.string().regex(/^[a-z0-9][a-z0-9.+-]+$/, "expected a Debian package name")).min(1),
  }),
);

export interface NodePin {
  readonly version: string;
  readonly package: z.infer<typeof packageSchema>;
  readonly libraries: readonly string[];
  readonly debianPackages: readonly string[];
}

/** Which image. */
export interface ImageSelection {
  /** The folder of this package: has `sandbox-image/` and `dist/sandbox-image/`. */
  readonly packageRoot: string;
  readonly image: ImageSpec;
  /** Start of the images' names. Another one keeps tests apart from the real images. */
  readonly prefix?: string;
}

export interface ImageSources {
  readonly prefix: string;
  readonly spec: ImageSpec;
  readonly nodeMajor: string;
  readonly architecture: Architecture;
  readonly node: NodePin;
  readonly files: {
    readonly baseDockerfile: Buffer;
    readonly dockerfile: Buffer;
    readonly runner: Buffer;
    readonly typescript: Buffer;
    readonly etc: readonly { readonly name: string; readonly content: Buffer }[];
  };
  /** Hash of what the base is made from. */
  readonly baseHash: string;
  /** What packages and modules are added on the base; nothing for an image without. */
  readonly additions: { readonly hash: string; readonly tag: string } | undefined;
  /** Hash of all of it. */
  readonly hash: string;
  readonly baseTag: string;
  readonly tag: string;
}

export async function readImageSources(selection: ImageSelection, architecture: Architecture): Promise<ImageSources> {
  const { packageRoot, prefix = "code-mode" } = selection;
  const nodeMajor = String(selection.image.nodeMajor);
  const shipped = (name: string): Promise<Buffer> => readSource(join(packageRoot, "sandbox-image", name), "install the package again");
  const built = (name: string): Promise<Buffer> => readSource(join(packageRoot, "dist", "sandbox-image", name), "run `npm run build`");

  const node = pinOf(await shipped("node.json"), nodeMajor, architecture);
  const files = {
    baseDockerfile: await shipped("base.Dockerfile"),
    dockerfile: await shipped("Dockerfile"),
    runner: await built("runner.cjs"),
    typescript: await built("typescript.cjs"),
    etc: await Promise.all(ETC_FILES.map(async (name) => ({ name, content: await shipped(join("etc", name)) }))),
  };
  const baseHash = hashOf(
    FORMAT,
    architecture,
    JSON.stringify(node),
    files.baseDockerfile,
    ...files.etc.flatMap(({ name, content }) => [name, content]),
  );
  const { executables, modules, packages } = selection.image;
  const isPlain = executables.length === 0 && modules.length === 0 && packages.length === 0;
  const additionsHash = hashOf(baseHash, files.dockerfile, imageKey(selection.image));
  const hash = hashOf(isPlain ? baseHash : additionsHash, files.dockerfile, files.runner, files.typescript);
  const tagOf = (kind: string, of: string): string => `${prefix}-${kind}:node${nodeMajor}-${of.slice(0, 12)}`;
  return {
    prefix,
    spec: selection.image,
    nodeMajor,
    architecture,
    node,
    files,
    baseHash,
    hash,
    additions: isPlain ? undefined : { hash: additionsHash, tag: tagOf("additions", additionsHash) },
    baseTag: tagOf("base", baseHash),
    tag: tagOf("sandbox", hash),
  };
}

async function readSource(path: string, remedy: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new ImageBuildError("sources_invalid", `The sandbox image cannot be made without ${path}: ${remedy}.`, error);
  }
}

function pinOf(file: Buffer, nodeMajor: string, architecture: Architecture): NodePin {
  let versions: z.infer<typeof nodeFileSchema>;
  try {
    versions = nodeFileSchema.parse(JSON.parse(file.toString("utf8")));
  } catch (error) {
    const problem = error instanceof z.ZodError ? z.prettifyError(error) : messageOf(error);
    throw new ImageBuildError("sources_invalid", `sandbox-image/node.json is wrong: ${problem}`, error);
  }
  const entry = versions[nodeMajor];
  if (entry === undefined) {
    const known = Object.keys(versions).join(", ");
    throw new ImageBuildError(
      "sources_invalid",
      `There is no sandbox image for Node ${nodeMajor}: sandbox-image/node.json knows ${known}.`,
    );
  }
  const { version, libraries, debianPackages } = entry;
  return { version, package: entry.packages[architecture], libraries, debianPackages };
}

/** Each part goes in with its length, so that no two lists of parts give the same bytes. */
function hashOf(...parts: readonly (string | Buffer)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}:`).update(part);
  return hash.digest("hex");
}
