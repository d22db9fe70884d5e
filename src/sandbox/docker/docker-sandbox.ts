/**
 * One running sandbox: a container whose runner is connected and has seen nothing of a caller yet.
 *
 * `run` delivers the program and watches three things at once: the runner's socket, the attach stream, and the caller's signal. The
 * first that says "over" decides; what is left of the output is still collected, for a bounded time.
 */

import { randomBytes } from "node:crypto";

import type Docker from "dockerode";

import { ArchiveReader } from "../../bridge/archive-reader.ts";
import { inTurns } from "../../bridge/in-turns.ts";
import { archivedSchema, finishedSchema, SANDBOX_PATHS } from "../../bridge/protocol.ts";
import type { CloseParams, CollectParams, ExecuteParams, Finished } from "../../bridge/protocol.ts";
import type { RunnerConnection } from "../../bridge/runner-connection.ts";
import { ToolCalls } from "../../bridge/tool-calls.ts";
import type { OutputFile } from "../../domain/execution.ts";
import type { EffectivePolicy } from "../../domain/runtime.ts";
import { within } from "../../lib/deadline.ts";
import type { Program, ProgramHost, Sandbox, SandboxEnd, SandboxUsage } from "../ports.ts";
import type { AttachStream } from "./attach-stream.ts";
import { COMMAND_FOLDERS } from "./image/file-pool.ts";
import { readCgroupUsage } from "./cgroup-usage.ts";
import type { Persistence } from "./persist/persistence.ts";
import type { Received, RunnerInbox } from "./runner-inbox.ts";
import { describeSkipped } from "./skipped-files.ts";
import { splitInputFiles, writeInputFiles } from "./workspace-folder.ts";

/** How long calls of tools that the program did not wait for may still take once its result is there. Its deadline stands all the same. */
const UNAWAITED_GRACE_MS = 5000;
/** How long the program's exit handlers and last output may take once its result is there. Its deadline stands all the same. */
const DRAIN_TIMEOUT_MS = 2000;
/** How long the engine may take to hand over the last output of a container that is dead. */
const LAST_OUTPUT_TIMEOUT_MS = 1000;
const MARKER_BYTES = 24;

const NO_USAGE: SandboxUsage = { cpuMs: null, memoryPeakBytes: null };

export interface DockerSandboxDeps {
  readonly container: Docker.Container;
  readonly connection: RunnerConnection;
  readonly inbox: RunnerInbox;
  readonly attach: AttachStream;
  readonly policy: EffectivePolicy;
  readonly workspace: string;
  /** `undefined` where the policy keeps nothing. */
  readonly persistence: Persistence | undefined;
}

/** A program whose runner told the result. */
interface Ended {
  readonly program: Program;
  readonly finished: Finished;
  readonly usage: SandboxUsage;
}

export class DockerSandbox implements Sandbox {
  readonly #deps: DockerSandboxDeps;

  constructor(deps: DockerSandboxDeps) {
    this.#deps = deps;
  }

  async run(program: Program, host: ProgramHost, signal: AbortSignal): Promise<SandboxEnd> {
    const { attach, connection, container, inbox } = this.#deps;
    const stopped = new Promise<"stopped">((resolve) => {
      if (signal.aborted) resolve("stopped");
      signal.addEventListener("abort", () => {
        resolve("stopped");
      });
    });
    const calls = new ToolCalls({ port: host.tools, connection });
    inbox.expectToolCalls(calls);
    void this.#abortWhenDead(calls);
    try {
      await this.#deliver(program, host);
      const first = await Promise.race([stopped, inbox.finished, inbox.closed]);
      if (first === "stopped") {
        calls.abort();
        return await this.#stop();
      }
      if ("violation" in first) return await (first.violation === undefined ? this.#awaitExit(stopped) : this.#violated(first.violation));

      const parsed = finishedSchema.safeParse(first.params);
      if (!parsed.success) return await this.#violated("the sandbox sent a result of the wrong form");
      host.tools.programEnded();
      // The cgroup is gone once the runner has exited, which it does only after it was told to.
      const usage = await readCgroupUsage(container.id);
      await Promise.race([calls.settle(UNAWAITED_GRACE_MS), stopped, inbox.closed]);
      return await this.#finish({ finished: parsed.data, program, usage }, stopped);
    } finally {
      calls.abort();
      connection.close();
      attach.finish();
    }
  }

  /** Reading may wait for calls to end, and would notice only then that the program is gone. The engine knows it before. */
  async #abortWhenDead(calls: ToolCalls): Promise<void> {
    await this.#deps.attach.ended;
    // A program can close its streams and live on.
    if (!calls.isOver) await this.#deps.container.wait().catch(() => undefined);
    calls.abort();
  }

  async #deliver(program: Program, { output, tools }: ProgramHost): Promise<void> {
    const { attach, connection, policy, workspace } = this.#deps;
    const files = splitInputFiles(program.files, policy.permissions);
    await writeInputFiles(workspace, files.readOnly);
    attach.deliverTo(output);
    attach.sendStdin(program.stdin);
    const params: ExecuteParams = {
      code: program.code,
      language: policy.language,
      files: files.writable,
      args: program.args,
      env: { ...standardEnvironment(policy), ...program.env },
      allowedModules: policy.guards.allowedModules,
      denyCodeGeneration: policy.guards.denyCodeGeneration,
      maxResultBytes: policy.limits.resultBytes,
      writable: policy.permissions.fileSystem.write.map(({ path }) => path),
      tools: tools.namespaces,
    };
    connection.notify("execute", params);
  }

  /** The runner told the result. Collects the files to keep, output files and the rest of the output. */
  async #finish({ finished, program, usage }: Ended, stopped: Promise<"stopped">): Promise<SandboxEnd> {
    const { attach, connection, inbox, persistence } = this.#deps;
    const marker = randomBytes(MARKER_BYTES).toString("hex");
    // Those to keep come first: the service holds no output files yet while it waits for the disk.
    const kept = persistence && inbox.expectArchive((chunk) => persistence.take(chunk));
    const collect = this.#outputFiles(program);
    const output = collect && new ArchiveReader(collect);
    const sent =
      output &&
      inbox.expectArchive((chunk) =>
        inTurns(chunk, (slice) => {
          output.push(slice);
        }),
      );
    const drained = attach.drained(marker);
    const params: CloseParams = { marker, archives: [persistence?.collect, collect].filter((archive) => archive !== undefined) };
    connection.notify("close", params);

    // Sending many files may take longer than the last output; only the deadline bounds it.
    const ended = async (archived: Promise<Received>): Promise<unknown> => {
      const first = await Promise.race([archived, stopped, inbox.closed]);
      return first !== "stopped" && "params" in first ? first.params : undefined;
    };
    const persisted = persistence && kept ? await persistence.finish(await ended(kept)) : null;
    const files = output && sent ? this.#describeFiles(output, await ended(sent)) : [];
    await within(Promise.race([drained, stopped]), DRAIN_TIMEOUT_MS, "the last output").catch(() => undefined);
    return { kind: "finished", finished, files, persisted, usage, incomplete: attach.incomplete };
  }

  #outputFiles(program: Program): CollectParams | undefined {
    const { limits, permissions } = this.#deps.policy;
    if (program.outputFiles.length === 0) return undefined;
    const roots = permissions.fileSystem.write.map(({ path }) => path);
    return { roots, patterns: program.outputFiles, folders: false, maxFiles: limits.outputFiles, maxBytes: limits.outputFileBytes };
  }

  /** The output files that came, those that were refused, and those that the runner left out. */
  #describeFiles(archive: ArchiveReader, archived: unknown): OutputFile[] {
    const { limits } = this.#deps.policy;
    const files = archive.finish();
    const report = archived === undefined ? undefined : archivedSchema.safeParse(archived).data;
    if (report === undefined)
      return [...files, { path: "*", size: null, error: "the program ended before all of its output files were sent" }];
    return [...files, ...describeSkipped(report, { files: limits.outputFiles, bytes: limits.outputFileBytes })];
  }

  /** The socket is closed and no result came: the program ended its process, or was killed. The engine knows how. */
  async #awaitExit(stopped: Promise<"stopped">): Promise<SandboxEnd> {
    const { attach, container } = this.#deps;
    const exited = container.wait() as Promise<{ StatusCode: number }>;
    exited.catch(() => undefined);
    const first = await Promise.race([stopped, exited]);
    if (first === "stopped") return this.#stop();
    await within(attach.ended, LAST_OUTPUT_TIMEOUT_MS, "the last output").catch(() => undefined);
    const { State } = await container.inspect();
    return { kind: "exited", exitCode: first.StatusCode, oomKilled: State.OOMKilled, usage: NO_USAGE, incomplete: attach.incomplete };
  }

  async #stop(): Promise<SandboxEnd> {
    const usage = await readCgroupUsage(this.#deps.container.id);
    await this.#kill();
    return { kind: "stopped", usage, incomplete: this.#deps.attach.incomplete };
  }

  async #violated(reason: string): Promise<SandboxEnd> {
    const usage = await readCgroupUsage(this.#deps.container.id);
    await this.#kill();
    return { kind: "violation", reason, usage, incomplete: this.#deps.attach.incomplete };
  }

  /** Kills the container and takes in what it had printed. The engine's refusal means that it is dead already. */
  async #kill(): Promise<void> {
    const { attach, container } = this.#deps;
    await container.kill({ signal: "SIGKILL" }).catch(() => undefined);
    await within(attach.ended, LAST_OUTPUT_TIMEOUT_MS, "the last output").catch(() => undefined);
  }
}

/** Where commands are: Node's folder, and those of Debian's packages. */
const COMMAND_PATH = ["/usr/local/bin", ...COMMAND_FOLDERS.map((folder) => `/${folder}`)].join(":");

/** What every program finds in its environment; a request can override it. Nothing of the host's or the service's is in it. */
function standardEnvironment({ permissions }: EffectivePolicy): Record<string, string> {
  const [writable] = permissions.fileSystem.write;
  const folder = writable === undefined ? SANDBOX_PATHS.workspace : `${SANDBOX_PATHS.workspace}/${writable.path}`;
  const path = permissions.system.maxProcesses === 1 ? {} : { PATH: COMMAND_PATH };
  return { HOME: folder, TMPDIR: folder, LANG: "C.UTF-8", ...path };
}
