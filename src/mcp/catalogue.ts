/**
 * The tools of a server, from its raw list: one that is badly described is hidden, with the reason, and the others are there.
 *
 * Not the SDK's list, which refuses all tools for the fault of one, gives one page, and compiles what the server wrote.
 */

import { isJsonObject } from "../lib/json-object.ts";
import type { JsonObject } from "../lib/json-object.ts";
import { problemOfToolSchema } from "./tool-schema.ts";

export interface ToolAnnotations {
  readonly readOnlyHint?: boolean;
  readonly destructiveHint?: boolean;
  readonly idempotentHint?: boolean;
  readonly openWorldHint?: boolean;
}

export interface ToolDefinition {
  readonly name: string;
  readonly title: string | undefined;
  /** Cleaned of control characters, and cut; a stranger's text all the same. Empty when there is none. */
  readonly description: string;
  /** Of the arguments, as the server wrote it; its shape is sound ({@link problemOfToolSchema}). May have any names as keys. */
  readonly inputSchema: JsonObject;
  readonly outputSchema: JsonObject | undefined;
  /** What the server says of itself: no promise. */
  readonly annotations: ToolAnnotations;
}

export interface Catalogue {
  /** By name, in the server's order. */
  readonly tools: ReadonlyMap<string, ToolDefinition>;
  readonly hidden: readonly { readonly name: string; readonly reason: string }[];
  /** Why there may be more tools than these. */
  readonly incomplete: string | undefined;
}

const MAX_PAGES = 100;
const MAX_TOOLS = 2000;
const MAX_HIDDEN = 200;
const MAX_CHARS = 16 * 1024 * 1024;
const MAX_NAME_CHARS = 128;
const MAX_TITLE_CHARS = 200;
const MAX_DESCRIPTION_CHARS = 4096;
const MAX_CURSOR_CHARS = 4096;
const HINTS = ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"] as const;

/** The server's answer is no list of tools. */
class NoToolListError extends Error {
  override readonly name = "NoToolListError";
}

/** Reads all pages. `fetchPage` is one `tools/list` request; what it rejects with is passed on. */
export async function readCatalogue(fetchPage: (cursor: string | undefined) => Promise<unknown>): Promise<Catalogue> {
  const reader = new CatalogueReader();
  const seen = new Set<string>();
  let cursor: string | undefined;
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const next = reader.add(await fetchPage(cursor));
    if (next === undefined) return reader.catalogue(undefined);
    if (reader.full) return reader.catalogue(`it lists more than ${MAX_TOOLS} tools, or ${MAX_CHARS} characters`);
    if (next.length > MAX_CURSOR_CHARS) return reader.catalogue("its next page has an address that is too long");
    if (seen.has(next)) return reader.catalogue("its pages go round in a circle");
    seen.add(next);
    cursor = next;
  }
  return reader.catalogue(`it has more than ${MAX_PAGES} pages of tools`);
}

class CatalogueReader {
  readonly #tools = new Map<string, ToolDefinition>();
  readonly #hidden: { name: string; reason: string }[] = [];
  #characters = 0;
  #overflowed = false;

  get full(): boolean {
    return this.#overflowed;
  }

  /** Adds one page; gives the cursor of the next. */
  add(page: unknown): string | undefined {
    if (!isJsonObject(page) || !Array.isArray(page["tools"])) throw new NoToolListError("its answer to tools/list is no list of tools");
    for (const tool of page["tools"] as unknown[]) {
      this.#characters += JSON.stringify(tool).length;
      if (this.#tools.size >= MAX_TOOLS || this.#characters > MAX_CHARS) {
        this.#overflowed = true;
        break;
      }
      this.#addTool(tool);
    }
    const next = page["nextCursor"];
    return typeof next === "string" ? next : this.#overflowed ? "" : undefined;
  }

  catalogue(incomplete: string | undefined): Catalogue {
    return { tools: this.#tools, hidden: this.#hidden, incomplete };
  }

  #addTool(tool: unknown): void {
    const { name } = isJsonObject(tool) ? tool : {};
    if (!isJsonObject(tool) || typeof name !== "string" || !isToolName(name)) {
      this.#hide(
        typeof name === "string" ? name : "",
        `its name is none: it must have 1 to ${MAX_NAME_CHARS} characters that can be printed`,
      );
      return;
    }
    const input = problemOfToolSchema(tool["inputSchema"]);
    const output = tool["outputSchema"] === undefined ? undefined : problemOfToolSchema(tool["outputSchema"]);
    if (this.#tools.has(name)) this.#hide(name, "another tool of the server has the same name");
    else if (input !== undefined) this.#hide(name, `its inputSchema ${input}`);
    else if (output !== undefined) this.#hide(name, `its outputSchema ${output}`);
    else this.#tools.set(name, definitionOf(name, tool));
  }

  #hide(name: string, reason: string): void {
    if (this.#hidden.length < MAX_HIDDEN)
      this.#hidden.push({ name: plainText(name, MAX_NAME_CHARS), reason: plainText(reason, MAX_TITLE_CHARS) });
  }
}

function definitionOf(name: string, tool: JsonObject): ToolDefinition {
  const annotations = isJsonObject(tool["annotations"]) ? tool["annotations"] : {};
  const title = tool["title"] ?? annotations["title"];
  return {
    name,
    title: typeof title === "string" ? plainText(title, MAX_TITLE_CHARS) : undefined,
    description: typeof tool["description"] === "string" ? plainText(tool["description"], MAX_DESCRIPTION_CHARS) : "",
    inputSchema: tool["inputSchema"] as JsonObject,
    outputSchema: tool["outputSchema"] as JsonObject | undefined,
    annotations: Object.fromEntries(HINTS.flatMap((hint) => (typeof annotations[hint] === "boolean" ? [[hint, annotations[hint]]] : []))),
  };
}

const isToolName = (name: string): boolean =>
  name.length > 0 && name.length <= MAX_NAME_CHARS && !/[\p{C}\p{Z}]/u.test(name.replaceAll(" ", ""));

/** Without what is not seen: control and format characters, but for ends of lines and tabs; cut where it is too long. */
export function plainText(text: string, maxChars: number): string {
  const plain = text
    .slice(0, maxChars * 2)
    .replace(/[^\P{C}\n\t]|[\p{Zl}\p{Zp}]/gu, "")
    .trim();
  return plain.length > maxChars ? `${plain.slice(0, maxChars - 1).toWellFormed()}…` : plain;
}
