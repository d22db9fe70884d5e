/** What a request makes of the permissions of its runtime, or what it asks for beyond them. Pure. */

import { RUNTIME_COMMAND } from "./commands.ts";
import { normalizePermissions } from "./permissions.ts";
import type { PermissionProblem, PermissionResult, Permissions, PermissionsInput } from "./permissions.ts";
import { isWithin } from "./sandbox-path.ts";

export type NarrowingResult = PermissionResult | { readonly ok: false; readonly widening: readonly PermissionProblem[] };

/**
 * The permissions of one execution: what its request asks for, if that is within what its runtime grants.
 *
 * What the request leaves out is as the runtime has it. What is readable as a snapshot only stays so.
 */
export function narrowPermissions(granted: Permissions, input: PermissionsInput): NarrowingResult {
  const requested = normalizePermissions(input, granted);
  if (!requested.ok) return requested;
  const { fileSystem, network, system } = requested.permissions;
  const widening = findWidening(granted, requested.permissions);
  if (widening.length > 0) return { ok: false, widening };
  const read = fileSystem.read.map((entry) => ({
    path: entry.path,
    snapshot: entry.snapshot || granted.fileSystem.read.some((allowed) => allowed.snapshot && isWithin(entry.path, allowed.path)),
  }));
  return { ok: true, permissions: { fileSystem: { ...fileSystem, read }, network, system } };
}

/** What `requested` asks for beyond `granted`; empty when it narrows (or equals) it. */
function findWidening(granted: Permissions, requested: Permissions): PermissionProblem[] {
  const problems: PermissionProblem[] = [];
  const refuse = (entry: readonly (string | number)[], message: string): void => {
    problems.push({ entry, message });
  };

  requested.fileSystem.read.forEach((entry, index) => {
    if (!granted.fileSystem.read.some((allowed) => isWithin(entry.path, allowed.path))) {
      refuse(["fileSystem", "read", index], `this runtime does not let programs read "${entry.path}"`);
    }
  });
  requested.fileSystem.write.forEach((entry, index) => {
    const holder = granted.fileSystem.write.find((allowed) => isWithin(entry.path, allowed.path));
    if (holder === undefined) refuse(["fileSystem", "write", index], `this runtime does not let programs write "${entry.path}"`);
    else if (entry.persist && !holder.persist) refuse(["fileSystem", "write", index], `what is written to "${entry.path}" cannot be kept`);
  });
  requested.fileSystem.execute.forEach((path, index) => {
    if (granted.fileSystem.execute.includes(path)) return;
    const folder = granted.fileSystem.execute.find((allowed) => isWithin(path, allowed));
    // What is granted as a folder is one thing to the image: its files have no names of their own there.
    const message =
      folder === undefined
        ? `this runtime does not let programs execute "${path}"`
        : `"${path}" lies in "${folder}", which a request keeps whole or leaves out; a runtime that lists both lets requests choose`;
    refuse(["fileSystem", "execute", index], message);
  });
  requested.network.allowedHosts.forEach((host, index) => {
    const covered = granted.network.allowedHosts.some(
      (allowed) => allowed === host || (allowed.startsWith("*.") && !host.startsWith("*.") && host.endsWith(allowed.slice(1))),
    );
    if (!covered) refuse(["network", "allowedHosts", index], `this runtime does not let programs reach "${host}"`);
  });
  requested.network.allowedPorts.forEach(({ first, last }, index) => {
    if (!granted.network.allowedPorts.some((allowed) => allowed.first <= first && last <= allowed.last)) {
      refuse(
        ["network", "allowedPorts", index],
        `this runtime does not let programs reach port ${first === last ? String(first) : `${first}-${last}`}`,
      );
    }
  });
  if (requested.network.loopback && !granted.network.loopback) {
    refuse(["network", "loopback"], "this runtime does not let programs use TCP on their loopback");
  }
  requested.system.allowedCommands.forEach((command, index) => {
    if (command !== RUNTIME_COMMAND && !granted.system.allowedCommands.includes(command)) {
      refuse(["system", "allowedCommands", index], `this runtime does not let programs run "${command}"`);
    }
  });
  if (requested.system.maxProcesses > granted.system.maxProcesses) {
    refuse(["system", "maxProcesses"], `this runtime allows ${granted.system.maxProcesses} process(es)`);
  }
  return problems;
}
