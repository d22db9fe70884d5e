/**
 * A sandbox like any other, that looks at itself from inside: the canary of the start, in an instance of its own.
 *
 * The instance is alive while it lasts and removes what it made. It takes nothing from others, dead or alive.
 */

import { mkdir, rmdir } from "node:fs/promises";
import path from "node:path";

import { imageKey } from "../domain/image-spec.ts";
import { CleanupStack } from "../lib/cleanup-stack.ts";
import type { RuntimeDefinition } from "../domain/runtime.ts";
import { canaryShapes, runCanary } from "../sandbox/docker/canary.ts";
import type { CanaryShape, LayerState } from "../sandbox/docker/canary.ts";
import { engineArchitecture } from "../sandbox/docker/image/architecture.ts";
import type { UsableImage } from "../sandbox/docker/image/executable-groups.ts";
import { openInstance } from "../sandbox/docker/open-instance.ts";
import { explainCanary } from "../sandbox/docker/proven-shapes.ts";
import { NotCheckedError } from "./check.ts";
import type { Check, Outcome } from "./check.ts";
import type { Facts } from "./facts.ts";

/** Above what a canary may take, so that it is not given up while it holds a container. */
const TIMEOUT_MS = 180_000;

export const sandboxCheck = (facts: Facts): Check => ({
  id: "sandbox.canary",
  title: "Layers of defence",
  timeoutMs: TIMEOUT_MS,
  run: async () => {
    const images = new Map(
      (await facts.images.need()).flatMap(({ found, spec }) => (found.state === "ready" ? [[imageKey(spec), found]] : [])),
    );
    const shapes = shapesOf([...(await facts.runtimes.need()).runtimes.values()].filter(({ image }) => images.has(imageKey(image))));
    if (shapes.length === 0) throw new NotCheckedError("no runtime can run");
    return judgeProofs(await prove(facts, images, shapes));
  },
});

export interface Proof {
  readonly shape: string;
  readonly tookMs: number;
  /** What each layer came to; or why there is nothing to say of them. */
  readonly outcome: readonly LayerState[] | string;
}

/** The canaries of the runtimes, once those that runtimes share. */
function shapesOf(runtimes: readonly RuntimeDefinition[]): CanaryShape[] {
  const shapes = runtimes.filter(({ unavailable }) => unavailable.length === 0).flatMap(canaryShapes);
  return [...new Map(shapes.map((shape) => [shape.key, shape])).values()];
}

async function prove(facts: Facts, images: ReadonlyMap<string, UsableImage>, shapes: readonly CanaryShape[]): Promise<Proof[]> {
  const { config } = facts;
  const failures: string[] = [];
  const cleanup = new CleanupStack({
    onError: (step, error) => {
      failures.push(`${step}: ${String(error)}`);
    },
  });
  const docker = facts.connect();
  const proofs: Proof[] = [];
  try {
    cleanup.defer("remove the state folder", await makeFolder(config.stateDir));
    const log = { warn: () => undefined, error: ({ step }: { step?: string }) => failures.push(step ?? "clean-up") };
    const architecture = await engineArchitecture(docker);
    const { provider, remover } = await openInstance({ docker, architecture, images, config, reclaimLeftovers: false, log }, cleanup);
    // A removal that fails is tried once, not until the engine is back.
    remover.close();
    for (const shape of shapes) {
      const began = performance.now();
      const groups = images.get(imageKey(shape.image))?.groups ?? new Map<string, number[]>();
      const outcome = await runCanary(provider, shape, groups).catch(explainCanary);
      proofs.push({ shape: shape.title, tookMs: Math.round(performance.now() - began), outcome });
    }
  } finally {
    await cleanup.close();
  }
  if (failures.length > 0)
    proofs.push({ shape: "clean-up", tookMs: 0, outcome: `${failures.join("; ")}; the next start removes what is left` });
  return proofs;
}

/** Makes a folder where there is none, and gives what takes away again what was made, as far as it is empty. */
async function makeFolder(folder: string): Promise<() => Promise<void>> {
  const first = await mkdir(folder, { recursive: true, mode: 0o700 }).catch(() => undefined);
  return async () => {
    if (first === undefined) return;
    for (let place = folder; place.startsWith(first); place = path.dirname(place)) await rmdir(place);
  };
}

export function judgeProofs(proofs: readonly Proof[]): Outcome {
  const problems = proofs.flatMap(({ outcome, shape }) =>
    typeof outcome === "string"
      ? [{ line: `${shape}: ${outcome}`, required: true }]
      : outcome.flatMap(({ problem, required, title }) =>
          problem === undefined ? [] : [{ line: `${shape}: ${title}: ${problem}`, required }],
        ),
  );
  if (problems.length === 0) {
    const lines = proofs.map(({ outcome, shape, tookMs }) => `${shape}: all ${outcome.length} layers in force, proven in ${tookMs} ms`);
    return lines.length === 1
      ? { status: "ok", found: lines.join() }
      : { status: "ok", found: `${lines.length} kinds of sandbox`, details: lines };
  }
  const isFailure = problems.some(({ required }) => required);
  return {
    status: isFailure ? "fail" : "warn",
    found: `${problems.length} ${problems.length === 1 ? "problem" : "problems"}`,
    details: problems.map(({ line }) => line),
    remedy: isFailure ? "Mend what the checks above name first. The service does not start like this." : "See docs/threat-model.md.",
  };
}
