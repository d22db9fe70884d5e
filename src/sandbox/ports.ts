/**
 * What the execution layer asks of a sandbox, whatever it is made of. `docker/` implements it; tests of the execution layer can too.
 */

import type { Finished } from "../bridge/protocol.ts";
import type { InputFile, OutputFile, Persisted } from "../domain/execution.ts";
import type { EffectivePolicy } from "../domain/runtime.ts";
import type { ToolAnswer, ToolCallRequest, ToolNamespace, ToolProgress } from "../domain/tool-call.ts";
import type { CleanupStack } from "../lib/cleanup-stack.ts";

/** A program with all that it is given. */
export interface Program {
  readonly code: string;
  readonly files: readonly InputFile[];
  readonly stdin: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Patterns of the files to bring back; none if empty. */
  readonly outputFiles: readonly string[];
}

/** Takes what the program prints, as it comes. Must not throw, and must not wait: the stream is never paused. */
export interface OutputSink {
  stdout(chunk: Buffer): void;
  stderr(chunk: Buffer): void;
}

/** Answers the tool calls of one program. */
export interface ToolPort {
  /** What the program finds as functions. */
  readonly namespaces: readonly ToolNamespace[];
  /** One call, begun as soon as there is room for it. Never rejects: a failure is an answer. An aborted call is answered at once. */
  call(
    request: ToolCallRequest,
    options: { readonly signal: AbortSignal; readonly onProgress?: (progress: ToolProgress) => void },
  ): Promise<ToolAnswer>;
  /** The program has ended: what is still under way is nobody's to wait for. */
  programEnded(): void;
}

/** Where there are none: whatever is called is not there. */
export const NO_TOOLS: ToolPort = {
  namespaces: [],
  call: ({ server, tool }) =>
    Promise.resolve({
      ok: false,
      error: {
        code: "TOOL_NOT_FOUND",
        server,
        tool,
        message: `There is no server ${JSON.stringify(server)}: no tools are configured here.`,
      },
    }),
  programEnded: () => undefined,
};

/** What a program has of the host while it runs. */
export interface ProgramHost {
  readonly output: OutputSink;
  readonly tools: ToolPort;
}

export interface SandboxUsage {
  readonly cpuMs: number | null;
  readonly memoryPeakBytes: number | null;
}

/** How a program ended, as far as the sandbox can tell. */
export type SandboxEnd = {
  readonly usage: SandboxUsage;
  /** Streams of which the end was not seen: something may be missing from what reached the sink. */
  readonly incomplete: { readonly stdout: boolean; readonly stderr: boolean };
} & (
  | {
      readonly kind: "finished";
      readonly finished: Finished;
      readonly files: readonly OutputFile[];
      /** `null` where the policy keeps nothing. */
      readonly persisted: Persisted | null;
    }
  /** The container ended without a word from the runner. */
  | { readonly kind: "exited"; readonly exitCode: number; readonly oomKilled: boolean }
  /** The runner's end of the socket broke the protocol or ran over a budget. Nothing it said counts. */
  | { readonly kind: "violation"; readonly reason: string }
  /** The signal was aborted first; the container is killed. */
  | { readonly kind: "stopped" }
);

/** A running sandbox that has not seen anything of a caller yet. Good for one program; closing its clean-up stack kills and removes it. */
export interface Sandbox {
  /** Delivers the program and waits for its end, or for `signal`. To be called once. Throws only when the sandbox itself failed. */
  run(program: Program, host: ProgramHost, signal: AbortSignal): Promise<SandboxEnd>;
}

export interface SandboxProvider {
  /**
   * Starts a sandbox of the policy's shape. Every rule is in force when this resolves. What is acquired on the way goes on `cleanup`, also
   * when this rejects: to be closed by the caller, who need not wait for it.
   *
   * Throws an `AppError` `SANDBOX_UNAVAILABLE` when the engine or the image is missing, and the signal's reason when it is aborted.
   */
  start(executionId: string, policy: EffectivePolicy, signal: AbortSignal, cleanup: CleanupStack): Promise<Sandbox>;
}
