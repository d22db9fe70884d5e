/** Runtimes and policies as the service makes them: out of the text of a configuration. */

import { parseRuntimes } from "../../../src/config/runtimes-file.ts";
import type { ExecutionRequest } from "../../../src/domain/execution.ts";
import { executionRequestSchema } from "../../../src/domain/execution.ts";
import { narrow } from "../../../src/domain/narrow.ts";
import type { EffectivePolicy, RuntimeDefinition } from "../../../src/domain/runtime.ts";

/** One runtime, named `node`, with these settings. */
export function runtimeOf(settings: object = {}): RuntimeDefinition {
  return parseRuntimes(JSON.stringify({ runtimes: { node: settings } }), "runtimes.json").runtimes.get("node")!;
}

/** The policy of a request that asks for nothing special, or for `request`. */
export function policyOf(settings: object = {}, request: object = {}): EffectivePolicy {
  return narrow(runtimeOf(settings), requestOf(request));
}

/** A request with its defaults filled in. */
export const requestOf = (fields: object = {}): ExecutionRequest => executionRequestSchema.parse({ code: "", ...fields });
