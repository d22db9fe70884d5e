/**
 * What a cold start costs through HTTP, against the bare cycle of the engine in the same run.
 *
 *     floor    dockerode create / start / wait / remove of `node -e 1` in the same image, nothing else set
 *     service  POST /v1/executions with `return 1`
 *
 * The two take turns, so that a noisy machine is as noisy for one as for the other. Needs the engine and the sandbox image.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import { pino } from "pino";

import { startApp } from "../src/app.ts";
import { readEnvironment } from "../src/config/environment.ts";
import { plainImage } from "../src/domain/image-spec.ts";
import { packageRoot } from "../src/lib/package-info.ts";
import { connectEngine } from "../src/sandbox/docker/engine.ts";
import { findImage } from "../src/sandbox/docker/image/find-image.ts";

const ROUNDS = Number(process.argv[2] ?? 40);

const docker = connectEngine();
const image = await findImage({ docker, packageRoot, image: plainImage(24) });
if (image.state !== "ready") throw new Error(image.message);

const state = await mkdtemp(path.join(tmpdir(), "cm-"));
const env = { CODE_MODE_PORT: "0", CODE_MODE_STATE_DIR: state };
const app = await startApp(readEnvironment({ env, cwd: packageRoot }), pino({ level: "silent" }));

/** Milliseconds that the action takes. */
async function time(action: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await action();
  return performance.now() - began;
}

async function bareCycle(): Promise<void> {
  const container = await docker.createContainer({
    Image: image.state === "ready" ? image.id : "",
    Cmd: ["/usr/local/bin/node", "-e", "1"],
    NetworkDisabled: true,
  });
  await container.start();
  await container.wait();
  await container.remove();
}

async function execute(): Promise<void> {
  const response = await fetch(`${app.url}/v1/executions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"code":"return 1"}',
  });
  const { result } = (await response.json()) as { result: unknown };
  if (result !== 1) throw new Error(`unexpected result ${JSON.stringify(result)}`);
}

const samples: Record<"floor" | "service", number[]> = { floor: [], service: [] };
try {
  for (let round = -2; round < ROUNDS; round += 1) {
    const floor = await time(bareCycle);
    const service = await time(execute);
    if (round >= 0) {
      samples.floor.push(floor);
      samples.service.push(service);
    }
    // The service removes its container after the answer; the next round must not pay for it.
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
} finally {
  await app.close();
  await rm(state, { recursive: true, force: true });
}

const quantile = (values: readonly number[], share: number): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN;
const floorP50 = quantile(samples.floor, 0.5);
for (const [name, values] of Object.entries(samples)) {
  const [p5, p50, p95] = [0.05, 0.5, 0.95].map((share) => quantile(values, share));
  process.stdout.write(
    `${name.padEnd(8)} p5 ${p5?.toFixed(0)} ms   p50 ${p50?.toFixed(0)} ms   p95 ${p95?.toFixed(0)} ms   p50 / floor ${((p50 ?? Number.NaN) / floorP50).toFixed(2)}\n`,
  );
}
