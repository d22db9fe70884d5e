/**
 * The files of an image as a build context: pure data, checked before a byte is sent, packed the same way every time.
 *
 * The context is a Dockerfile and one archive, which the engine unpacks: unlike what it copies, that keeps its owners.
 */

import { dirname, join, normalize } from "node:path/posix";
import { Readable } from "node:stream";
import { type Header, pack } from "tar-stream";
import { FIRST_GROUP, LAST_GROUP } from "./executable-groups.ts";
import { ImageBuildError } from "./image-error.ts";

/** A file, directory or link of the image. Paths have no leading slash. */
export type ImageEntry =
  | { readonly type: "directory"; readonly path: string; readonly mode: number }
  | {
      readonly type: "file";
      readonly path: string;
      readonly mode: number;
      readonly content: Buffer;
      /** Of a program that only its own group can execute; else root's. */
      readonly gid?: number;
    }
  | { readonly type: "symlink"; readonly path: string; readonly target: string };

/** What a tar header says of an entry. */
export type EntryHeader = Pick<Header, "name" | "type" | "mode" | "uid" | "gid" | "size" | "mtime" | "linkname">;

/** The archive in the context that is unpacked at the image's root. */
const ARCHIVE = "rootfs.tar";

/** A program with a group of its own: a binary that nobody reads, or a script that its interpreter must read. */
const GROUP_MODES: readonly number[] = [0o710, 0o750];

/** Everything has the same age, so that the same sources give the same bytes. */
const MTIME = new Date(0);

/** The build context: the Dockerfile, and the archive of the entries with the directories that they are in. */
export async function packContext(dockerfile: Buffer, entries: readonly ImageEntry[]): Promise<Readable> {
  const sorted = withParents(entries).sort((a, b) => (a.path < b.path ? -1 : 1));
  assertSafeHeaders(sorted.map(toHeader));
  const archive = Buffer.concat((await packed(sorted).toArray()) as Buffer[]);
  return packed([
    { type: "file", path: "Dockerfile", mode: 0o644, content: dockerfile },
    { type: "file", path: ARCHIVE, mode: 0o644, content: archive },
  ]);
}

function packed(entries: readonly ImageEntry[]): Readable {
  const tar = pack();
  for (const entry of entries) {
    if (entry.type === "file") tar.entry(toHeader(entry), entry.content);
    else tar.entry(toHeader(entry));
  }
  tar.finalize();
  return Readable.from(tar);
}

/** Adds the directories that entries are in and that are not named themselves. */
function withParents(entries: readonly ImageEntry[]): ImageEntry[] {
  const named = new Set(entries.map((entry) => entry.path));
  const all = [...entries];
  for (const entry of entries) {
    for (let parent = dirname(entry.path); parent !== "." && !named.has(parent); parent = dirname(parent)) {
      named.add(parent);
      all.push({ type: "directory", path: parent, mode: 0o755 });
    }
  }
  return all;
}

function toHeader(entry: ImageEntry): EntryHeader {
  const common = { name: entry.path, uid: 0, gid: 0, mtime: MTIME, size: 0, linkname: "" };
  switch (entry.type) {
    case "directory":
      return { ...common, type: "directory", mode: entry.mode };
    case "file":
      return { ...common, type: "file", mode: entry.mode, gid: entry.gid ?? 0, size: entry.content.length };
    case "symlink":
      return { ...common, type: "symlink", mode: 0o777, linkname: entry.target };
  }
}

/**
 * Refuses what could give a sandbox more than it should have: anything that another user than root owns or may write, another group
 * than root's but on a program that is allowed to that group alone, set-uid or set-gid files, devices, hard links, links that lead out
 * of the root, two entries of one name.
 */
export function assertSafeHeaders(headers: readonly EntryHeader[]): void {
  const directories = new Set(["."]);
  let previous = "";
  for (const header of headers) {
    const fault = faultOf(header, directories) ?? (header.name > previous ? undefined : "is there twice, or out of order");
    if (fault !== undefined) throw new ImageBuildError("unsafe_content", `The image would not be safe: ${header.name} ${fault}.`);
    if (header.type === "directory") directories.add(header.name);
    previous = header.name;
  }
}

function faultOf(header: EntryHeader, directories: ReadonlySet<string>): string | undefined {
  const { name, mode, type } = header;
  if (name !== normalize(name) || name.startsWith("/") || name.startsWith("..") || name.endsWith("/")) return "is no plain path";
  if (!directories.has(dirname(name))) return "is in something that is no directory";
  if (name.split("/").some((part) => part.startsWith(".wh."))) return "has a name that would delete another file";
  if (header.uid !== 0) return "does not belong to root";
  if (header.gid !== 0 && !isForGroup(header)) return "belongs to another group than root's";
  switch (type) {
    case "symlink": {
      const target = header.linkname;
      const leadsTo = join(dirname(name), target);
      return target === "" || target.startsWith("/") || leadsTo === "." || leadsTo.startsWith("..")
        ? "is a link that leads out of the image"
        : undefined;
    }
    case "file":
    case "directory":
      if ((mode & ~0o777) !== 0) return "has a set-uid, set-gid or sticky bit";
      return (mode & 0o022) === 0 ? undefined : "can be written by others than root";
    default:
      return "is neither file nor directory nor symbolic link";
  }
}

const isForGroup = ({ gid, mode, type }: EntryHeader): boolean =>
  type === "file" && gid >= FIRST_GROUP && gid <= LAST_GROUP && GROUP_MODES.includes(mode);
