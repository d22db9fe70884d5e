/**
 * Permissions: the shape that `config/runtimes.json` and a request share, and its normal form. Narrowing is in narrow-permissions.ts.
 *
 * Pure. Whether a path exists or a host can be reached is not asked here; the sandbox layer does that.
 */

import { z } from "zod";

import { findCommandFault } from "./commands.ts";
import { checkHostPattern } from "./host-pattern.ts";
import { checkImagePath, checkPolicyPath, isWithin, overlap } from "./sandbox-path.ts";
import type { PathCheck } from "./sandbox-path.ts";

const pathText = z
  .string()
  .max(1024)
  .describe('A path below the workspace root, such as "./data"; may end in "/**", which means the same folder');

const readEntrySchema = z.union(
  [
    pathText,
    z.strictObject({
      path: pathText,
      snapshot: z
        .boolean()
        .optional()
        .describe("Mount a capped copy of the regular files, made for each execution, instead of the folder itself"),
    }),
  ],
  { error: 'expected a path, or an object {"path": "…", "snapshot": true}' },
);

const writeEntrySchema = z.union(
  [
    pathText,
    z.strictObject({
      path: pathText,
      persist: z.boolean().optional().describe("Copy what a program that ended by itself leaves there to that folder of the workspace"),
    }),
  ],
  { error: 'expected a path, or an object {"path": "…", "persist": true}' },
);

const PORT_FORMAT = { error: 'expected a port number from 1 to 65535, or a range such as "8000-8010"' };
const portSchema = z.union(
  [z.int(PORT_FORMAT).min(1, PORT_FORMAT).max(65_535, PORT_FORMAT), z.string().regex(/^\d{1,5}-\d{1,5}$/, PORT_FORMAT)],
  PORT_FORMAT,
);

const list = <T extends z.ZodType>(entry: T, what: string): z.ZodOptional<z.ZodArray<T>> =>
  z.array(entry).max(256).optional().describe(what);

/** The `permissions` object as written. What is left out means "none" in a runtime, and "unchanged" in a request. */
export const permissionsSchema = z.strictObject({
  fileSystem: z
    .strictObject({
      read: list(readEntrySchema, "Files and folders of the workspace that the program can read"),
      write: list(writeEntrySchema, "Folders that the program can write; each is a fresh, size-capped tmpfs"),
      execute: list(
        z.string().max(1024).describe('An absolute path in the image, such as "/usr/lib/git-core"; a folder means all files in it'),
        "Files that the allowed commands execute themselves: helpers that the packages bring outside of the usual folders for commands",
      ),
    })
    .optional(),
  network: z
    .strictObject({
      allowedHosts: list(z.string().min(1).max(256), "Names, *.names, addresses and CIDR blocks that the program can reach"),
      allowedPorts: list(portSchema, 'Ports it can reach there: numbers, or ranges such as "8000-8010"'),
      loopback: z
        .boolean()
        .optional()
        .describe(
          "TCP sockets on the sandbox's own loopback, for programs that run a server and call it. Their memory in the kernel is not limited, see the threat model",
        ),
    })
    .optional(),
  system: z
    .strictObject({
      allowedCommands: list(
        z.string().min(1).max(255),
        'Commands that the program can run, by name, such as "git"; packages bring them. An interpreter counts as all that it can do',
      ),
      maxProcesses: z
        .int()
        .min(1)
        .max(64)
        .optional()
        .describe(
          "1: the program can start no process, though threads and workers work. n: it can, within 64 × n processes and threads together; allowedCommands need this",
        ),
    })
    .optional(),
});
export type PermissionsInput = z.infer<typeof permissionsSchema>;

export interface ReadPermission {
  /** Workspace path in normal form; `.` is the whole workspace. */
  readonly path: string;
  readonly snapshot: boolean;
}

export interface WritePermission {
  readonly path: string;
  readonly persist: boolean;
}

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Permissions in normal form: every list there, every path checked, no two entries that get in each other's way. */
export interface Permissions {
  readonly fileSystem: {
    readonly read: readonly ReadPermission[];
    readonly write: readonly WritePermission[];
    /** Absolute paths in the image. */
    readonly execute: readonly string[];
  };
  readonly network: {
    readonly allowedHosts: readonly string[];
    readonly allowedPorts: readonly PortRange[];
    /** TCP sockets on the loopback that each sandbox has of its own. */
    readonly loopback: boolean;
  };
  readonly system: { readonly allowedCommands: readonly string[]; readonly maxProcesses: number };
}

/** Nothing but to compute. */
export const NO_PERMISSIONS: Permissions = {
  fileSystem: { read: [], write: [], execute: [] },
  network: { allowedHosts: [], allowedPorts: [], loopback: false },
  system: { allowedCommands: [], maxProcesses: 1 },
};

/** A problem with one entry, with the path of the entry inside `permissions`. */
export interface PermissionProblem {
  readonly entry: readonly (string | number)[];
  readonly message: string;
}

export type PermissionResult =
  { readonly ok: true; readonly permissions: Permissions } | { readonly ok: false; readonly problems: readonly PermissionProblem[] };

/**
 * Brings permissions to normal form; what is left out is taken from `base`.
 *
 * A read entry inside another one is dropped. A write entry must not overlap any other entry: what a program writes must not hide
 * what it may read, and each tmpfs has a size of its own.
 */
export function normalizePermissions(input: PermissionsInput, base: Permissions = NO_PERMISSIONS): PermissionResult {
  const problems: PermissionProblem[] = [];

  const checkPath = (
    text: string,
    section: readonly string[],
    index: number,
    checker: (text: string) => PathCheck = checkPolicyPath,
  ): string[] => {
    const check = checker(text);
    if (check.ok) return [check.path];
    problems.push({ entry: [...section, index], message: `the path ${JSON.stringify(text)} ${check.problem}` });
    return [];
  };

  const { fileSystem, network, system } = input;
  const read: readonly ReadPermission[] =
    fileSystem?.read?.flatMap((entry, index) => {
      const { path, snapshot = false } = typeof entry === "string" ? { path: entry } : entry;
      return checkPath(path, ["fileSystem", "read"], index).map((checked) => ({ path: checked, snapshot }));
    }) ?? base.fileSystem.read;
  const write: readonly WritePermission[] =
    fileSystem?.write?.flatMap((entry, index) => {
      const { path, persist = false } = typeof entry === "string" ? { path: entry } : entry;
      return checkPath(path, ["fileSystem", "write"], index).map((checked) => ({ path: checked, persist }));
    }) ?? base.fileSystem.write;
  const execute =
    fileSystem?.execute?.flatMap((path, index) => checkPath(path, ["fileSystem", "execute"], index, checkImagePath)) ??
    base.fileSystem.execute;
  const allowedCommands =
    system?.allowedCommands?.flatMap((name, index) => {
      const fault = findCommandFault(name);
      if (fault === undefined) return [name];
      problems.push({ entry: ["system", "allowedCommands", index], message: `the command ${JSON.stringify(name)} ${fault}` });
      return [];
    }) ?? base.system.allowedCommands;
  const allowedHosts =
    network?.allowedHosts?.flatMap((text, index) => {
      const check = checkHostPattern(text);
      if (check.ok) return [check.host];
      problems.push({ entry: ["network", "allowedHosts", index], message: `the host ${JSON.stringify(text)} ${check.problem}` });
      return [];
    }) ?? base.network.allowedHosts;
  const allowedPorts =
    network?.allowedPorts?.flatMap((port, index) => {
      const range = parsePorts(port);
      if (range !== undefined) return [range];
      problems.push({
        entry: ["network", "allowedPorts", index],
        message: `the ports ${JSON.stringify(port)} are no range from 1 to 65535`,
      });
      return [];
    }) ?? base.network.allowedPorts;

  problems.push(...findWriteProblems(read, write));
  if (problems.length > 0) return { ok: false, problems };
  return {
    ok: true,
    permissions: {
      fileSystem: { read: outermost(read), write, execute },
      network: { allowedHosts, allowedPorts, loopback: network?.loopback ?? base.network.loopback },
      system: {
        allowedCommands,
        maxProcesses: system?.maxProcesses ?? base.system.maxProcesses,
      },
    },
  };
}

/** Write entries that get in the way of another entry. */
function findWriteProblems(read: readonly ReadPermission[], write: readonly WritePermission[]): PermissionProblem[] {
  const problems: PermissionProblem[] = [];
  write.forEach((entry, index) => {
    if (entry.path === ".") {
      problems.push({ entry: ["fileSystem", "write", index], message: "the whole workspace cannot be writable; name a folder in it" });
      return;
    }
    const twin = write.slice(0, index).find((other) => overlap(entry.path, other.path));
    if (twin !== undefined) {
      problems.push({ entry: ["fileSystem", "write", index], message: `"${entry.path}" overlaps the write entry "${twin.path}"` });
    }
    const inside = read.find((other) => overlap(entry.path, other.path));
    if (inside !== undefined) {
      problems.push({
        entry: ["fileSystem", "write", index],
        message: `"${entry.path}" overlaps the read entry "${inside.path}"; keep what is read and what is written apart`,
      });
    }
  });
  return problems;
}

/** The entries that lie in no other one; of equal ones, the first. */
function outermost(entries: readonly ReadPermission[]): ReadPermission[] {
  return entries.filter(
    (entry, index) =>
      !entries.some(
        (other, position) => position !== index && isWithin(entry.path, other.path) && (other.path !== entry.path || position < index),
      ),
  );
}

function parsePorts(port: number | string): PortRange | undefined {
  const [first, last] = typeof port === "number" ? [port, port] : port.split("-").map(Number);
  if (first === undefined || last === undefined || first < 1 || last > 65_535 || first > last) return undefined;
  return { first, last };
}
