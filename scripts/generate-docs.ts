/**
 * Makes what is written about the configuration, the errors and the layers of defence from the code that enforces them.
 *
 *     config/runtimes.schema.json, mcp-servers.schema.json
 *                                                       whole files, for editors
 *     docs/configuration.md, denials.md, doctor.md, errors.md, threat-model.md, tools.md
 *                                                       the blocks between `<!-- generated: name -->` and `<!-- end -->`
 *
 * With `--check` nothing is written: it names what is stale, and fails. What is written by hand is checked where it can be: examples in
 * the documents are loaded as the service would load them, and the tests that ARCHITECTURE.md names must be there.
 */

import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";

import { format, resolveConfig } from "prettier";
import { z } from "zod";

import { environmentSchema, readEnvironment } from "../src/config/environment.ts";
import { parseMcpServers } from "../src/config/mcp-servers-file.ts";
import { mcpServersFileSchema, SECTIONS, serverSchema } from "../src/config/mcp-servers/schema.ts";
import { parseRuntimes, runtimesFileSchema } from "../src/config/runtimes-file.ts";
import { ADVISORIES } from "../src/doctor/advisories.ts";
import { allChecks } from "../src/doctor/doctor.ts";
import { gatherFacts } from "../src/doctor/facts.ts";
import { formatByteSize } from "../src/domain/byte-size.ts";
import { DENIALS } from "../src/domain/denials.ts";
import { ERROR_STATUS } from "../src/domain/errors.ts";
import type { ErrorCode } from "../src/domain/errors.ts";
import { STATUSES } from "../src/domain/execution.ts";
import type { Status } from "../src/domain/execution.ts";
import { compileLimits, requestLimitsSchema, runtimeLimitsSchema } from "../src/domain/limits.ts";
import { permissionsSchema } from "../src/domain/permissions.ts";
import { TOOL_ERRORS } from "../src/domain/tool-error.ts";
import { LAYERS } from "../src/sandbox/layers.ts";

const root = path.join(import.meta.dirname, "..");

type Json = Readonly<Record<string, unknown>>;
type Shape = Readonly<Record<string, z.ZodType>>;

const runtimeShape = runtimesFileSchema.shape.runtimes.valueType.shape;

/** Fields whose schema says nothing about them, since they only hold others. */
const CONTAINERS: Readonly<Record<string, string>> = {
  language: "What the code is written in; TypeScript runs as JavaScript too, once its types are taken out",
  permissions: "What programs may do; see [Permissions](#permissions)",
  limits: "Limits beyond `timeout` and `memoryLimit`; see [Limits](#limits)",
};

/** Defaults that follow another setting. */
const FOLLOWS: Readonly<Record<string, string>> = { maxTimeoutMs: "`timeout`", maxMemory: "`memoryLimit`", maxCpus: "`cpus`" };

const WHEN: Readonly<Record<ErrorCode, string>> = {
  INVALID_REQUEST:
    "The body is no JSON, a field is unknown or wrong, or input files cannot be placed. `details` lists every problem with its path.",
  LIMIT_EXCEEDED: "A limit is above the runtime's ceiling, or there are too many input files. The message says the ceiling.",
  UNAUTHENTICATED: "The service has keys, and the request has none or a wrong one.",
  FORBIDDEN: "The `Host` or `Origin` header names another host, or the key lacks the scope, or may not use the runtime.",
  PERMISSION_WIDENING: "The request asks for more than its runtime grants. `details` names each entry.",
  NOT_FOUND: "There is no such path, runtime, execution, server or tool; or it is not for this key.",
  METHOD_NOT_ALLOWED: "The path has no such method. The `Allow` header lists those it has.",
  PAYLOAD_TOO_LARGE: "The body is over `CODE_MODE_MAX_BODY_BYTES`.",
  UNSUPPORTED_MEDIA_TYPE: "The body is not declared as JSON, is compressed, or is not UTF-8.",
  QUEUE_FULL:
    "There is no room now: the queue is full, or this key's share of it; or for the bodies of all requests together, or another reader of events. The message says which. `Retry-After` says when to try again.",
  SHUTTING_DOWN: "The service is being stopped. `Retry-After` says when to try again.",
  SANDBOX_UNAVAILABLE:
    "No sandbox could be started: the engine or the image is missing, or the runtime cannot run here. Where trying again can help there is a `Retry-After`.",
  AUDIT_UNAVAILABLE:
    "The audit log cannot be written, and `CODE_MODE_AUDIT_ON_FAILURE` lets nothing run unaudited. `Retry-After` says when to try again.",
  INTERNAL: "A bug of the service. Its log has the details under the `requestId`.",
};

const MEANING: Readonly<Record<Status, string>> = {
  queued: "It waits for a slot, or its container starts.",
  running: "The program runs.",
  completed: "The program ended by itself, without an error and with exit code 0.",
  failed:
    "The program threw, did not compile, or exited with another code. `error` says what was thrown; it is null after a plain `process.exit`.",
  timed_out: "The deadline passed. The container was killed.",
  out_of_memory:
    "The container's memory limit was reached, or the JavaScript heap was full. The second is the runtime's own word on stderr, which a program can forge.",
  output_limit: "One stream printed more than the hard ceiling. The container was killed.",
  cancelled: "The caller disconnected or sent `DELETE`, or the service was stopped.",
  killed:
    "The process was ended by a signal, or the sandbox broke the protocol, or the engine failed meanwhile. `error.name` tells them apart.",
};

/** What the canary looks at, by layer. */
const PROVEN_BY: Readonly<Record<string, string>> = {
  capabilities: "All five capability sets in `/proc/self/status` are zero",
  "no-new-privileges": "`NoNewPrivs` is 1",
  seccomp: "A filter is installed; a netlink socket gets EPERM",
  "one-process": "Starting the runtime's own binary as a child gets EPERM",
  "read-only-root": "`/`, `/workspace` and the socket folder are mounted `ro`; writing to `/opt` fails",
  noexec: "`/workspace`, a writable folder and the socket folder are mounted `noexec,nosuid,nodev`",
  "unreadable-runtime": "Opening `/proc/self/mem` for writing and the binary for reading gets EACCES",
  "granted-commands":
    "Its groups are those of the commands that it was granted. Every file of the image that has an executable bit or a group is tried: but for Node, the loader and what was granted, executing it gets EACCES; reading it does too, but for granted scripts",
  "no-network": "`/proc/net/dev` lists `lo` alone",
  "own-user": "The user id is 1000 or above",
  "no-shared-memory": "`/dev/shm` is not mounted and cannot be written; `/dev/ptmx` cannot be opened",
  "resource-limits": "`/proc/self/limits` has a core size of 1, a message queue size of 0 and a CPU time limit",
  "socket-memory": "The namespace's `tcp_rmem`, `tcp_wmem` and `somaxconn` are those that were asked for; UDP and TCP sockets get EPERM",
  memory: "The cgroup's limit is the one that was asked for",
  pids: "The cgroup's limit is the one that was asked for",
};

const code = (text: string): string => `\`${text}\``;
const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

const describeJson = (schema: z.ZodType): Json => z.toJSONSchema(schema, { io: "input", target: "draft-2020-12", unrepresentable: "any" });

function typeOf(json: Json): string {
  const { anyOf, enum: values, items, type } = json as { anyOf?: Json[]; enum?: unknown[]; items?: Json; type?: string };
  if (values !== undefined) return values.map((value) => code(JSON.stringify(value))).join(" or ");
  if (anyOf !== undefined) return isSize(json) ? "size" : [...new Set(anyOf.map(typeOf))].join(" or ");
  if (items !== undefined) return `list of ${typeOf(items)}`;
  return type ?? "any";
}

/** A number of bytes, or text such as "512MB". */
function isSize({ anyOf }: Json): boolean {
  return Array.isArray(anyOf) && anyOf.length === 2 && JSON.stringify(anyOf) === '[{"type":"number"},{"type":"string","maxLength":32}]';
}

/** What a value must be like. Where the schema checks it with a function, its own words: those of the error for a wrong value. */
function formatOf(schema: z.ZodType, json: Json): string {
  for (const wrong of [2 ** 52, 1, "999999999999", "?"]) {
    const issue = schema.safeParse(wrong).error?.issues.find(({ message }) => /^(?:expected|must be) /.test(message));
    if (issue !== undefined) return issue.message.replace(/^(?:expected (?:a number from )?|must be (?:from )?)/, "").replace(/;.*$/, "");
  }
  const { maximum, maxItems, maxLength, minimum, minLength, pattern } = json as Readonly<Record<string, number | string | undefined>>;
  if (pattern !== undefined) return code(String(pattern));
  if (minimum !== undefined)
    return maximum === undefined || maximum === Number.MAX_SAFE_INTEGER ? `${minimum} or more` : `${minimum} to ${maximum}`;
  if (maxItems !== undefined) return `at most ${maxItems} entries`;
  if (maxLength !== undefined) return `${minLength ?? 0} to ${maxLength} characters`;
  return "";
}

/** The value that a missing field gets. */
function defaultOf(schema: z.ZodType, json: Json): string {
  const { data } = schema.safeParse(undefined);
  if (data === undefined) return "";
  if (typeof data === "number") return code(isSize(json) ? formatByteSize(data) : String(data));
  if (typeof data === "string") return code(data);
  return Array.isArray(data) && data.length === 0 ? "none" : code(JSON.stringify(data));
}

/** A description without what the columns beside it say. */
function describe(name: string, json: Json): string {
  const description = typeof json["description"] === "string" ? json["description"] : CONTAINERS[name];
  if (description === undefined) throw new Error(`the setting ${name} has no description`);
  return description.replace(/[;.] default[: ].*$/i, "");
}

/** A row for each field. `defaults` overrides what the schema alone does not know. */
function fieldTable(shape: Shape, defaults: Readonly<Record<string, string>> = {}): string {
  const rows = Object.entries(shape).map(([name, schema]) => {
    const json = describeJson(schema);
    return [code(name), typeOf(json), defaults[name] ?? defaultOf(schema, json), formatOf(schema, json), describe(name, json)];
  });
  return table(["name", "type", "default", "range, format", "what"], rows);
}

function limitsTable(): string {
  const shape: Shape = runtimeLimitsSchema.shape;
  const compiled = compileLimits(1, 2 ** 30, {});
  if ("message" in compiled) throw new Error(compiled.message);
  const values: Readonly<Record<string, number>> = { ...compiled.defaults, maxOutputBytes: compiled.ceilings.outputBytes };
  const defaults = Object.entries(shape).map(([name, schema]) => {
    const value = values[name];
    const shown = value === undefined ? FOLLOWS[name] : code(isSize(describeJson(schema)) ? formatByteSize(value) : String(value));
    if (shown === undefined) throw new Error(`the limit ${name} has no default`);
    return [name, shown] as const;
  });
  return fieldTable(shape, Object.fromEntries(defaults));
}

function permissionsTable(): string {
  const rows = Object.entries(permissionsSchema.shape).flatMap(([section, group]) =>
    Object.entries(group.unwrap().shape as Shape).map(([name, schema]) => {
      const json = describeJson(schema);
      const none = { maxProcesses: code("1"), loopback: code("false") }[name] ?? "none";
      return [code(`${section}.${name}`), typeOf(json), none, formatOf(schema, json), describe(name, json)];
    }),
  );
  return table(["name", "type", "default", "range, format", "what"], rows);
}

/** The settings of a server, those of its sections by their full names. */
function serverTable(): string {
  const sections = new Map<string, Shape>(Object.entries(SECTIONS).map(([name, section]) => [name, section.shape]));
  const rows = Object.entries(serverSchema.shape as Shape).flatMap(([name, schema]) => {
    const section = sections.get(name);
    const fields =
      section === undefined ? [[name, schema] as const] : Object.entries(section).map(([key, value]) => [`${name}.${key}`, value] as const);
    return fields.map(([path, field]) => {
      const json = describeJson(field);
      const { description = "" } = json as { description?: string };
      const said = /\. Default: (.*)$/.exec(description)?.[1];
      return [code(path), typeOf(json), said ?? defaultOf(field, json), formatOf(field, json), describe(path, json)];
    });
  });
  return table(["name", "type", "default", "range", "what"], rows);
}

const SENT = { no: "no", maybe: "may have", yes: "yes" } as const;

function toolErrorsTable(): string {
  const rows = Object.entries(TOOL_ERRORS).map(([name, { meaning, outcome, sent }]) => [code(name), meaning, SENT[sent], code(outcome)]);
  return table(["`code`", "what it means", "did the tool run?", "`outcome`"], rows);
}

function environmentTable(): string {
  const rows = Object.entries(environmentSchema.shape as Shape).map(([name, schema]) => {
    const json = describeJson(schema);
    const { description = "" } = json as { description?: string };
    const said = /\. Default: (.*)$/.exec(description)?.[1];
    const range = "enum" in json ? typeOf(json).replaceAll('"', "").replaceAll(" or ", ", ") : formatOf(schema, json);
    return [code(name), said ?? defaultOf(schema, json), range, describe(name, json)];
  });
  return table(["name", "default", "range, format", "what"], rows);
}

function layersTable(): string {
  const known = new Set(LAYERS.map(({ id }) => id));
  const strange = Object.keys(PROVEN_BY).find((id) => !known.has(id));
  if (strange !== undefined) throw new Error(`there is no layer ${strange}`);
  const rows = LAYERS.map(({ id, required, stops, title }) => {
    const proof = PROVEN_BY[id];
    if (proof === undefined) throw new Error(`the layer ${id} is not described`);
    return [title, required ? "required" : "bonus", stops, proof];
  });
  return table(["layer", "", "what it stops", "how a start proves it"], rows);
}

function checksTable(): string {
  const facts = gatherFacts({ config: readEnvironment({ env: {} }), packageRoot: root });
  return table(
    ["id", "title"],
    allChecks(facts, []).map(({ id, title }) => [code(id), title]),
  );
}

function advisoriesTable(): string {
  const rows = ADVISORIES.map(({ component, fixed, here, id, summary }) => [id, component, fixed.join(", "), `${summary}. ${here}`]);
  return table(["advisory", "part", "fixed in", "what, and what it means here"], rows);
}

function denialsTable(): string {
  const rows = Object.values(DENIALS).flatMap(({ kind, meaning, rules }) =>
    rules.flatMap(({ setting, where }, index) => {
      if (setting === null) return [];
      const otherwise = index > 0 ? "otherwise" : "";
      return [[code(kind), meaning, where === "" ? otherwise : where, withCode(setting)]];
    }),
  );
  return table(["kind", "what was refused", "where", "`setting`"], rows);
}

/** A setting with its entries marked. */
const withCode = (setting: string): string => setting.replaceAll(/runtimes\.<runtime>(?:\.\w+)+|\w+(?:\.\w+)+|\b[a-z]+[A-Z]\w+/g, code);

/** By the name of the block. */
const BLOCKS: Readonly<Record<string, () => string>> = {
  runtime: () => fieldTable(runtimeShape),
  permissions: permissionsTable,
  limits: limitsTable,
  "request-limits": () => fieldTable(requestLimitsSchema.shape),
  environment: environmentTable,
  "mcp-server": serverTable,
  "tool-errors": toolErrorsTable,
  errors: () =>
    table(
      ["code", "status", "when"],
      Object.entries(ERROR_STATUS).map(([name, status]) => [code(name), String(status), WHEN[name as ErrorCode]]),
    ),
  statuses: () =>
    table(
      ["status", "what happened"],
      STATUSES.map((status) => [code(status), MEANING[status]]),
    ),
  denials: denialsTable,
  layers: layersTable,
  checks: checksTable,
  advisories: advisoriesTable,
};

/** Fills the blocks of a document; it must have exactly the ones named. */
function fillBlocks(text: string, names: readonly string[], file: string): string {
  const found: string[] = [];
  const filled = text.replace(
    /(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)/gs,
    (_match, begin: string, name: string, end: string) => {
      found.push(name);
      return `${begin}\n${BLOCKS[name]?.() ?? ""}\n\n${end}`;
    },
  );
  if (found.toSorted().join() !== names.toSorted().join())
    throw new Error(`${file} must have the blocks ${names.join(", ")}; it has ${found.join(", ")}`);
  return filled;
}

/** Loads every example of a configuration file in a document. */
function checkExamples(text: string, file: string): void {
  for (const [, example = ""] of text.matchAll(/^```json\n(.*?)^```/gms)) {
    const name = `${file}, an example`;
    if (example.includes('"runtimes"')) parseRuntimes(example, name);
    if (example.includes('"mcpServers"')) parseMcpServers(example, name, { variable: () => undefined, timeoutMs: 1 });
  }
}

/** Looks for every test that a document names as `file.test.ts`: "title", "title". */
async function checkTests(text: string, file: string): Promise<void> {
  for (const [, testFile = "", titles = ""] of text.matchAll(/`(test\/[^`]+\.test\.ts)`: ((?:"[^"]+"(?:, )?)+)/g)) {
    const source = await readFile(path.join(root, testFile), "utf8");
    for (const [title, words = ""] of titles.matchAll(/"([^"]+)"/g)) {
      if (!source.includes(words)) throw new Error(`${file} names the test ${title}, which is not in ${testFile}`);
    }
  }
}

async function runtimesSchemaFile(file: string): Promise<string> {
  const schema = describeJson(runtimesFileSchema) as {
    properties: { runtimes: { additionalProperties: { properties: Record<string, Json> } } };
  };
  const { properties } = schema.properties.runtimes.additionalProperties;
  // What becomes a number of bytes has no default in the form in which it is written.
  const { data: memoryBytes } = runtimeShape.memoryLimit.safeParse(undefined);
  properties["memoryLimit"] = { ...properties["memoryLimit"], default: formatByteSize(memoryBytes ?? 0) };
  return schemaText(file, "config/runtimes.json", schema);
}

const mcpServersSchemaFile = (file: string): Promise<string> =>
  schemaText(file, "config/mcp-servers.json", describeJson(mcpServersFileSchema));

async function schemaText(file: string, described: string, schema: object): Promise<string> {
  // The last two are for editors that would mark comments and trailing commas as errors.
  const head = { title: `${described} of Code Mode`, allowComments: true, allowTrailingCommas: true };
  return format(JSON.stringify({ ...head, ...schema }), { ...(await resolveConfig(file)), parser: "json" });
}

async function documentFile(file: string, names: readonly string[]): Promise<string> {
  const text = await readFile(file, "utf8");
  checkExamples(text, path.relative(root, file));
  return fillBlocks(text, names, path.relative(root, file));
}

const FILES: Readonly<Record<string, (file: string) => Promise<string>>> = {
  "config/mcp-servers.schema.json": mcpServersSchemaFile,
  "config/runtimes.schema.json": runtimesSchemaFile,
  "docs/configuration.md": (file) =>
    documentFile(file, ["environment", "limits", "mcp-server", "permissions", "request-limits", "runtime"]),
  "docs/denials.md": (file) => documentFile(file, ["denials"]),
  "docs/doctor.md": (file) => documentFile(file, ["advisories", "checks"]),
  "docs/errors.md": (file) => documentFile(file, ["errors", "statuses"]),
  "docs/threat-model.md": (file) => documentFile(file, ["layers"]),
  "docs/tools.md": (file) => documentFile(file, ["tool-errors"]),
};

await checkTests(await readFile(path.join(root, "ARCHITECTURE.md"), "utf8"), "ARCHITECTURE.md");
const isCheck = process.argv.includes("--check");
for (const [name, make] of Object.entries(FILES)) {
  const file = path.join(root, name);
  const [made, present] = await Promise.all([make(file), readFile(file, "utf8").catch(() => undefined)]);
  if (made === present) continue;
  if (isCheck) {
    console.error(`${name} is stale: run "npm run docs"`);
    process.exitCode = 1;
  } else {
    await writeFile(file, made);
    console.log(`wrote ${name}`);
  }
}
