/**
 * `make demo`: starts the service, sends it the programs of examples/first over HTTP, shows what came back, and stops it. Then the same
 * for examples/tools, with the MCP servers of its configuration.
 *
 * Fails when the first program gives no result, when anything that the second one tries works, or when the third does not find what it
 * stored before.
 */

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import { z } from "zod";

import { executionSchema } from "../src/domain/execution.ts";
import type { Execution } from "../src/domain/execution.ts";
import { StopSource } from "../src/lib/stop-source.ts";
import { startService } from "./lib/service-process.ts";
import type { ServiceProcess } from "./lib/service-process.ts";

const root = path.join(import.meta.dirname, "..");
const REQUEST_WITHIN_MS = 120_000;

const pathEntry = z.union([z.string(), z.looseObject({ path: z.string() }).transform((entry) => entry.path)]);
const runtimeSchema = z.looseObject({
  name: z.string(),
  permissions: z.looseObject({
    fileSystem: z.looseObject({ read: z.array(pathEntry), write: z.array(pathEntry) }),
    network: z.looseObject({ allowedHosts: z.array(z.string()) }),
    system: z.looseObject({ allowedCommands: z.array(z.string()), maxProcesses: z.number() }),
  }),
});
const runtimesSchema = z.looseObject({ runtimes: z.array(runtimeSchema) });
const attemptsSchema = z.array(z.object({ what: z.string(), refused: z.string().nullable() }));

const notesSchema = z.object({
  added: z.array(z.string()),
  incidents: z.array(z.string()),
  toDo: z.array(z.string()),
  changingANote: z.string(),
});

const example = (name: string, folder = "first"): Promise<string> => readFile(path.join(root, "examples", folder, name), "utf8");
const colour = (code: number, text: string): string => (process.stdout.isTTY ? `\u001b[${code}m${text}\u001b[0m` : text);
const heading = (text: string): void => console.log(`\n${colour(1, text)}\n`);
const indented = (text: string): string => text.trimEnd().replaceAll(/^(?=.)/gm, "    ");
const listed = (entries: readonly string[]): string => (entries.length === 0 ? "none" : entries.join(", "));

async function call(url: string, signal: AbortSignal, body?: object): Promise<unknown> {
  const stop = new StopSource()
    .follow(signal)
    .abortAfter(REQUEST_WITHIN_MS, () => new Error(`${url} gave no answer within ${REQUEST_WITHIN_MS / 1000} s`));
  try {
    const response = await fetch(url, {
      method: body === undefined ? "GET" : "POST",
      signal: stop.signal,
      ...(body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${url} answered ${response.status}: ${text}`);
    return JSON.parse(text);
  } finally {
    stop.close();
  }
}

async function execute(service: ServiceProcess, signal: AbortSignal, request: object): Promise<Execution> {
  const execution = executionSchema.parse(await call(`${service.url}/v1/executions`, signal, request));
  if (execution.status === "completed") return execution;
  const { status, error, stdout, stderr } = execution;
  throw new Error([`The program ended as "${status}".`, error?.stack ?? "", stdout, stderr].filter((text) => text !== "").join("\n"));
}

async function compute(service: ServiceProcess, signal: AbortSignal): Promise<void> {
  const [code, sales] = await Promise.all([example("program.ts"), example("sales.csv")]);
  heading(`1. A program and its input are sent to ${service.url}/v1/executions`);
  console.log(`    code: examples/first/program.ts, ${code.split("\n").length - 1} lines`);
  console.log(`    file: in/sales.csv, ${sales.split("\n").length - 2} orders`);
  const request = { code, files: [{ path: "in/sales.csv", content: sales }], outputFiles: ["temp/**"] };
  const execution = await execute(service, signal, request);
  const report = execution.files.find((file) => file.path === "temp/report.md");
  if (report === undefined || !("content" in report)) throw new Error(`The program wrote no report: ${JSON.stringify(execution.files)}`);

  const { startMs, runMs, totalMs } = execution.usage;
  heading(`   It printed`);
  console.log(indented(execution.stdout));
  heading("   It returned");
  console.log(indented(JSON.stringify(execution.result, undefined, 2)));
  heading("   It wrote temp/report.md, which came back with the answer");
  console.log(indented(report.content));
  heading("   It took");
  console.log(`    ${totalMs.toFixed(0)} ms: ${startMs.toFixed(0)} for the container, ${runMs.toFixed(0)} for the program`);
  await showPermissions(service, signal, execution.runtime);
}

async function showPermissions(service: ServiceProcess, signal: AbortSignal, name: string): Promise<void> {
  const { runtimes } = runtimesSchema.parse(await call(`${service.url}/v1/runtimes`, signal));
  const permissions = runtimes.find((runtime) => runtime.name === name)?.permissions;
  if (permissions === undefined) throw new Error(`GET /v1/runtimes does not list the runtime ${name}`);
  const { fileSystem, network, system } = permissions;
  heading(`   It was allowed (config/runtimes.json, runtime "${name}")`);
  console.log(`    to read        ${listed(fileSystem.read)} of the workspace folder, and its input`);
  console.log(`    to write       ${listed(fileSystem.write)}, in memory, gone with the container`);
  console.log(`    to connect to  ${listed(network.allowedHosts)}`);
  console.log(`    to run         ${listed(system.allowedCommands)}; processes at once: ${system.maxProcesses}`);
}

/** Why each attempt of harm.ts must fail, in its order. */
const DEFENCES = [
  "The root file system there is the sandbox image; the host's files are not in it.",
  "The sandbox has no network, and its seccomp filter refuses TCP sockets even on the loopback of its own.",
  "The seccomp filter of a runtime with one process refuses to make another.",
];

async function harm(service: ServiceProcess, signal: AbortSignal): Promise<void> {
  heading("2. A program that means harm: examples/first/harm.ts");
  const execution = await execute(service, signal, { code: await example("harm.ts"), args: [String(service.port)] });
  const attempts = attemptsSchema.parse(execution.result);
  for (const [index, { what, refused }] of attempts.entries()) {
    console.log(`    It tried to ${what}.`);
    console.log(`        ${refused === null ? colour(31, "IT WORKED") : `${colour(32, "refused")}: ${refused}`}`);
    console.log(`        ${DEFENCES[index] ?? ""}\n`);
  }
  if (attempts.length !== DEFENCES.length || attempts.some(({ refused }) => refused === null)) throw new Error("The sandbox did not hold.");
}

/** Runs the program of examples/tools and gives its result. */
async function summarizeNotes(service: ServiceProcess, signal: AbortSignal): Promise<z.infer<typeof notesSchema>> {
  const execution = await execute(service, signal, { code: await example("program.ts", "tools") });
  const result = notesSchema.parse(execution.result);
  console.log(indented(execution.stdout));
  for (const { durationMs, errorCode, outcome, server, tool } of execution.toolCalls) {
    const how = errorCode === undefined ? outcome : `${outcome}, ${errorCode}`;
    console.log(`        ${`${server}.${tool}`.padEnd(24)} ${how} ${durationMs.toFixed(0).padStart(4)} ms`);
  }
  if (result.changingANote !== "TOOL_DENIED") throw new Error(`Changing a note was not denied: ${result.changingANote}`);
  return result;
}

async function useTools(signal: AbortSignal): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), "code-mode-"));
  try {
    const example = path.join(root, "examples/tools");
    const env = {
      CODE_MODE_CONFIG_DIR: example,
      CODE_MODE_WORKSPACE_ROOT: example,
      EXAMPLE_MEMORY_FILE: path.join(folder, "memory.jsonl"),
    };
    const service = await startService({ root, signal, env });
    try {
      heading("3. A program that calls the tools of two MCP servers: examples/tools/program.ts");
      const first = await summarizeNotes(service, signal);
      heading("   It read the notes, stored what they are about, and returned");
      console.log(indented([...first.incidents, ...first.toDo.map((task) => `    ${task}`)].join("\n")));
      heading("   The second time it finds in the memory what it stored");
      const second = await summarizeNotes(service, signal);
      if (first.added.length === 0 || second.added.length > 0) throw new Error("The memory does not hold what was stored.");
      console.log("");
    } finally {
      await service.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function demo(signal: AbortSignal): Promise<void> {
  const service = await startService({ root, signal });
  try {
    await compute(service, signal);
    await harm(service, signal);
  } finally {
    await service.stop();
  }
  await useTools(signal);
  console.log("The service is stopped. Start your own with: make start");
}

const interruption = new AbortController();
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(name, () => interruption.abort(new Error(`interrupted by ${name}`)));
}
await demo(interruption.signal).catch((error: unknown) => {
  const message = error instanceof Error ? error.message : String(error);
  console.error(interruption.signal.aborted ? "\nInterrupted. The service is stopped." : `\nThe demo failed. ${message}`);
  process.exitCode = 1;
});
