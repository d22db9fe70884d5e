/**
 * Starts sandboxes as Docker containers: the only way in which one comes to be.
 *
 * Everything acquired on the way (user id, folders, socket, container, attach stream) goes on the caller's clean-up stack at once.
 * Limits, mounts and filters are in force before the runner answers; nothing of a caller is there yet.
 */

import { chmod, unlink } from "node:fs/promises";
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import path from "node:path";

import type Docker from "dockerode";
import type { Logger } from "pino";

import { maxArchiveBytes } from "../../bridge/archive-reader.ts";
import { inspectResultSchema, readySchema, SANDBOX_PATHS, TOOL_CAPS } from "../../bridge/protocol.ts";
import type { InspectParams } from "../../bridge/protocol.ts";
import { RunnerConnection } from "../../bridge/runner-connection.ts";
import type { RunnerConnectionLimits } from "../../bridge/runner-connection.ts";
import { TOOL_CALL_LIMITS } from "../../bridge/tool-calls.ts";
import { AppError } from "../../domain/errors.ts";
import type { ImageSpec } from "../../domain/image-spec.ts";
import type { EffectivePolicy } from "../../domain/runtime.ts";
import type { CleanupStack } from "../../lib/cleanup-stack.ts";
import { within } from "../../lib/deadline.ts";
import type { Sandbox, SandboxProvider } from "../ports.ts";
import { AttachStream } from "./attach-stream.ts";
import type { HijackedStream } from "./attach-stream.ts";
import type { ContainerRemover } from "./container-remover.ts";
import { compileContainer } from "./container-config.ts";
import type { BoundDirectory } from "./container-config.ts";
import { DockerSandbox } from "./docker-sandbox.ts";
import { createContainer, neverReached, sandboxUnavailable } from "./engine.ts";
import type { UsableImage } from "./image/executable-groups.ts";
import { LABEL } from "./labels.ts";
import { Persistence } from "./persist/persistence.ts";
import { ReadablePathError, resolveReadable } from "./readable-paths.ts";
import type { ReadablePath } from "./readable-paths.ts";
import { listen } from "./run-directory.ts";
import type { ExecutionDirectory, RunDirectory } from "./run-directory.ts";
import { RunnerInbox } from "./runner-inbox.ts";
import type { Architecture } from "./seccomp.ts";
import { copySnapshot } from "./snapshot.ts";
import type { UidLease } from "./uid-lease.ts";
import { makeMountPoints } from "./workspace-folder.ts";

/** How long a container may take until its runner answers. */
const READY_TIMEOUT_MS = 30_000;
/** How long a single engine call may take; the call itself goes on. */
const ENGINE_TIMEOUT_MS = 60_000;
/** Room in a frame for what is around a result or arguments: the error, names, the envelope, and text that JSON escapes. */
const FRAME_SLACK_BYTES = 512 * 2 ** 10;

export interface DockerProviderDeps {
  readonly docker: Docker;
  readonly remover: ContainerRemover;
  readonly architecture: Architecture;
  /** The image that a specification names, or `undefined` when it is not there. */
  readonly imageFor: (image: ImageSpec) => UsableImage | undefined;
  readonly runDirectory: RunDirectory;
  readonly uids: UidLease;
  readonly workspaceRoot: string;
  readonly logger: Pick<Logger, "warn">;
  readonly labels: Readonly<Record<string, string>>;
}

/** How the mounts of an execution come about. */
interface MountPlan {
  readonly directories: readonly BoundDirectory[];
  /** Bound read paths, whose identity is compared once they are mounted. */
  readonly bound: readonly ReadablePath[];
}

export class DockerSandboxProvider implements SandboxProvider {
  readonly #deps: DockerProviderDeps;

  constructor(deps: DockerProviderDeps) {
    this.#deps = deps;
  }

  async start(executionId: string, policy: EffectivePolicy, signal: AbortSignal, cleanup: CleanupStack): Promise<Sandbox> {
    try {
      return await this.#start(executionId, policy, signal, cleanup);
    } catch (error) {
      signal.throwIfAborted();
      throw sandboxUnavailable(error);
    }
  }

  async #start(executionId: string, policy: EffectivePolicy, signal: AbortSignal, cleanup: CleanupStack): Promise<Sandbox> {
    const { architecture, docker, imageFor, labels, remover, runDirectory, uids } = this.#deps;
    const image = imageFor(policy.image);
    if (image === undefined) throw sandboxUnavailable({ statusCode: 404 });
    const lease = uids.take();
    if (lease === undefined)
      throw new AppError({ code: "SANDBOX_UNAVAILABLE", message: "All sandbox user ids are in use.", retryAfterSeconds: 1 });
    cleanup.defer("release the user id", () => {
      lease.release();
    });

    const directory = await runDirectory.createExecution(executionId);
    cleanup.defer("remove the execution's folder", () => runDirectory.removeExecution(executionId));
    const plan = await this.#planMounts(directory, policy);
    const { connected } = await acceptOne(path.join(directory.sockets, path.basename(SANDBOX_PATHS.toolsSocket)), cleanup);

    const name = `code-mode-${executionId}`;
    const options = compileContainer({
      policy,
      imageId: image.id,
      executableGroups: image.groups,
      architecture,
      uid: lease.uid,
      labels: { ...labels, [LABEL.kind]: "sandbox", [LABEL.execution]: executionId },
      directories: plan.directories,
      etcFiles: runDirectory.etcFiles,
    });
    signal.throwIfAborted();
    const creating = createContainer(docker, name, options);
    // A create that fails half-way, or answers late, may still have made the container.
    cleanup.defer("remove the container", async () => {
      const failure = await creating.then(
        () => undefined,
        (error: unknown) => error,
      );
      if (!neverReached(failure)) await remover.remove(name);
    });
    const container = await within(creating, ENGINE_TIMEOUT_MS, "creating the container");
    signal.throwIfAborted();

    const attach = new AttachStream(
      (await within(
        container.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true }),
        ENGINE_TIMEOUT_MS,
        "attaching to the container",
      )) as HijackedStream,
    );
    cleanup.defer("close the attach stream", () => {
      attach.destroy();
    });
    const starting = container.start() as Promise<unknown>;
    cleanup.defer("await the start call", () => starting.catch(() => undefined));
    await within(starting, ENGINE_TIMEOUT_MS, "starting the container");

    const inbox = new RunnerInbox();
    const socket = await firstOf(signal, [connected, exitedEarly(attach)], READY_TIMEOUT_MS);
    const connection = new RunnerConnection(socket, connectionLimits(policy), inbox);
    inbox.bind(connection);
    cleanup.defer("close the runner's connection", () => {
      connection.close();
    });
    const ready = await firstOf(signal, [inbox.ready, exitedEarly(attach)], READY_TIMEOUT_MS);
    readySchema.parse(ready.params);
    await verifyMounts(connection, plan.bound);
    signal.throwIfAborted();
    const { logger, workspaceRoot } = this.#deps;
    const persistence = Persistence.for({ policy, executionId, executionRoot: directory.root, workspaceRoot, logger });
    cleanup.defer("remove the files that were to be kept", async () => persistence?.close());
    return new DockerSandbox({ container, connection, inbox, attach, policy, workspace: directory.workspace, persistence });
  }

  /** Resolves what the policy makes readable and prepares the workspace folder that it is mounted on. */
  async #planMounts(directory: ExecutionDirectory, policy: EffectivePolicy): Promise<MountPlan> {
    const { workspaceRoot } = this.#deps;
    const { read, write } = policy.permissions.fileSystem;
    const bound: ReadablePath[] = [];
    for (const entry of read) {
      const readable = await resolveReadable(workspaceRoot, entry.path).catch((error: unknown) => refuseReadable(entry.path, error));
      // A single file cannot be a noexec mount of its own, so it is copied like a snapshot.
      if (!entry.snapshot && readable.kind === "directory") {
        bound.push(readable);
        continue;
      }
      await makeMountPoints(directory.workspace, [path.dirname(entry.path)]);
      await copySnapshot(readable, path.join(directory.workspace, entry.path));
    }
    await makeMountPoints(directory.workspace, [...bound.map((readable) => readable.path), ...write.map((entry) => entry.path)]);
    const workspaceSource = bound.find((readable) => readable.path === ".")?.source ?? directory.workspace;
    return {
      bound,
      directories: [
        { source: directory.sockets, target: path.dirname(SANDBOX_PATHS.toolsSocket) },
        { source: workspaceSource, target: SANDBOX_PATHS.workspace },
        ...bound
          .filter((readable) => readable.path !== ".")
          .map(({ source, path: target }) => ({ source, target: insideWorkspace(target) })),
      ],
    };
  }
}

/** In words for the caller, who may have named the path to narrow the runtime's; without paths of the host. */
function refuseReadable(path: string, error: unknown): never {
  if (!(error instanceof ReadablePathError)) throw error;
  const where = `The readable path "${path}"`;
  throw error.missing
    ? new AppError({ code: "INVALID_REQUEST", message: `${where} does not exist in the workspace.`, cause: error })
    : new AppError({ code: "SANDBOX_UNAVAILABLE", message: `${where} cannot be mounted; the service's log says why.`, cause: error });
}

const insideWorkspace = (workspacePath: string): string => path.posix.join(SANDBOX_PATHS.workspace, workspacePath);

/** Listens for exactly one connection; the listener is gone as soon as it is there. */
async function acceptOne(socketPath: string, cleanup: CleanupStack): Promise<{ connected: Promise<Socket> }> {
  const server: Server = createServer({ pauseOnConnect: true });
  server.maxConnections = 1;
  cleanup.defer("close the listener", () => {
    server.close();
  });
  await listen(server, socketPath);
  // Any user id: the mount decides who sees it, not the mode.
  await chmod(socketPath, 0o666);
  const connected = new Promise<Socket>((resolve) => {
    server.once("connection", (socket) => {
      server.close();
      unlink(socketPath).catch(() => undefined);
      resolve(socket);
    });
  });
  // In an object, since a promise of a promise would wait for both.
  return { connected };
}

/** Rejects when the container is over before anything was delivered to it. */
function exitedEarly(attach: AttachStream): Promise<never> {
  return attach.ended.then(() => {
    throw new Error("the container ended before its runner was ready");
  });
}

/** The first of the promises; rejects with the signal's reason, or after `timeoutMs`. */
async function firstOf<T>(signal: AbortSignal, promises: readonly Promise<T>[], timeoutMs: number): Promise<T> {
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => {
      reject(signal.reason as Error);
    };
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await within(Promise.race([aborted, ...promises]), timeoutMs, "the start of the sandbox");
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** Compares what got mounted with what was checked: a folder can be swapped for a link in between. */
async function verifyMounts(connection: RunnerConnection, bound: readonly ReadablePath[]): Promise<void> {
  const params: InspectParams = { paths: bound.map((readable) => insideWorkspace(readable.path)) };
  const answer = await within(connection.request("inspect", params), READY_TIMEOUT_MS, "the inspection of the mounts");
  const { identities } = inspectResultSchema.parse(answer);
  bound.forEach((readable, index) => {
    const identity = identities[index];
    if (identity === undefined || "error" in identity || identity.device !== readable.device || identity.inode !== readable.inode) {
      throw new AppError({
        code: "SANDBOX_UNAVAILABLE",
        message: `The readable path "${readable.path}" changed while the sandbox started. Try again.`,
        retryAfterSeconds: 1,
      });
    }
  });
}

/** Budgets of one execution's socket: what its policy can honestly need, and not much more. */
function connectionLimits({ limits }: EffectivePolicy): RunnerConnectionLimits {
  const archiveBytes =
    maxArchiveBytes({ maxFiles: limits.outputFiles, maxBytes: limits.outputFileBytes }) +
    maxArchiveBytes({ maxFiles: limits.persistFiles, maxBytes: limits.persistBytes });
  const totalBytes = limits.resultBytes + 2 * FRAME_SLACK_BYTES + archiveBytes + TOOL_CALL_LIMITS.bytes.total;
  // Arguments are JSON inside of JSON: each quotation mark and backslash is two characters.
  const largestBytes = Math.max(limits.resultBytes, 2 * TOOL_CAPS.argumentBytes);
  return {
    maxFrameBytes: largestBytes + FRAME_SLACK_BYTES,
    frames: { burst: 1000, perSecond: 2000, total: 1_000_000 },
    bytes: { burst: 64 * 2 ** 20, perSecond: 256 * 2 ** 20, total: totalBytes },
    maxUnsentBytes: 4 * 2 ** 20,
  };
}
