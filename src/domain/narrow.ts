/** From a runtime and a request to the policy of one execution. The only place where a request meets a runtime's policy. */

import { AppError } from "./errors.ts";
import type { ExecutionRequest } from "./execution.ts";
import { applyRequestedLimits } from "./limits.ts";
import { narrowPermissions } from "./narrow-permissions.ts";
import type { PermissionProblem } from "./permissions.ts";
import type { EffectivePolicy, RuntimeDefinition } from "./runtime.ts";

/**
 * Narrows a runtime's policy to what a request asks for.
 *
 * Throws an `AppError`: `LIMIT_EXCEEDED` for a limit above its ceiling, `PERMISSION_WIDENING` for anything that the runtime does not
 * grant, `INVALID_REQUEST` for a permission entry that makes no sense.
 */
export function narrow(
  runtime: RuntimeDefinition,
  request: Pick<ExecutionRequest, "timeoutMs" | "limits" | "permissions">,
): EffectivePolicy {
  const { limits, problems } = applyRequestedLimits(runtime.limits, { timeoutMs: request.timeoutMs, ...request.limits });
  if (problems.length > 0) {
    throw new AppError({
      code: "LIMIT_EXCEEDED",
      message: `The request asks for more than the runtime "${runtime.name}" allows: ${problems.map(({ field, message }) => `${field}: ${message}`).join("; ")}.`,
      details: problems.map(({ field, message }) => ({ path: field, message })),
    });
  }
  const narrowed = narrowPermissions(runtime.permissions, request.permissions ?? {});
  if (!narrowed.ok) {
    const widens = "widening" in narrowed;
    const details = (widens ? narrowed.widening : narrowed.problems).map(toDetail);
    throw new AppError({
      code: widens ? "PERMISSION_WIDENING" : "INVALID_REQUEST",
      message: widens
        ? `A request can narrow the permissions of the runtime "${runtime.name}", never widen them: ${details.map(({ message }) => message).join("; ")}.`
        : `The permissions make no sense: ${details.map(({ message }) => message).join("; ")}.`,
      details,
    });
  }
  const { name, language, image, guards, engineRuntime } = runtime;
  const { permissions } = narrowed;
  return { runtime: name, language, image, permissions, granted: runtime.permissions, limits, guards, engineRuntime };
}

const toDetail = ({ entry, message }: PermissionProblem): { path: string; message: string } => ({
  path: ["permissions", ...entry].join("."),
  message,
});
