/**
 * What a cold start costs through HTTP, against the bare cycle of the engine in the same run.
 *
 *     floor    dockerode create / start / wait / remove of `node -e 1` in the same image, nothing else set
 *     service  POST /v1/executions with `return 1`
 *
 * The two take turns, so that a noisy machine is as noisy for one as for the other. Needs the engine and the sandbox image.
 */

import { plainImage } from "../src/domain/image-spec.ts";
import { packageRoot } from "../src/lib/package-info.ts";
import { connectEngine } from "../src/sandbox/docker/engine.ts";
import { findImage } from "../src/sandbox/docker/image/find-image.ts";
import { executeSmallest, startService, untilRemoved } from "./support/service.ts";
import { median, spread, time } from "./support/statistics.ts";

const ROUNDS = Number(process.argv[2] ?? 40);

const docker = connectEngine();
const image = await findImage({ docker, packageRoot, image: plainImage(24) });
if (image.state !== "ready") throw new Error(image.message);

const service = await startService({ node: {} });

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

const samples: Record<"floor" | "service", number[]> = { floor: [], service: [] };
try {
  for (let round = -2; round < ROUNDS; round += 1) {
    const [floorMs] = await time(bareCycle);
    const [serviceMs] = await time(() => executeSmallest(service));
    if (round >= 0) {
      samples.floor.push(floorMs);
      samples.service.push(serviceMs);
    }
    await untilRemoved();
  }
} finally {
  await service.close();
}

for (const [name, values] of Object.entries(samples)) {
  process.stdout.write(`${name.padEnd(8)} ${spread(values)}   p50 / floor ${(median(values) / median(samples.floor)).toFixed(2)}\n`);
}
