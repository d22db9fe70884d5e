/**
 * `config/mcp-servers.json`: the MCP servers whose tools programs may call, in the shape that MCP clients share. Comments and trailing
 * commas may be in it.
 *
 * Every mistake is a problem that names the file, the path inside it and what is expected; all are reported at once, and no value is
 * ever repeated: it may be a secret. A variable that is not set is no mistake of the file: that server is down with its reason.
 */

import { constants } from "node:fs";
import { open, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import path from "node:path";

import type { z } from "zod";

import { StartupError } from "../domain/errors.ts";
import type { McpServerDefinition } from "../domain/mcp-server.ts";
import { problemsOf } from "../domain/schema-issues.ts";
import { closest } from "../lib/similar.ts";
import type { VariableReader } from "./environment.ts";
import { parseJsonText } from "./json-text.ts";
import { compileServer } from "./mcp-servers/compile.ts";
import { EntryReport } from "./mcp-servers/entry-report.ts";
import { judgeKeys } from "./mcp-servers/foreign-keys.ts";
import { mcpServersRootSchema, SECTIONS, serverNameSchema, serverSchema } from "./mcp-servers/schema.ts";

export interface McpServersOptions {
  readonly variable: VariableReader;
  /** For calls to a server without a `timeoutMs`. */
  readonly timeoutMs: number;
}

export interface LoadedMcpServers {
  /** In the order of the file. */
  readonly servers: ReadonlyMap<string, McpServerDefinition>;
  readonly warnings: readonly string[];
}

const MAX_FILE_BYTES = 4 * 2 ** 20;

/** Reads and checks the file; no file means no servers. Throws a {@link StartupError} that lists every problem. */
export async function loadMcpServers(file: string, options: McpServersOptions): Promise<LoadedMcpServers> {
  let handle: FileHandle;
  try {
    // Without O_NONBLOCK a FIFO would be waited for.
    handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const { code = "unknown error" } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return { servers: new Map(), warnings: [] };
    throw new StartupError([`${file}: cannot be read (${code}). The user of the service must be able to read it`], error);
  }
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw new StartupError([`${file}: is no regular file`]);
    if (found.size > MAX_FILE_BYTES) throw new StartupError([`${file}: is larger than ${MAX_FILE_BYTES} bytes`]);
    await checkWriters(file, found.mode);
    return parseMcpServers(await handle.readFile("utf8"), file, options);
  } finally {
    await handle.close();
  }
}

/** The file names commands that the service runs. */
async function checkWriters(file: string, mode: number): Promise<void> {
  if ((mode & 0o002) !== 0)
    throw new StartupError([`${file}: everybody can write it, and so run commands as the service. Run: chmod o-w ${file}`]);
  const folder = path.dirname(file);
  const { mode: folderMode } = await stat(folder);
  if ((folderMode & 0o1002) === 0o002)
    throw new StartupError([`${folder}: everybody can replace ${path.basename(file)} in it. Run: chmod o-w ${folder}`]);
}

/** As {@link loadMcpServers}, for text that was read already; `file` is for messages, and its folder for relative paths. */
export function parseMcpServers(text: string, file: string, options: McpServersOptions): LoadedMcpServers {
  const json = parseJsonText(text, { isSecret: true });
  if (!json.ok) throw new StartupError(json.problems.map(({ column, line, message }) => `${file}:${line}:${column}: ${message}`));
  const reader = new FileReader(file, options);
  const servers = reader.read(json.value);
  if (reader.problems.length > 0) throw new StartupError(reader.problems);
  return { servers, warnings: reader.warnings };
}

/** What other programs call the object of all servers. */
const OTHER_ROOTS = new Set(["servers", "mcp", "context_servers"]);

class FileReader {
  readonly problems: string[] = [];
  readonly warnings: string[] = [];
  readonly #file: string;
  readonly #options: McpServersOptions;

  constructor(file: string, options: McpServersOptions) {
    this.#file = file;
    this.#options = options;
  }

  read(json: unknown): Map<string, McpServerDefinition> {
    const servers = new Map<string, McpServerDefinition>();
    const before = this.problems.length;
    if (isObject(json)) this.#judgeRoot(json);
    const parsed = mcpServersRootSchema.safeParse(json);
    if (!parsed.success) {
      if (this.problems.length === before) this.#addIssues(parsed.error.issues, []);
      return servers;
    }
    for (const [name, entry] of Object.entries(parsed.data.mcpServers)) {
      const definition = this.#readServer(name, entry);
      if (definition !== undefined) servers.set(name, definition);
    }
    return servers;
  }

  #judgeRoot(json: object): void {
    for (const { key, said } of judgeKeys(json, Object.keys(mcpServersRootSchema.shape))) {
      if (OTHER_ROOTS.has(key)) this.problems.push(`${this.#file}: ${key}: is no setting here; write mcpServers`);
      else (said.isError ? this.problems : this.warnings).push(`${this.#file}: ${key}: ${said.message}`);
    }
  }

  #readServer(name: string, entry: unknown): McpServerDefinition | undefined {
    const { problems, warnings } = this;
    const report = new EntryReport({
      server: name,
      file: this.#file,
      fileName: path.basename(this.#file),
      variable: this.#options.variable,
      problems,
      warnings,
    });
    if (isObject(entry)) {
      for (const { key, said } of judgeKeys(entry, Object.keys(serverSchema.shape))) {
        if (said.isError) report.problem([key], said.message);
        else report.warn([key], said.message);
      }
    }
    this.#addIssues(serverNameSchema.safeParse(name).error?.issues ?? [], ["mcpServers", name]);
    const parsed = serverSchema.safeParse(entry);
    if (!parsed.success) {
      this.#addIssues(parsed.error.issues, ["mcpServers", name]);
      return undefined;
    }
    return compileServer(name, parsed.data, {
      folder: path.dirname(path.resolve(this.#file)),
      timeoutMs: this.#options.timeoutMs,
      report,
    });
  }

  #addIssues(issues: readonly z.core.$ZodIssue[], where: readonly string[]): void {
    for (const issue of issues) {
      for (const { message, path: setting } of problemsOf(issue, "is no known setting")) {
        const meant = issue.code === "unrecognized_keys" ? meantIn(setting) : undefined;
        const place = [...where, ...setting].join(".");
        this.problems.push(`${this.#file}: ${[place, message].filter(Boolean).join(": ")}${meant === undefined ? "" : `; write ${meant}`}`);
      }
    }
  }
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null && !Array.isArray(value);

/** The setting of a section that somebody meant. */
function meantIn(setting: readonly string[]): string | undefined {
  const [section, key = ""] = setting.slice(-2);
  const known = Object.entries(SECTIONS).find(([name]) => name === section)?.[1];
  return known && closest(key, Object.keys(known.shape));
}
