/**
 * `code-mode run`: one program in a sandbox of its own, without a service. Its output comes as it is printed, and the exit code is its
 * own.
 */

import { compose } from "../../compose.ts";
import { readEnvironment } from "../../config/environment.ts";
import type { ServiceConfig } from "../../config/environment.ts";
import { loadRuntimes } from "../../config/runtimes-file.ts";
import { AppError } from "../../domain/errors.ts";
import { escapeControls } from "../../domain/escaped-json.ts";
import { executionRequestSchema } from "../../domain/execution.ts";
import type { Execution, ExecutionRequest } from "../../domain/execution.ts";
import { narrow } from "../../domain/narrow.ts";
import type { RuntimeDefinition } from "../../domain/runtime.ts";
import { quotePath } from "../../domain/sandbox-path.ts";
import { problemsOf } from "../../domain/schema-issues.ts";
import { CleanupStack } from "../../lib/cleanup-stack.ts";
import { StopSource } from "../../lib/stop-source.ts";
import { createLogger } from "../../observability/logger.ts";
import { checkInputFiles } from "../../sandbox/docker/workspace-folder.ts";
import { readServers } from "../../tool-servers.ts";
import { exitCodeOfSignal, watchStopSignals } from "../signals.ts";
import type { StopSignals } from "../signals.ts";
import { UsageError } from "../usage-error.ts";
import { describeEnding, EXIT_CODES, exitCodeOf, plainText } from "./ending.ts";
import { grant } from "./grants.ts";
import { InputBudget, readInputs, readProgram, readStdin } from "./host-files.ts";
import { LiveOutput } from "./live-output.ts";
import type { RunOptions } from "./options.ts";
import { OutputFolder } from "./output-folder.ts";

/** Whom the one execution belongs to. */
const CALLER = { name: "command line" };
/** Somebody may have forgotten that stdin is read to its end. */
const STDIN_HINT_MS = 2000;
/** After a signal nobody waits for a reader that takes its time. */
const LAST_OUTPUT_MS = 500;

interface Order {
  readonly config: ServiceConfig;
  readonly runtime: RuntimeDefinition;
  readonly request: ExecutionRequest;
  readonly folder: OutputFolder | undefined;
  readonly json: boolean;
}

/** Runs the program and gives the exit code. Throws a {@link UsageError} or a `StartupError` before anything is started. */
export async function run(file: string, args: readonly string[], options: RunOptions, exit: (code: number) => void): Promise<number> {
  // Until here nothing is held, so a signal may end the process as it likes.
  const order = await prepare(file, args, options);
  const signals = watchStopSignals(exit);
  try {
    return await execute(order, signals);
  } finally {
    signals.close();
  }
}

async function prepare(file: string, args: readonly string[], options: RunOptions): Promise<Order> {
  if (options.output.length > 0 && options.out === undefined && !options.json)
    throw new UsageError("--output PATTERN needs --out FOLDER for the files, or --json");
  const config = readEnvironment({ defaults: { LOG_LEVEL: "warn" } });
  const { runtimes } = await loadRuntimes(config.runtimesFile);
  const runtime = grant(select(runtimes, options.runtime), options);
  refuseLanguage(file, runtime, runtimes);

  const budget = new InputBudget({ maxBytes: config.maxBodyBytes, maxFiles: runtime.limits.defaults.inputFiles });
  const code = await readProgram(file, process.stdin, budget);
  const { files, leftOut } = await readInputs(options.input, budget);
  for (const line of leftOut) say(line);
  const stdin = file === "-" || process.stdin.isTTY ? "" : await readPiped(budget);
  const outputFiles = options.out !== undefined && options.output.length === 0 ? ["**"] : options.output;
  const parsed = executionRequestSchema.safeParse({
    runtime: runtime.name,
    code,
    files,
    stdin,
    args,
    env: options.env,
    outputFiles,
    ...(options.tool === undefined ? {} : { tools: options.tool }),
    ...(options.timeout === undefined ? {} : { timeoutMs: options.timeout }),
    ...(options.memory === undefined ? {} : { limits: { memory: options.memory } }),
  });
  if (!parsed.success) {
    const problems = parsed.error.issues.flatMap((issue) => problemsOf(issue, "is no known field"));
    throw new UsageError(problems.map(({ message, path: at }) => `${nameOf(at, files)}: ${message}`).join("\n"));
  }
  refuseImpossible(parsed.data, runtime);
  const folder = options.out === undefined ? undefined : await OutputFolder.open(options.out, { overwrite: options.overwrite });
  return { config, runtime, request: parsed.data, folder, json: options.json };
}

/** What the manager would refuse, before an engine is asked for anything. */
function refuseImpossible(request: ExecutionRequest, runtime: RuntimeDefinition): void {
  try {
    checkInputFiles(request, narrow(runtime, request));
  } catch (error) {
    throw error instanceof AppError ? new UsageError(error.message) : error;
  }
}

function select(runtimes: ReadonlyMap<string, RuntimeDefinition>, name: string | undefined): RuntimeDefinition {
  const [first] = runtimes.values();
  const runtime = name === undefined ? first : runtimes.get(name);
  if (runtime !== undefined) return runtime;
  throw new UsageError(`--runtime ${name ?? ""}: there is no such runtime. There are: ${[...runtimes.keys()].join(", ")}`);
}

function refuseLanguage(file: string, runtime: RuntimeDefinition, runtimes: ReadonlyMap<string, RuntimeDefinition>): void {
  if (runtime.language === "typescript" || !/\.[cm]?ts$/i.test(file)) return;
  const others = [...runtimes.values()].filter(({ language }) => language === "typescript").map(({ name }) => name);
  const hint = others.length === 0 ? 'Set its "language" to "typescript"' : `Use --runtime with one of: ${others.join(", ")}`;
  throw new UsageError(`${file}: is TypeScript, and the runtime "${runtime.name}" takes JavaScript. ${hint}`);
}

/** Which thing of the command line a problem of the request is about. */
function nameOf(at: readonly string[], files: readonly { readonly path: string }[]): string {
  const [field, index = ""] = at;
  if (field === "files") return `--input ${files[Number(index)]?.path ?? ""}`;
  return (
    { code: "the program", outputFiles: "--output", timeoutMs: "--timeout", limits: "--memory", env: "--env", tools: "--tool" }[
      field ?? ""
    ] ?? at.join(".")
  );
}

async function readPiped(budget: InputBudget): Promise<string> {
  const timer = setTimeout(() => {
    say("waiting for the end of stdin; `< /dev/null` gives the program none");
  }, STDIN_HINT_MS);
  try {
    return await readStdin(process.stdin, budget);
  } finally {
    clearTimeout(timer);
  }
}

async function execute(order: Order, signals: StopSignals): Promise<number> {
  const { config, json, runtime } = order;
  const logger = createLogger({ level: config.logLevel, pretty: process.stderr.isTTY });
  const cleanup = new CleanupStack({
    onError: (step, error) => {
      logger.error({ step, err: error }, "clean-up step failed");
    },
  });
  const stop = new StopSource().follow(signals.aborted);
  let broken: NodeJS.ErrnoException | undefined;
  const output = new LiveOutput({
    stdout: process.stdout,
    stderr: process.stderr,
    onBroken: (error) => {
      broken = error;
      stop.abort(error);
    },
  });
  try {
    const runtimes = new Map([[runtime.name, runtime]]);
    const servers = await readServers(config, runtimes, logger);
    const { manager } = await compose({ config, runtimes, servers, connect: "onCall", logger }, cleanup);
    const execution = await manager.execute(order.request, {
      caller: CALLER,
      signal: stop.signal,
      ...(json ? {} : { output }),
    });
    const exitCode = await deliver(execution, order, output);
    await Promise.race([output.flushed(), afterSignal(signals)]);
    if (signals.received !== undefined) return exitCodeOfSignal(signals.received);
    if (broken !== undefined) return explainBroken(broken);
    return exitCode;
  } catch (error) {
    return explainRefusal(error);
  } finally {
    stop.close();
    await cleanup.close();
  }
}

/** Everything that there is to say and to write at the end. Gives the exit code. */
async function deliver(execution: Execution, { folder, json, request, runtime }: Order, output: LiveOutput): Promise<number> {
  const problems = folder === undefined ? [] : await folder.write(execution.files);
  for (const { error, path } of execution.persisted?.errors ?? []) problems.push(`not kept: ${quotePath(path)}: ${error}`);
  const spaces = process.stdout.isTTY ? 2 : undefined;
  if (json) output.resultLine(escapeControls(JSON.stringify(execution, undefined, spaces)));
  else {
    if (execution.result !== null) output.resultLine(escapeControls(JSON.stringify(execution.result, undefined, spaces)));
    const printedBytes = { stdout: output.bytes("stdout"), stderr: output.bytes("stderr") };
    const { outputBytes: keptBytes, timeoutMs } = runtime.limits.defaults;
    const { error, notes } = describeEnding(execution, { printedBytes, keptBytes, timeoutMs: request.timeoutMs ?? timeoutMs });
    if (error !== undefined) output.note(error);
    for (const note of notes) output.note(`code-mode: ${note}`);
  }
  for (const problem of problems) output.note(`code-mode: ${plainText(problem)}`);
  const exitCode = exitCodeOf(execution);
  return exitCode === 0 && problems.length > 0 ? EXIT_CODES.notWritten : exitCode;
}

function explainBroken(error: NodeJS.ErrnoException): number {
  if (error.code === "EPIPE") return EXIT_CODES.brokenPipe;
  say(`stdout cannot be written: ${error.message}`);
  return EXIT_CODES.notRun;
}

/** An execution that could not be started, since the engine failed. Anything else is not for this place. */
function explainRefusal(error: unknown): number {
  if (!(error instanceof AppError)) throw error;
  say(error.message);
  return EXIT_CODES.notRun;
}

/** Some time after the first signal; never without one. */
function afterSignal({ aborted }: StopSignals): Promise<void> {
  return new Promise((resolve) => {
    const wait = (): void => {
      setTimeout(resolve, LAST_OUTPUT_MS);
    };
    if (aborted.aborted) wait();
    else aborted.addEventListener("abort", wait, { once: true });
  });
}

const say = (line: string): void => {
  process.stderr.write(`code-mode: ${plainText(line)}\n`);
};
