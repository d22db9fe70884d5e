/**
 * Permissions that this version cannot enforce. An execution whose policy has one is refused; a request can narrow it away. None is ever
 * ignored.
 */

import type { Permissions } from "./permissions.ts";

/** The entries that cannot be enforced yet, each with what to do; empty when all can. */
export function findUnsupported({ network }: Permissions): string[] {
  const entries: readonly (readonly [boolean, string, string])[] = [
    [network.allowedHosts.length > 0, "permissions.network.allowedHosts", "the network gateway is not there yet; leave it empty"],
  ];
  return entries.flatMap(([present, path, reason]) => (present ? [`${path}: ${reason}`] : []));
}
