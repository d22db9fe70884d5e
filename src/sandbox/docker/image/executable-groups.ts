/**
 * The groups that make files of an image executable: each executable file that packages brought belongs to a group of its own, and only
 * a process in that group can execute it. A label of the image says which entry of its specification needs which groups.
 */

import { z } from "zod";
import { ImageBuildError } from "./image-error.ts";

/**
 * Numbers that nobody has. A group of a container is the host's group of that number too, where the engine does not map users, and would
 * open files of a readable folder that belong to it. systemd has ranges for people up to 60705 and for services from 61184 on.
 */
export const FIRST_GROUP = 60_706;
export const LAST_GROUP = 61_183;

/** For each entry of the specification's `executables`, the groups of the files that it names. */
export type ExecutableGroups = ReadonlyMap<string, readonly number[]>;

/** An image that the engine has, as it is used: what runs, and with which groups what can be executed in it. */
export interface UsableImage {
  readonly id: string;
  readonly groups: ExecutableGroups;
}

const labelSchema = z.record(z.string().min(1), z.array(z.int().min(FIRST_GROUP).max(LAST_GROUP)));

/** As the label's text: JSON, in a fixed order. */
export function formatGroups(groups: ExecutableGroups): string {
  return JSON.stringify(Object.fromEntries([...groups].sort(([a], [b]) => (a < b ? -1 : 1))));
}

/** Reads the label. An image without it has nothing to execute but Node. */
export function parseGroups(label: string | undefined, image: string): ExecutableGroups {
  if (label === undefined) return new Map();
  try {
    return new Map(Object.entries(labelSchema.parse(JSON.parse(label))));
  } catch (error) {
    throw new ImageBuildError(
      "unsafe_content",
      `The image ${image} says nothing of use about who may execute what in it. Run \`code-mode image build --refresh\`.`,
      error,
    );
  }
}
