/**
 * Many attacks at once on one service, several at a time, while a neighbour's small programs are timed; then what each came to.
 *
 * Called inside a `describe`. Beside its own outcome every attack must end in time, and when all are over nothing may be left.
 */

import assert from "node:assert/strict";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import type { Execution } from "../../../src/domain/execution.ts";
import { docker, eventually, TestService } from "../../helpers/service.ts";
import { attack, isTried } from "./attack.ts";
import type { Attack } from "./attack.ts";
import { runContainer, sandboxImageId, unrestrictedOptions } from "./container.ts";

export interface HostileProgram extends Pick<Attack, "name" | "layer" | "variation"> {
  /** Or a program of the same service with larger limits. */
  readonly without: Attack["without"] | (Pick<HostileProgram, "code" | "request"> & { readonly shows: string | RegExp });
  readonly code: string;
  /** Fields of the request beside the code. */
  readonly request?: { readonly timeoutMs?: number; readonly runtime?: string } & Readonly<Record<string, unknown>>;
  /** Of {@link summarizeEnd}. */
  readonly gives: string | RegExp;
}

interface SiegeOptions {
  /** The `runtimes` of runtimes.json, but for their times and cores; the first is the default. */
  readonly runtimes: Readonly<
    Record<
      string,
      { readonly limits?: object; readonly memoryLimit?: string; readonly packages?: readonly string[]; readonly permissions?: object }
    >
  >;
  readonly programs: readonly HostileProgram[];
}

/** Attacks that run at once; their CPU limits are such that they do not take the whole of a small machine. */
const AT_ONCE = 4;
const ATTACKER_CPUS = 0.4;
/** Of a program that asks for no other deadline. */
const TIMEOUT_MS = 1500;
const MAX_TIMEOUT_MS = 30_000;
const CALM_ROUNDS = 6;
/** How far beyond its deadline a program may be known to have run. */
const DEADLINE_SLACK_MS = 500;
/** What nobody has to wait longer for, whatever others do: a small program, from request to answer. More where all is slow anyway. */
const NEIGHBOUR_MAX_MS = 3000;
/** Of a neighbour's programs, for their median to mean something. */
const MIN_ROUNDS = 8;
const MAX_GROWTH_BYTES = 200 * 2 ** 20;
const SHOWN_CHARS = 300;

/** Of programs whose point is what the service makes of them: there is nothing to be turned off. */
export const NO_CONTROL = { cannotShow: "how the program's end is reported; no defence to turn off" } as const;

/** Status, then result or error, then the end of what was printed to stdout. */
function summarizeEnd({ error, exitCode, result, signal, status, stdout }: Execution): string {
  const ending =
    status === "completed" ? JSON.stringify(result) : `${signal ?? exitCode ?? ""} ${error?.name ?? ""}: ${error?.message ?? ""}`;
  return `${status} ${ending.slice(0, SHOWN_CHARS)}${stdout === "" ? "" : `; printed ${stdout.slice(-80).trim()}`}`;
}

/** Runs code in a container with nothing of ours in force and gives what it printed, or how it ended. */
export async function runUnrestricted(code: string, more: Parameters<typeof unrestrictedOptions>[2] = {}): Promise<string> {
  const end = await runContainer(unrestrictedOptions(["/usr/local/bin/node", "-e", code], await sandboxImageId(), more));
  if (end.oomKilled) return "out of memory";
  return end.stdout.trim() === "" ? `exit ${end.exitCode}: ${end.stderr.slice(0, SHOWN_CHARS)}` : end.stdout.trim();
}

/** Declares the tests. */
export function besiege({ programs: all, runtimes }: SiegeOptions): void {
  const programs = all.filter(isTried);
  let service: TestService;
  const ends = new Map<string, Promise<Execution>>();
  const neighbour = { calmMs: Number.NaN, medianMs: Number.NaN, slowestMs: Number.NaN, rounds: 0 };
  let grownBytes = Number.NaN;

  before(async function () {
    this.timeout(180_000);
    service = await TestService.start({
      env: { CODE_MODE_MAX_RUNNING: String(AT_ONCE + 1), CODE_MODE_MAX_QUEUED: "256" },
      runtimes: {
        ...Object.fromEntries(
          Object.entries(runtimes).map(([name, settings]) => [
            name,
            { ...settings, timeout: TIMEOUT_MS, limits: { ...settings.limits, maxTimeoutMs: MAX_TIMEOUT_MS, cpus: ATTACKER_CPUS } },
          ]),
        ),
        neighbour: { limits: { cpus: 0.5 } },
      },
    });
    neighbour.calmMs = median(await timeNeighbour(service, (round) => round < CALM_ROUNDS));
    const before = residentBytes();

    let left = AT_ONCE;
    const queue = [...programs];
    const attackers = Array.from({ length: AT_ONCE }, async () => {
      for (let program = queue.shift(); program !== undefined; program = queue.shift()) {
        const end = service.run(program.code, program.request);
        ends.set(program.name, end);
        await end.catch(() => undefined);
      }
      left -= 1;
    });
    const latencies = await timeNeighbour(service, () => left > 0);
    await Promise.all(attackers);
    Object.assign(neighbour, { medianMs: median(latencies), slowestMs: Math.max(...latencies), rounds: latencies.length });
    await eventually("no sandbox is left", async () => (await service.sandboxes()).length === 0);
    grownBytes = residentBytes() - before;
  });
  after(() => service.close());

  for (const { code, gives, layer, name, request, without } of programs) {
    attack({
      name,
      layer,
      without:
        "code" in without
          ? { run: async () => summarizeEnd(await service.run(without.code, without.request)), shows: without.shows }
          : without,
      within: {
        gives,
        run: async () => {
          let end = await ends.get(name);
          assert.ok(end !== undefined, code);
          const latestMs = (request?.timeoutMs ?? TIMEOUT_MS) + DEADLINE_SLACK_MS;
          // On a busy machine the engine may be slow to kill. A deadline that does not hold is missed alone as well.
          for (let again = 0; again < 2 && end.usage.runMs > latestMs; again += 1) end = await service.run(code, request);
          assert.ok(end.usage.runMs <= latestMs, `ran ${end.usage.runMs} ms`);
          return summarizeEnd(end);
        },
      },
    });
  }

  it("leaves a neighbour's programs quick meanwhile", () => {
    const { calmMs, medianMs, rounds, slowestMs } = neighbour;
    const report = `calm ${calmMs.toFixed(0)} ms; meanwhile ${medianMs.toFixed(0)} ms, at most ${slowestMs.toFixed(0)} ms of ${rounds}`;
    assert.ok(rounds > 0 && slowestMs < NEIGHBOUR_MAX_MS + 3 * calmMs, report);
    // The middle of two or three is chance.
    if (rounds >= MIN_ROUNDS) assert.ok(medianMs < 4 * calmMs + 500, report);
  });

  it("leaves the service no larger, and able to work", async () => {
    assert.ok(grownBytes < MAX_GROWTH_BYTES, `grew by ${(grownBytes / 2 ** 20).toFixed(0)} MiB`);
    assert.equal(await service.result("return 6 * 7"), 42);
    await docker.ping();
  });
}

/** How long each of a neighbour's programs takes, one after the other. */
async function timeNeighbour(service: TestService, goOn: (round: number) => boolean): Promise<number[]> {
  const latencies: number[] = [];
  for (let round = 0; goOn(round); round += 1) {
    const began = performance.now();
    assert.equal(await service.result("return 1 + 1", { runtime: "neighbour" }), 2);
    latencies.push(performance.now() - began);
  }
  return latencies;
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

function residentBytes(): number {
  collectGarbage();
  return process.memoryUsage().rss;
}
