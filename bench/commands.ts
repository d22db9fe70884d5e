/**
 * What a command allowlist costs: a cold start through HTTP of runtimes with no command, with 2 and with 20, beside one with a single
 * process; and the start of a service that has that runtime alone, canaries included. All take turns, so that a noisy machine is as
 * noisy for one as for the other.
 *
 * Needs the engine, and builds the images that are missing.
 */

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import { pino } from "pino";

import { startApp } from "../src/app.ts";
import type { App } from "../src/app.ts";
import { readEnvironment } from "../src/config/environment.ts";
import { parseRuntimes } from "../src/config/runtimes-file.ts";
import { packageRoot } from "../src/lib/package-info.ts";
import { connectEngine } from "../src/sandbox/docker/engine.ts";
import { buildSandboxImage } from "../src/sandbox/docker/image/build-image.ts";

const ROUNDS = Number(process.argv[2] ?? 20);
/** The service removes its container after the answer; the next must not pay for it. */
const PAUSE_MS = 150;

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

/** A service with one runtime, in a folder of its own. */
async function start(folder: string, settings: object): Promise<App> {
  const text = JSON.stringify({ runtimes: { node: settings } });
  for (const { image } of parseRuntimes(text, "bench").runtimes.values())
    await buildSandboxImage({ docker: connectEngine(), packageRoot, image });
  for (const name of ["config", "workspace"]) await mkdir(path.join(folder, name), { recursive: true });
  await writeFile(path.join(folder, "config", "runtimes.json"), text);
  const env = {
    CODE_MODE_PORT: "0",
    CODE_MODE_CONFIG_DIR: path.join(folder, "config"),
    CODE_MODE_WORKSPACE_ROOT: path.join(folder, "workspace"),
    CODE_MODE_STATE_DIR: path.join(folder, "state"),
  };
  return startApp(readEnvironment({ env, cwd: folder }), pino({ level: "silent" }));
}

async function execute({ url }: App): Promise<void> {
  const response = await fetch(`${url}/v1/executions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"code":"return 1"}',
  });
  const { result } = (await response.json()) as { result: unknown };
  if (result !== 1) throw new Error(`unexpected result ${JSON.stringify(result)}`);
}

/** Milliseconds that the action takes, and what it gives. */
async function time<T>(action: () => Promise<T>): Promise<readonly [tookMs: number, value: T]> {
  const began = performance.now();
  const value = await action();
  return [performance.now() - began, value];
}

const quantile = (values: readonly number[], share: number): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN;

function print(title: string, samples: readonly (readonly number[])[]): void {
  process.stdout.write(`${title}, ${ROUNDS} rounds\n`);
  samples.forEach((values, index) => {
    const [p5, p50, p95] = [0.05, 0.5, 0.95].map((share) => quantile(values, share).toFixed(0).padStart(5));
    const ratio = (quantile(values, 0.5) / quantile(samples[0] ?? [], 0.5)).toFixed(2);
    const name = (RUNTIMES[index]?.[0] ?? "").padEnd(12);
    process.stdout.write(`  ${name} p5 ${p5} ms   p50 ${p50} ms   p95 ${p95} ms   p50 / ${RUNTIMES[0]?.[0]} ${ratio}\n`);
  });
}

const root = await mkdtemp(path.join(tmpdir(), "cm-"));
const folders = RUNTIMES.map((_, index) => path.join(root, String(index)));
const colds: number[][] = RUNTIMES.map(() => []);
const starts: number[][] = RUNTIMES.map(() => []);
try {
  for (let round = -1; round < ROUNDS; round += 1) {
    for (const [index, [, settings]] of RUNTIMES.entries()) {
      const [startMs, app] = await time(() => start(folders[index] ?? root, settings));
      try {
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
        const [coldMs] = await time(() => execute(app));
        if (round >= 0) {
          starts[index]?.push(startMs);
          colds[index]?.push(coldMs);
        }
      } finally {
        await app.close();
      }
    }
  }
} finally {
  await rm(root, { recursive: true, force: true });
}
print("A cold start through HTTP", colds);
print("The start of a service with this runtime alone", starts);
