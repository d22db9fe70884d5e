/**
 * What the command line grants one run beyond its runtime. Who can type it is the operator: the ceilings of a runtime are for the
 * callers of a service.
 */

import { StartupError } from "../../domain/errors.ts";
import type { RuntimeDefinition } from "../../domain/runtime.ts";
import { findUnsupported } from "../../domain/unsupported.ts";
import type { RunOptions } from "./options.ts";

/** The runtime with the grants. Throws a {@link StartupError} for one that cannot be enforced: a program never runs without its policy. */
export function grant(runtime: RuntimeDefinition, options: Pick<RunOptions, "allowHost" | "memory" | "timeout">): RuntimeDefinition {
  const { allowHost, memory = 0, timeout = 0 } = options;
  const { ceilings, defaults } = runtime.limits;
  const { network } = runtime.permissions;
  const granted: RuntimeDefinition = {
    ...runtime,
    permissions: {
      ...runtime.permissions,
      network: { ...network, allowedHosts: [...new Set([...network.allowedHosts, ...allowHost])] },
    },
    limits: {
      defaults,
      ceilings: {
        ...ceilings,
        timeoutMs: Math.max(ceilings.timeoutMs, timeout),
        memoryBytes: Math.max(ceilings.memoryBytes, memory),
      },
    },
  };
  const before = findUnsupported(runtime.permissions);
  const added = findUnsupported(granted.permissions).filter((reason) => !before.includes(reason));
  const problems = [
    ...added.map((reason) => `--allow-host: programs cannot reach the network yet, so this one was not run (${reason})`),
    ...before.map((reason) => `runtime "${runtime.name}": ${reason}`),
  ];
  if (problems.length > 0) throw new StartupError(problems);
  return granted;
}
