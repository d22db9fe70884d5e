/**
 * What a command allowlist costs: a cold start through HTTP of runtimes with no command, with 2 and with 20, beside one with a single
 * process; and the start of a service that has that runtime alone, canaries included. All take turns, so that a noisy machine is as
 * noisy for one as for the other.
 *
 * Needs the engine, and builds the images that are missing.
 */

import { parseRuntimes } from "../src/config/runtimes-file.ts";
import { packageRoot } from "../src/lib/package-info.ts";
import { connectEngine } from "../src/sandbox/docker/engine.ts";
import { buildSandboxImage } from "../src/sandbox/docker/image/build-image.ts";
import { executeSmallest, startService, untilRemoved } from "./support/service.ts";
import { median, spread, time } from "./support/statistics.ts";

const ROUNDS = Number(process.argv[2] ?? 20);

const TWENTY = "cat chmod cp cut date env head ln ls mkdir mv rm sleep sort tail tee touch tr uniq wc".split(" ");
const withCommands = (packages: readonly string[], allowedCommands: readonly string[]): object => ({
  packages,
  permissions: { system: { allowedCommands, maxProcesses: 4 } },
});
const RUNTIMES: readonly (readonly [name: string, settings: object])[] = [
  ["one process", {}],
  ["0 commands", { permissions: { system: { maxProcesses: 4 } } }],
  ["2 commands", withCommands(["git", "jq"], ["git", "jq"])],
  ["20 commands", withCommands(["coreutils"], TWENTY)],
];

function print(title: string, samples: readonly (readonly number[])[]): void {
  process.stdout.write(`${title}, ${ROUNDS} rounds\n`);
  samples.forEach((values, index) => {
    const ratio = (median(values) / median(samples[0] ?? [])).toFixed(2);
    process.stdout.write(`  ${(RUNTIMES[index]?.[0] ?? "").padEnd(12)} ${spread(values)}   p50 / ${RUNTIMES[0]?.[0]} ${ratio}\n`);
  });
}

for (const [, settings] of RUNTIMES) {
  const text = JSON.stringify({ runtimes: { node: settings } });
  for (const { image } of parseRuntimes(text, "bench").runtimes.values())
    await buildSandboxImage({ docker: connectEngine(), packageRoot, image });
}
const colds: number[][] = RUNTIMES.map(() => []);
const starts: number[][] = RUNTIMES.map(() => []);
for (let round = -1; round < ROUNDS; round += 1) {
  for (const [index, [, settings]] of RUNTIMES.entries()) {
    const [startMs, service] = await time(() => startService({ node: settings }));
    try {
      await untilRemoved();
      const [coldMs] = await time(() => executeSmallest(service));
      if (round >= 0) {
        starts[index]?.push(startMs);
        colds[index]?.push(coldMs);
      }
    } finally {
      await service.close();
    }
  }
}
print("A cold start through HTTP", colds);
print("The start of a service with this runtime alone", starts);
