/**
 * `config/runtimes.json`: its schema, and how it becomes the runtimes of the service. Comments and trailing commas may be in it.
 *
 * Every wrong value is a problem that names the file, the path inside it and what is expected; all are reported at once. What this
 * version cannot enforce yet makes that runtime unavailable with a reason, it is never ignored.
 */

import { readFile } from "node:fs/promises";

import { z } from "zod";

import { executablesOf } from "../domain/commands.ts";
import { StartupError } from "../domain/errors.ts";
import { DEBIAN_PACKAGE, imageSpec, NPM_MODULE, splitModule } from "../domain/image-spec.ts";
import { compileLimits, memorySchema, runtimeLimitsSchema } from "../domain/limits.ts";
import { normalizePermissions, permissionsSchema } from "../domain/permissions.ts";
import type { Permissions } from "../domain/permissions.ts";
import type { RuntimeDefinition } from "../domain/runtime.ts";
import { problemsOf } from "../domain/schema-issues.ts";
import type { SchemaProblem } from "../domain/schema-issues.ts";
import { parseJsonText } from "./json-text.ts";

/** Node lines that sandbox images exist for, the oldest first; `sandbox-image/node.json` pins their releases. */
const NODE_MAJORS = [22, 24, 26] as const;
const [OLDEST_NODE_MAJOR, , NEWEST_NODE_MAJOR] = NODE_MAJORS;
const DEFAULT_NODE_MAJOR = 24;

/** A list of what the image build adds. Each name once: of two versions only one could be there. */
const additions = (pattern: RegExp, expected: string, nameOf: (entry: string) => string): z.ZodDefault<z.ZodArray<z.ZodString>> =>
  z
    .array(z.string().regex(pattern, { error: `expected ${expected}` }))
    .max(64)
    .superRefine((entries, context) => {
      const names = entries.map(nameOf);
      names.forEach((name, index) => {
        if (names.indexOf(name) < index) context.addIssue({ code: "custom", message: `"${name}" is there twice`, path: [index] });
      });
    })
    .default([]);

const runtimeSchema = z.strictObject({
  name: z.string().min(1).max(128).optional().describe("A label for readers of the file; requests name the key"),
  language: z.enum(["typescript", "javascript"]).default("typescript"),
  version: z
    .string()
    .regex(/^v?\d{1,3}(\.\d{1,3}){0,2}$/, { error: 'expected a version of Node such as "24"' })
    .default(String(DEFAULT_NODE_MAJOR))
    .describe("Line of Node"),
  timeout: z.int().min(1).max(86_400_000).default(30_000).describe("Milliseconds that a program may run"),
  memoryLimit: memorySchema.default(512 * 2 ** 20).describe('Memory of the sandbox, its writable folders included: "512MB" or bytes'),
  allowedModules: z
    .array(z.string().min(1).max(214))
    .max(1024)
    .default(["*"])
    .describe('Modules that an import may name; "*" is every module of the image. A guard rail, not a boundary'),
  deniedOperations: z
    .array(z.enum(["eval", "Function"], { error: 'expected "eval" or "Function"; either turns off code from strings' }))
    .default([])
    .describe('"eval" and "Function": no code from strings. A guard rail, not a boundary'),
  sandboxType: z.enum(["container", "vm2"]).default("container").describe('"container"; "vm2" is read as "container", with a warning'),
  permissions: permissionsSchema.default({}),
  limits: runtimeLimitsSchema.default({}),
  engineRuntime: z
    .string()
    .regex(/^[A-Za-z0-9_.-]{1,64}$/)
    .optional()
    .describe("Runtime of the engine: runc, crun, runsc; default: the engine's own"),
  packages: additions(DEBIAN_PACKAGE, 'the name of a Debian package such as "jq", or "jq=1.6-2.1"', (entry) =>
    entry.replace(/=.*$/, ""),
  ).describe(
    'Debian packages that the image build adds, with what they depend on: "jq", or "jq=1.6-2.1". Of their programs only what the permissions let programs execute',
  ),
  modules: additions(
    NPM_MODULE,
    'an npm module such as "lodash", "lodash@4" or "@scope/name@^1.2"; no address, file or alias',
    (entry) => splitModule(entry).name,
  ).describe('npm modules that the image build adds, with what they depend on: "lodash", or "lodash@4". Their install scripts are not run'),
});

/** The whole file. */
export const runtimesFileSchema = z.strictObject({
  $schema: z.string().optional(),
  runtimes: z.record(
    // JavaScript puts keys that are numbers before all others, so the first of the file would not be the first.
    z.string().regex(/^(?!\d+$)[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/, {
      error: "a runtime's key is letters, digits, _ . and -, and no number alone",
    }),
    runtimeSchema,
  ),
});
type RuntimeInput = z.infer<typeof runtimeSchema>;

export interface LoadedRuntimes {
  /** In the order of the file; the first is the default. */
  readonly runtimes: ReadonlyMap<string, RuntimeDefinition>;
  readonly warnings: readonly string[];
}

/** Reads and checks the file. Throws a {@link StartupError} that lists every problem. */
export async function loadRuntimes(file: string): Promise<LoadedRuntimes> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    throw new StartupError(
      [
        `${file}: cannot be read (${(error as NodeJS.ErrnoException).code ?? "unknown error"}). Set CODE_MODE_CONFIG_DIR to the folder that holds runtimes.json.`,
      ],
      error,
    );
  }
  return parseRuntimes(text, file);
}

/** As {@link loadRuntimes}, for text that was read already; `file` is for messages. */
export function parseRuntimes(text: string, file: string): LoadedRuntimes {
  const read = parseJsonText(text);
  if (!read.ok) throw new StartupError(read.problems.map(({ column, line, message }) => `${file}:${line}:${column}: ${message}`));
  const json = read.value;
  const parsed = runtimesFileSchema.safeParse(json);
  if (!parsed.success) {
    throw new StartupError(
      parsed.error.issues.flatMap((issue) =>
        problemsOf(issue, "is no known setting").map((problem) => `${file}: ${describe(problem, json)}`),
      ),
    );
  }

  const problems: string[] = [];
  const warnings: string[] = [];
  const runtimes = new Map<string, RuntimeDefinition>();
  for (const [key, input] of Object.entries(parsed.data.runtimes)) {
    const at = (path: readonly (string | number)[]): string => `${file}: ${["runtimes", key, ...path].join(".")}`;
    const definition = compileRuntime(key, input, {
      problem: (path, message) => problems.push(`${at(path)}: ${message}`),
      warn: (path, message) => warnings.push(`${at(path)}: ${message}`),
    });
    if (definition !== undefined) runtimes.set(key, definition);
  }
  if (problems.length === 0 && runtimes.size === 0) problems.push(`${file}: runtimes: is empty; at least one runtime is needed`);
  if (problems.length > 0) throw new StartupError(problems);
  return { runtimes, warnings };
}

interface Report {
  readonly problem: (path: readonly (string | number)[], message: string) => void;
  readonly warn: (path: readonly (string | number)[], message: string) => void;
}

function compileRuntime(key: string, input: RuntimeInput, report: Report): RuntimeDefinition | undefined {
  const limits = compileLimits(input.timeout, input.memoryLimit, input.limits);
  const normalized = normalizePermissions(input.permissions);
  if (!normalized.ok) for (const { entry, message } of normalized.problems) report.problem(["permissions", ...entry], message);
  if ("message" in limits) report.problem(["limits", limits.field], limits.message);
  if (!normalized.ok || "message" in limits) return undefined;

  const { permissions } = normalized;
  checkCommands(permissions, input, report);
  const nodeMajor = nodeMajorOf(input.version, report);
  if (input.sandboxType === "vm2") {
    report.warn(["sandboxType"], '"vm2" is no security boundary and is not used; programs run in a container. Write "container".');
  }
  return {
    name: key,
    language: input.language,
    version: input.version,
    image: imageSpec({
      nodeMajor,
      packages: input.packages,
      modules: input.modules,
      executables: executablesOf(permissions),
    }),
    permissions,
    limits,
    guards: { allowedModules: input.allowedModules, denyCodeGeneration: input.deniedOperations.length > 0 },
    engineRuntime: input.engineRuntime,
    unavailable: [],
  };
}

/** Commands that could never run: with no process to run in, or with no package that could bring them. */
function checkCommands(permissions: Permissions, { packages }: RuntimeInput, report: Report): void {
  const named = [
    [["permissions", "system", "allowedCommands"], permissions.system.allowedCommands],
    [["permissions", "fileSystem", "execute"], permissions.fileSystem.execute],
  ] as const;
  const executables = executablesOf(permissions);
  for (const [path, entries] of named) {
    const missing = entries.filter((entry) => executables.includes(entry));
    if (entries.length > 0 && permissions.system.maxProcesses === 1) {
      report.problem(path, "needs a permissions.system.maxProcesses above 1: with 1, the default, no command could ever be started");
    } else if (missing.length > 0 && packages.length === 0) {
      report.problem(path, `nothing brings ${missing.join(", ")}: name the Debian packages that do in "packages"`);
    }
  }
}

/** The line that a version runs on: the oldest of ours that is not older, else the newest. */
function nodeMajorOf(version: string, report: Report): number {
  const asked = Number.parseInt(version.replace(/^v/, ""), 10);
  const major = NODE_MAJORS.find((candidate) => candidate >= asked);
  const runsOn = major ?? NEWEST_NODE_MAJOR;
  if (runsOn === asked) return runsOn;
  const reason =
    asked < OLDEST_NODE_MAJOR
      ? "is past its end of life"
      : major === undefined
        ? "is newer than what there are images for"
        : "has no long-term support";
  report.warn(["version"], `Node ${asked} ${reason}; programs run on Node ${runsOn}`);
  return runsOn;
}

/** A problem with the value that it is about. */
function describe({ message, path }: SchemaProblem, json: unknown): string {
  const value = path.reduce<unknown>(
    (node, key) => (typeof node === "object" && node !== null ? (node as Record<string, unknown>)[key] : undefined),
    json,
  );
  const shown = value === undefined ? "is missing" : `is ${clip(JSON.stringify(value))}`;
  return `${path.length === 0 ? "the file" : path.join(".")}: ${shown}: ${message}`;
}

const clip = (text: string): string => (text.length > 80 ? `${text.slice(0, 77)}...` : text);
