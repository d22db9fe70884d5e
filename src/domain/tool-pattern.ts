/**
 * Patterns of tools, as keys, requests and servers' lists have them: `*`, `server.tool`, `server.*`, `server.get_*`, `*.search`.
 *
 * A star stands for any characters. Matching takes time in proportion to the product of the lengths, which are capped: patterns come
 * from callers.
 */

import { z } from "zod";

/** Each is compared with each tool: more would let a request keep the service busy. */
const MAX_TOOL_PATTERNS = 256;
const MAX_PATTERN_CHARS = 256;

/** One entry of a list that names tools of all servers. */
export const toolPatternSchema = z
  .string()
  .max(MAX_PATTERN_CHARS)
  .refine((pattern) => pattern === "*" || /^[^.]+\../s.test(pattern), {
    error: 'is no pattern of tools: write "server.tool", "server.*" for all tools of a server, or "*" for all',
  });
export const toolPatternsSchema = z
  .array(toolPatternSchema, { error: "expected a list of patterns of tools" })
  .max(MAX_TOOL_PATTERNS, { error: `has more than ${MAX_TOOL_PATTERNS} patterns; a star stands for many tools` });

/** The names under which patterns find a tool: those of its server, and its own. */
export interface ToolNames {
  readonly servers: readonly string[];
  readonly tools: readonly string[];
}

/** Whether a list names the tool; `undefined` names every one. */
export function listsTool(patterns: readonly string[] | undefined, names: ToolNames): boolean {
  return patterns === undefined || patterns.some((pattern) => matchesTool(pattern, names));
}

/** Whether a list names any tool that the server of these names has or may come to have. */
export function listsServer(patterns: readonly string[] | undefined, servers: readonly string[]): boolean {
  return patterns === undefined || patterns.some((pattern) => pattern === "*" || serverOf(pattern, servers) !== undefined);
}

/** The start of a pattern that stands for a server of these names. A name may hold dots, so it is not the first dot that ends it. */
const serverOf = (pattern: string, servers: readonly string[]): string | undefined =>
  ["*", ...servers].find((start) => pattern.startsWith(`${start}.`));

function matchesTool(pattern: string, { servers, tools }: ToolNames): boolean {
  if (pattern === "*") return true;
  return servers.some((server) => {
    const start = serverOf(pattern, [server]);
    return start !== undefined && tools.some((tool) => matchesGlob(pattern.slice(start.length + 1), tool));
  });
}

/** Whether the text is what the pattern says, where a star stands for any characters. */
export function matchesGlob(pattern: string, text: string): boolean {
  let at = 0;
  let place = 0;
  /** Where the last star is, and how far the text was when it came. */
  let star: { readonly at: number; place: number } | undefined;
  while (place < text.length) {
    if (pattern[at] === "*") star = { at: at++, place };
    else if (at < pattern.length && pattern[at] === text[place]) {
      at += 1;
      place += 1;
    } else if (star === undefined) return false;
    else {
      at = star.at + 1;
      place = ++star.place;
    }
  }
  while (pattern[at] === "*") at += 1;
  return at === pattern.length;
}
