/**
 * The configured answer that takes a server's place while it is down.
 *
 * Nothing was sent then: a call that went out and was lost is an error, since it may have been carried out. The answer always says that
 * it is a mock, whatever was configured.
 */

import type { McpServerDefinition } from "../domain/mcp-server.ts";

/** The answer of the tool, if it has one. */
export function fallbackOf({ fallback }: McpServerDefinition, tool: string): Readonly<Record<string, unknown>> | undefined {
  const response = Object.hasOwn(fallback.responses, tool) ? fallback.responses[tool] : undefined;
  if (fallback.mode !== "mock" || response === undefined) return undefined;
  // A copy: what a caller does with its answer must not show in the next one.
  return { ...structuredClone(response), mock: true };
}
