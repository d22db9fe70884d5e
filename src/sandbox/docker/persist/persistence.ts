/**
 * Keeps what a program left in the folders of its policy that have `persist`: takes their archive from the sandbox, stages it on the
 * disk, and moves the files to the workspace once it is whole. Over a cap, or when something is missing, nothing is kept.
 */

import type { Logger } from "pino";

import { inTurns } from "../../../bridge/in-turns.ts";
import { PersistReader } from "../../../bridge/persist-reader.ts";
import { archivedSchema } from "../../../bridge/protocol.ts";
import type { Archived, CollectParams } from "../../../bridge/protocol.ts";
import type { Persisted } from "../../../domain/execution.ts";
import type { EffectivePolicy } from "../../../domain/runtime.ts";
import { describeSkipped } from "../skipped-files.ts";
import { commit } from "./commit.ts";
import { explain, PersistError } from "./host-folder.ts";
import { Staging } from "./staging.ts";

/** Failures that are told one by one; of more, the number. */
const MAX_ERRORS = 1000;

export interface PersistenceDeps {
  readonly policy: EffectivePolicy;
  readonly executionId: string;
  /** The execution's own folder in the run directory. */
  readonly executionRoot: string;
  readonly workspaceRoot: string;
  readonly logger: Pick<Logger, "warn">;
}

export class Persistence {
  readonly #deps: PersistenceDeps;
  readonly #reader: PersistReader;
  readonly #staging: Staging;
  readonly #folders: string[] = [];
  #taking: Promise<void> = Promise.resolve();
  #failure: string | undefined;

  private constructor(deps: PersistenceDeps, roots: readonly string[]) {
    this.#deps = deps;
    const { executionId, executionRoot, logger, policy, workspaceRoot } = deps;
    this.#reader = new PersistReader({ maxFiles: policy.limits.persistFiles, maxBytes: policy.limits.persistBytes, roots });
    this.#staging = new Staging({
      workspaceRoot,
      roots,
      executionId,
      executionRoot,
      onCleanupError: (step, error) => {
        logger.warn({ executionId, step, err: error }, "something of the files that were to be kept could not be removed");
      },
    });
  }

  /** `undefined` when the policy keeps nothing. */
  static for(deps: PersistenceDeps): Persistence | undefined {
    const roots = persistRoots(deps.policy);
    return roots.length === 0 ? undefined : new Persistence(deps, roots);
  }

  /** What to ask the runner for. */
  get collect(): CollectParams {
    const { limits } = this.#deps.policy;
    const roots = persistRoots(this.#deps.policy);
    return { roots, patterns: ["**"], folders: true, maxFiles: limits.persistFiles, maxBytes: limits.persistBytes };
  }

  /** Takes a chunk of the archive; one after the other. Resolves when it is on the disk. Never rejects. */
  take(chunk: Buffer): Promise<void> {
    this.#taking = this.#take(chunk);
    return this.#taking;
  }

  async #take(chunk: Buffer): Promise<void> {
    if (this.#failure !== undefined) return;
    try {
      await inTurns(chunk, (slice) => {
        this.#reader.push(slice);
      });
      this.#failure ??= this.#reader.failure;
      if (this.#hasFailed()) return;
      const parts = this.#reader.takeParts();
      for (const part of parts) if (part.kind === "folder") this.#folders.push(part.path);
      await this.#staging.write(parts);
    } catch (error) {
      this.#fail(error);
    }
  }

  /**
   * Keeps what has come, or removes it: `archived` are the params of the message after the archive, `undefined` when it did not come.
   * Never rejects.
   */
  async finish(archived: unknown): Promise<Persisted> {
    const report = archived === undefined ? undefined : archivedSchema.safeParse(archived).data;
    if (report === undefined) this.#failure ??= "the program ended before all of its files were sent";
    await this.#taking;
    try {
      return await this.#commit(report);
    } catch (error) {
      this.#fail(error);
      return nothingKept(this.#failure);
    } finally {
      await this.#staging.close();
    }
  }

  /** Removes what is staged; nothing is kept from here on. For an execution that came to no end. Idempotent. */
  async close(): Promise<void> {
    this.#failure ??= "the execution is over";
    await this.#taking;
    await this.#staging.close();
  }

  async #commit(report: Archived | undefined): Promise<Persisted> {
    const { limits } = this.#deps.policy;
    this.#reader.finish();
    this.#failure ??= this.#reader.failure;
    const over = report?.counts.over_limit ?? 0;
    if (over > 0) {
      this.#failure ??= `${over} files and folders are over this runtime's limit of ${limits.persistFiles} to keep, with ${limits.persistBytes} bytes together`;
    }
    if (this.#failure !== undefined || report === undefined) return nothingKept(this.#failure);
    const { bytes, files, refused } = await commit(this.#deps.workspaceRoot, this.#folders, this.#staging.files);
    const skipped = describeSkipped(report, { files: limits.persistFiles, bytes: limits.persistBytes });
    return { files, bytes, errors: capped([...this.#reader.refused, ...refused, ...skipped.map(({ error, path }) => ({ path, error }))]) };
  }

  #fail(error: unknown): void {
    if (!(error instanceof PersistError)) {
      this.#deps.logger.warn({ executionId: this.#deps.executionId, err: error }, "the files of a program could not be kept");
    }
    this.#failure ??= explain(error);
  }

  // A method, since another chunk's failure comes where the compiler cannot see it.
  #hasFailed(): boolean {
    return this.#failure !== undefined;
  }
}

const persistRoots = ({ permissions }: EffectivePolicy): string[] =>
  permissions.fileSystem.write.filter(({ persist }) => persist).map(({ path }) => path);

const nothingKept = (why = "it is not known why"): Persisted => ({
  files: 0,
  bytes: 0,
  errors: [{ path: "*", error: `nothing was kept: ${why}` }],
});

function capped(errors: readonly Persisted["errors"][number][]): Persisted["errors"] {
  if (errors.length <= MAX_ERRORS) return [...errors];
  return [...errors.slice(0, MAX_ERRORS), { path: "*", error: `${errors.length - MAX_ERRORS} more were not kept` }];
}
