/**
 * Whether the lists let a program call a tool: those of the server's configuration, of the key and of the request. Each must.
 *
 * What is denied under one of its names is denied under all of them, and what is allowed under one is allowed under all.
 */

import type { McpServerDefinition } from "../domain/mcp-server.ts";
import { listsTool, matchesGlob } from "../domain/tool-pattern.ts";
import type { ToolNames } from "../domain/tool-pattern.ts";

export interface ListedTool {
  readonly server: string;
  /** The server's and the tool's own names first, then whatever else stands for them. */
  readonly names: ToolNames;
  /** What the server says of it; `undefined` while that is not known. */
  readonly readOnly: boolean | undefined;
}

export interface ToolLists {
  /** The server's own; left out where there is no such server. */
  readonly server?: Pick<McpServerDefinition["tools"], "allow" | "deny"> | undefined;
  /** The key's and the request's, in this order. */
  readonly allowed: readonly (readonly string[] | undefined)[];
}

/** A list that keeps the tool from a program. */
export interface ListRefusal {
  readonly setting: string;
  /** What is so of the tool, to be put after its name. */
  readonly problem: string;
}

const CALLERS_LISTS = [
  { setting: "the key's tools", problem: "is not in the list of tools of the key that is used" },
  { setting: "the request's tools", problem: "is not in the list of tools of the request" },
] as const;

/** The first list that refuses the tool. */
export function findListRefusal({ names, readOnly, server }: ListedTool, { allowed, server: lists }: ToolLists): ListRefusal | undefined {
  if (lists !== undefined) {
    const settings = `mcpServers.${server}.tools`;
    const matches = (patterns: readonly string[]): boolean =>
      patterns.some((pattern) => names.tools.some((name) => matchesGlob(pattern, name)));
    if (matches(lists.deny)) return { setting: `${settings}.deny`, problem: `is denied by ${settings}.deny` };
    // What is not known to change something is left to the check that comes once the server has told of it.
    if (lists.allow === "readOnly" ? readOnly === false : !matches(lists.allow)) {
      const problem =
        lists.allow === "readOnly"
          ? `is not among the tools that only read, which are all that ${settings}.allow lets through`
          : `is not in ${settings}.allow`;
      return { setting: `${settings}.allow`, problem };
    }
  }
  const index = allowed.findIndex((patterns) => !listsTool(patterns, names));
  return index < 0 ? undefined : (CALLERS_LISTS[index] ?? CALLERS_LISTS[1]);
}
