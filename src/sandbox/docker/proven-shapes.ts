/**
 * What the canaries have proven, kept as long as the instance lives: a shape is proven once, at the start or at the reload that brings
 * it. One that failed is tried again when it is asked for again.
 */

import { StartupError } from "../../domain/errors.ts";
import { imageKey } from "../../domain/image-spec.ts";
import type { RuntimeDefinition } from "../../domain/runtime.ts";
import type { SandboxProvider } from "../ports.ts";
import { BrokenCommandsError, canaryShapes, runCanary } from "./canary.ts";
import type { CanaryShape, LayerState } from "./canary.ts";
import { engineStatus } from "./engine.ts";
import type { UsableImage } from "./image/executable-groups.ts";

interface ProofOptions {
  readonly provider: SandboxProvider;
  /** The images that are there, by `imageKey`. */
  readonly images: ReadonlyMap<string, UsableImage>;
  readonly runtimes: ReadonlyMap<string, RuntimeDefinition>;
}

export class ProvenShapes {
  readonly #proven = new Map<string, readonly LayerState[]>();

  /** The layers as the first canary saw them; in a required one none can differ. */
  get layers(): readonly LayerState[] {
    const [first = []] = this.#proven.values();
    return first;
  }

  /**
   * Runs a canary for each shape that is not proven yet, and gives the runtimes, with those unavailable whose canaries could not be run.
   * Throws a {@link StartupError} when a required layer is not in force.
   */
  async prove({ images, provider, runtimes }: ProofOptions): Promise<Map<string, RuntimeDefinition>> {
    const failed = new Map<string, string>();
    const proveOne = async (shape: CanaryShape, image: UsableImage): Promise<string[]> => {
      const key = JSON.stringify([shape.key, image.id]);
      if (!this.#proven.has(key) && !failed.has(key)) {
        const outcome = await runCanary(provider, shape, image.groups).catch(explainCanary);
        if (typeof outcome === "string") failed.set(key, outcome);
        else this.#proven.set(key, refuseMissing(outcome));
      }
      const reason = failed.get(key);
      return reason === undefined ? [] : [reason];
    };
    const judged = new Map<string, RuntimeDefinition>();
    for (const [name, runtime] of runtimes) {
      judged.set(name, runtime);
      const image = images.get(imageKey(runtime.image));
      if (runtime.unavailable.length > 0 || image === undefined) continue;
      // Those of one runtime at the same time. All are awaited, also when one says that a layer is missing: each holds a container.
      const outcomes = await Promise.allSettled(canaryShapes(runtime).map((shape) => proveOne(shape, image)));
      const reasons = outcomes.flatMap((outcome) => {
        if (outcome.status === "rejected") throw outcome.reason;
        return outcome.value;
      });
      if (reasons.length > 0) judged.set(name, { ...runtime, unavailable: [...new Set(reasons)] });
    }
    return judged;
  }
}

/** Throws a {@link StartupError} when a required layer is not in force. */
function refuseMissing(layers: LayerState[]): LayerState[] {
  const missing = layers.filter((layer) => layer.required && layer.problem !== undefined);
  if (missing.length === 0) return layers;
  throw new StartupError(missing.map(({ problem, title }) => `a required layer of defence is not in force: ${title}: ${problem ?? ""}`));
}

/** Why a canary could not be run, for the operator. */
export function explainCanary(error: unknown): string {
  if (error instanceof BrokenCommandsError) return error.message;
  const causes: string[] = [];
  for (let current: unknown = error; current instanceof Error && causes.length < 5; current = current.cause) causes.push(current.message);
  const reason = causes.join(": ");
  return engineStatus((error as Error).cause) === undefined
    ? `the canary sandbox did not work: ${reason}. If the engine runs inside a virtual machine (Docker Desktop, colima), a unix socket of this host cannot be mounted: run the service itself in a container on that engine.`
    : `the engine could not start the canary sandbox: ${reason}`;
}
