/**
 * What a sandbox image holds for a runtime. Runtimes that ask for the same share an image; everything else of a policy is a matter of
 * the container. Pure.
 */

export interface ImageSpec {
  /** The line of Node. */
  readonly nodeMajor: number;
  /** Debian packages beside the libraries that Node needs. */
  readonly packages: readonly string[];
  /** npm modules: `name` or `name@version`. */
  readonly modules: readonly string[];
  /** What can be executed of the packages: names of commands, and absolute paths. Everything else is left out of the image. */
  readonly executables: readonly string[];
}

/** An image with Node alone. */
export const plainImage = (nodeMajor: number): ImageSpec => imageSpec({ nodeMajor });

/** In normal form: sorted, each entry once, so that equal specifications have equal keys. */
export function imageSpec(wanted: Pick<ImageSpec, "nodeMajor"> & Partial<ImageSpec>): ImageSpec {
  const { executables = [], modules = [], nodeMajor, packages = [] } = wanted;
  const sorted = (entries: readonly string[]): string[] => [...new Set(entries)].sort();
  return { nodeMajor, packages: sorted(packages), modules: sorted(modules), executables: sorted(executables) };
}

/** The same text for equal specifications, another one for others. */
export const imageKey = ({ executables, modules, nodeMajor, packages }: ImageSpec): string =>
  JSON.stringify([nodeMajor, packages, modules, executables]);

/** A Debian package, if it is written well: `jq`, `jq=1.6-2`. Nothing that apt would take for an option, a file or another action. */
export const DEBIAN_PACKAGE = /^[a-z0-9][a-z0-9.+-]{0,98}[a-z0-9.+](=[A-Za-z0-9][A-Za-z0-9.+:~-]{0,63})?$/;

/** An npm module of a registry: `lodash`, `lodash@4`, `@scope/name@^1.2`. No address, file, repository or alias. */
export const NPM_MODULE =
  /^(@[A-Za-z0-9~][A-Za-z0-9._~-]{0,99}\/)?[A-Za-z0-9~][A-Za-z0-9._~-]{0,99}(@[A-Za-z0-9^~<>=*][A-Za-z0-9^~<>=*.+| -]{0,63})?$/;

/** The name and version of a module as written. */
export function splitModule(entry: string): { readonly name: string; readonly version: string | undefined } {
  const at = entry.indexOf("@", 1);
  return at === -1 ? { name: entry, version: undefined } : { name: entry.slice(0, at), version: entry.slice(at + 1) };
}

/** For messages: `Node 24`, or `Node 24 with git, jq`. */
export function describeImage({ modules, nodeMajor, packages }: ImageSpec): string {
  const additions = [...packages, ...modules];
  return additions.length === 0 ? `Node ${nodeMajor}` : `Node ${nodeMajor} with ${additions.join(", ")}`;
}
