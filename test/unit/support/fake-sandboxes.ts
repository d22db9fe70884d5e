/** Sandboxes that do what a test says, in place of containers: the port between the execution layer and the engine. */

import type { EffectivePolicy } from "../../../src/domain/runtime.ts";
import type { CleanupStack } from "../../../src/lib/cleanup-stack.ts";
import type { OutputSink, Program, Sandbox, SandboxEnd, SandboxProvider } from "../../../src/sandbox/ports.ts";

export type Behaviour = (program: Program, sink: OutputSink, signal: AbortSignal) => Promise<SandboxEnd>;

const NOTHING_KNOWN = { usage: { cpuMs: null, memoryPeakBytes: null }, incomplete: { stdout: false, stderr: false } };

/** The program ended by itself and returned this. */
export const finishes = (result: unknown = null): SandboxEnd => ({
  ...NOTHING_KNOWN,
  kind: "finished",
  finished: { result, error: null, exitCode: 0, denials: [] },
  files: [],
  persisted: null,
});

/** The container ended without a word. */
export const exits = (exitCode: number, oomKilled = false): SandboxEnd => ({ ...NOTHING_KNOWN, kind: "exited", exitCode, oomKilled });

export const violates = (reason: string): SandboxEnd => ({ ...NOTHING_KNOWN, kind: "violation", reason });

export const STOPPED: SandboxEnd = { ...NOTHING_KNOWN, kind: "stopped" };

/** A program that runs until it is stopped. */
export const untilStopped: Behaviour = (_program, _sink, signal) =>
  new Promise((resolve) => {
    if (signal.aborted) resolve(STOPPED);
    signal.addEventListener("abort", () => {
      resolve(STOPPED);
    });
  });

export class FakeSandboxes implements SandboxProvider {
  /** What every program does. */
  behaviour: Behaviour = () => Promise.resolve(finishes());
  /** Awaited before a sandbox starts; may throw. */
  beforeStart: (signal: AbortSignal) => Promise<void> = () => Promise.resolve();
  /** Awaited before a sandbox is gone. */
  beforeGone: () => Promise<void> = () => Promise.resolve();
  readonly started: { readonly executionId: string; readonly policy: EffectivePolicy }[] = [];
  readonly programs: Program[] = [];
  /** Sandboxes that are not removed, now and at most at once. */
  live = 0;
  mostLive = 0;
  /** Sandboxes that were starting at once, at most. */
  mostStarting = 0;
  #starting = 0;

  async start(executionId: string, policy: EffectivePolicy, signal: AbortSignal, cleanup: CleanupStack): Promise<Sandbox> {
    this.#starting += 1;
    this.mostStarting = Math.max(this.mostStarting, this.#starting);
    try {
      await this.beforeStart(signal);
    } finally {
      this.#starting -= 1;
    }
    this.started.push({ executionId, policy });
    this.live += 1;
    this.mostLive = Math.max(this.mostLive, this.live);
    cleanup.defer("remove the fake", async () => {
      await this.beforeGone();
      this.live -= 1;
    });
    return {
      run: (program, { output: sink }, stop) => {
        this.programs.push(program);
        return this.behaviour(program, sink, stop);
      },
    };
  }
}
