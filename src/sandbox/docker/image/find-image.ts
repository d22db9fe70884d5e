/**
 * Which sandbox images the engine has: the current one of these sources, stale ones, and the removal of those.
 */

import type Docker from "dockerode";
import { describeImage, imageKey } from "../../../domain/image-spec.ts";
import { engineArchitecture } from "./architecture.ts";
import { engineError, isNotFound, statusOf } from "./engine-messages.ts";
import { type ExecutableGroups, parseGroups } from "./executable-groups.ts";
import { messageOf } from "./image-error.ts";
import { type ImageSelection, readImageSources } from "./image-sources.ts";
import { LABELS } from "./labels.ts";

export type FoundImage =
  | {
      readonly state: "ready";
      readonly tag: string;
      readonly id: string;
      readonly nodeVersion: string;
      readonly groups: ExecutableGroups;
    }
  | { readonly state: "missing" | "stale"; readonly tag: string; readonly message: string };

export interface SandboxImage {
  readonly id: string;
  /** None for what an interrupted build, or a newer build of the same tag, left. */
  readonly tags: readonly string[];
  readonly kind: "base" | "additions" | "sandbox" | "leftover";
  readonly nodeMajor: string;
  readonly baseHash: string;
  /** Empty for an image without packages and modules. */
  readonly additionsHash: string;
  /** The key of the specification that a sandbox image was built for; else empty. */
  readonly spec: string;
  /** The Node version, exact. */
  readonly nodeVersion: string;
  /** Added Debian packages, those that others need included, and the modules that were named: each with its version, `jq 1.6`. */
  readonly packages: readonly string[];
  readonly modules: readonly string[];
  readonly sizeBytes: number;
}

export interface PruneResult {
  readonly removed: readonly SandboxImage[];
  /** What the engine would not remove, mostly since a container uses it. */
  readonly refused: readonly { readonly image: SandboxImage; readonly reason: string }[];
}

/** Looks for the image that the present sources give. Builds nothing. */
export async function findImage(options: ImageSelection & { readonly docker: Docker }): Promise<FoundImage> {
  const { docker } = options;
  const { tag, hash, prefix, node, spec } = await readImageSources(options, await engineArchitecture(docker));
  const image = await findTagged(docker, tag, LABELS.sources, hash);
  if (image !== undefined) {
    return { state: "ready", tag, id: image.id, nodeVersion: node.version, groups: parseGroups(image.labels[LABELS.groups], tag) };
  }

  const older = (await listSandboxImages(docker, prefix)).some((image) => image.kind === "sandbox" && image.spec === imageKey(spec));
  const remedy = "Run `make sandbox-image` (or `code-mode image build`).";
  return older
    ? { state: "stale", tag, message: `The sandbox image for ${describeImage(spec)} is older than its sources. ${remedy}` }
    : { state: "missing", tag, message: `There is no sandbox image for ${describeImage(spec)}. ${remedy}` };
}

interface TaggedImage {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** The image with the tag, if it carries the whole hash too. */
export async function findTagged(docker: Docker, tag: string, label: string, hash: string): Promise<TaggedImage | undefined> {
  const image = await inspect(docker, tag);
  if (image === undefined) return undefined;
  const labels = labelsOf(image.Config);
  return labels[label] === hash ? { id: image.Id, labels } : undefined;
}

async function inspect(docker: Docker, tag: string): Promise<Docker.ImageInspectInfo | undefined> {
  try {
    return await docker.getImage(tag).inspect();
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw engineError(error, `looking for the image ${tag}`);
  }
}

/** All images that were made here under the prefix, sandbox images first, so that each comes before what it stands on. */
export async function listSandboxImages(docker: Docker, prefix = "code-mode"): Promise<SandboxImage[]> {
  const filters = { label: [`${LABELS.prefix}=${prefix}`] };
  const images = await docker.listImages({ filters }).catch((error: unknown) => {
    throw engineError(error, "listing images");
  });
  const order = ["sandbox", "additions", "base", "leftover"];
  return images.map(toSandboxImage).sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind) || a.id.localeCompare(b.id));
}

/** Removes all images of the prefix but those with the tags, and what these stand on. Never one that a container uses. */
export async function pruneSandboxImages(docker: Docker, keepTags: readonly string[], prefix = "code-mode"): Promise<PruneResult> {
  const images = await listSandboxImages(docker, prefix);
  // By id: an engine may list a name in a longer form than the one it was given.
  const keptIds = new Set((await Promise.all(keepTags.map((tag) => inspect(docker, tag)))).map((image) => image?.Id));
  const isKept = isNeededBy(images.filter(({ id }) => keptIds.has(id)));
  const removed: SandboxImage[] = [];
  const refused: { image: SandboxImage; reason: string }[] = [];
  for (const image of images) {
    if (isKept(image)) continue;
    try {
      for (const name of image.tags.length === 0 ? [image.id] : image.tags) await removeImage(docker, name);
      removed.push(image);
    } catch (error) {
      if (statusOf(error) === undefined) throw engineError(error, "removing an image");
      refused.push({ image, reason: messageOf(error) });
    }
  }
  return { removed, refused };
}

/** Whether an image is one of these, or one that they stand on. */
export function isNeededBy(images: readonly SandboxImage[]): (image: SandboxImage) => boolean {
  const ids = new Set(images.map(({ id }) => id));
  const bases = new Set(images.map(({ baseHash }) => baseHash));
  const additions = new Set(images.map(({ additionsHash }) => additionsHash));
  return ({ additionsHash, baseHash, id, kind }) =>
    ids.has(id) || (kind === "base" && bases.has(baseHash)) || (kind === "additions" && additions.has(additionsHash));
}

/** Without force: the engine refuses what is in use. What is gone already, with its child or by another hand, is fine. */
async function removeImage(docker: Docker, name: string): Promise<void> {
  try {
    await docker.getImage(name).remove();
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

function toSandboxImage(image: Docker.ImageInfo): SandboxImage {
  const labels = labelsOf(image);
  // The engine's types say otherwise, but an image without a name has null here, or "<none>:<none>".
  const names = image.RepoTags as string[] | null;
  const tags = (names ?? []).filter((tag) => tag !== "<none>:<none>");
  return {
    id: image.Id,
    tags,
    kind: tags.length === 0 ? "leftover" : LABELS.sources in labels ? "sandbox" : LABELS.additions in labels ? "additions" : "base",
    nodeMajor: labels[LABELS.major] ?? "",
    baseHash: labels[LABELS.base] ?? "",
    additionsHash: labels[LABELS.additions] ?? "",
    spec: labels[LABELS.spec] ?? "",
    nodeVersion: labels[LABELS.version] ?? "",
    packages: listOf(labels[LABELS.packages]),
    modules: listOf(labels[LABELS.modules]),
    sizeBytes: image.Size,
  };
}

const listOf = (label = ""): string[] => label.split(", ").filter((entry) => entry !== "");

function labelsOf(holder: unknown): Readonly<Record<string, string>> {
  const labels = (holder as { Labels?: Record<string, string> | null }).Labels;
  return labels ?? {};
}
