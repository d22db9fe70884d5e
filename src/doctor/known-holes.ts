/**
 * Which advisories the parts of this host are open to.
 *
 * Distributions mend old versions without a new number. Debian's packages say in their changelog what they mend: where the installed
 * package is the one that the engine reports, its word counts. For the rest there is only the number.
 */

import { readFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";

import { ADVISORIES } from "./advisories.ts";
import type { Advisory, Component } from "./advisories.ts";
import { lacksFix, parseVersion } from "./versions.ts";
import type { Version } from "./versions.ts";

export interface Hole {
  readonly advisory: Advisory;
  /** As reported. */
  readonly version: string;
  /** The package that mends it under this version, by its changelog. */
  readonly mendedBy: string | undefined;
}

/** Where packages of Debian and its kin keep what they say of themselves. */
const DOCUMENTS = "/usr/share/doc";
const PACKAGES: Readonly<Partial<Record<string, string>>> = { runc: "runc", containerd: "containerd", Engine: "docker.io" };
const MAX_CHANGELOG_BYTES = 16 * 2 ** 20;

/** The advisories that `parts`, name → version, are open to by their numbers. A version that is none is open to nothing. */
export async function findHoles(parts: Readonly<Partial<Record<string, string>>>, documents = DOCUMENTS): Promise<Hole[]> {
  const holes: Hole[] = [];
  for (const [component, reported = ""] of Object.entries(parts)) {
    const version = parseVersion(reported);
    if (version === undefined) continue;
    const open = ADVISORIES.filter((advisory) => advisory.component === component && isOpen(advisory, version));
    const changelog = open.length === 0 ? undefined : await readChangelog(component, reported, documents);
    for (const advisory of open) {
      const isMended = changelog?.text.includes(advisory.id) === true;
      holes.push({ advisory, version: reported, mendedBy: isMended ? changelog.package : undefined });
    }
  }
  return holes;
}

/** Those that no package mends, as far as is known. */
export const openHoles = (holes: readonly Hole[]): Hole[] => holes.filter(({ mendedBy }) => mendedBy === undefined);

function isOpen({ fixed, since }: Advisory, version: Version): boolean {
  const good = fixed.map(parseVersion).filter((parsed) => parsed !== undefined);
  return lacksFix(version, good, since === undefined ? undefined : parseVersion(since));
}

/** The changelog of the installed package, if that is the version that was reported. */
async function readChangelog(
  component: string,
  reported: string,
  documents: string,
): Promise<{ readonly package: string; readonly text: string } | undefined> {
  const name = PACKAGES[component];
  if (name === undefined) return undefined;
  try {
    const packed = await readFile(path.join(documents, name, "changelog.Debian.gz"));
    const text = (await promisify(gunzip)(packed, { maxOutputLength: MAX_CHANGELOG_BYTES })).toString("utf8");
    const [, packaged] = /^\S+ \(([^)]+)\)/.exec(text) ?? [];
    if (packaged === undefined || (packaged !== reported && !packaged.startsWith(`${reported}-`))) return undefined;
    return { package: `${name} ${packaged}`, text };
  } catch {
    return undefined;
  }
}

/** What to do about open holes of these parts. */
export function adviceFor(components: ReadonlySet<Component>): string {
  const parts = [...components].map((component) =>
    component === "Engine" ? "the engine" : component === "kernel" ? "the kernel" : component,
  );
  const packages = [...components].flatMap((component) => PACKAGES[component] ?? []);
  const update = `Update ${parts.join(" and ")}${components.has("kernel") ? ", and reboot" : ""}. Distribution packages carry fixes under older numbers: `;
  return packages.length === 0
    ? `${update}ask their security tracker.`
    : `${update}check with \`apt changelog ${packages.join(" ")}\` or \`rpm -q --changelog ${packages.join(" ")}\`.`;
}
