/** Debian's files for the base, from this machine's apt. */

import { type AptOptions, downloadPackages, openPackage, whyNoApt } from "./apt.ts";
import type { Architecture } from "./architecture.ts";
import type { DebianProvider } from "./debian-provider.ts";

export function aptProvider(options: AptOptions & { readonly architecture: Architecture }): DebianProvider {
  const { architecture, onProgress, signal } = options;
  return {
    name: "apt on this machine",
    whyNot: () => whyNoApt(architecture, signal),
    read: async (onTar) => {
      const archives = await downloadPackages(options);
      const versions = archives.map(({ name, version }) => `${name} ${version}`).join(", ");
      onProgress(`Debian packages: ${versions}`);
      for (const archive of archives) await onTar(await openPackage(archive, signal));
      return versions;
    },
  };
}
