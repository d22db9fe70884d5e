/**
 * What files cost on their way out: the same programs without them, with `outputFiles`, and with a folder that is kept (`persist`).
 *
 *     small    10,000 files of 200 bytes, in 100 folders
 *     large    one file of 100 MB, random bytes
 *
 * The ways take turns in one run, so that a noisy machine is as noisy for each. The client is a process of its own and keeps nothing:
 * delays of the event loop and memory are the service's alone. Needs the engine and the sandbox image.
 *
 *     tsx bench/output-files.ts [rounds]
 */

import { fork } from "node:child_process";
import { once } from "node:events";
import { monitorEventLoopDelay } from "node:perf_hooks";

import { startService, untilRemoved } from "./support/service.ts";
import { median } from "./support/statistics.ts";

const MIB = 2 ** 20;
const ROUNDS = Number(process.argv[2] ?? 7);
/** The client's requests come as one message each: its address and body. */
interface Order {
  readonly url: string;
  readonly body: string;
}
interface Taken {
  readonly ms: number;
  readonly bytes: number;
  readonly status: string;
}

async function take({ body, url }: Order): Promise<Taken> {
  const began = performance.now();
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
  let bytes = 0;
  let head = "";
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    if (head.length < 4096) head += Buffer.from(chunk).toString("latin1");
    bytes += chunk.byteLength;
  }
  return { ms: performance.now() - began, bytes, status: /"status":"(\w+)"/.exec(head)?.[1] ?? head.slice(0, 500) };
}

async function measure(): Promise<void> {
  const limits = {
    tempBytes: "256MB",
    tempInodes: 32_768,
    outputFiles: 20_000,
    outputFileBytes: "256MB",
    persistFiles: 20_000,
    persistBytes: "256MB",
  };
  const runtime = (write: unknown): object => ({ memoryLimit: "1GB", permissions: { fileSystem: { write: [write] } }, limits });
  const service = await startService(
    { plain: runtime("./out"), kept: runtime({ path: "./out", persist: true }) },
    { workspaceFolders: ["out"] },
  );
  const client = fork(import.meta.filename, { execArgv: process.execArgv });
  try {
    for (const [name, code] of Object.entries(PROGRAMS)) await compare(name, code, `${service.url}/v1/executions`, client);
  } finally {
    client.kill();
    await service.close();
  }
}

const PROGRAMS = {
  small: `const fs = require("node:fs");
    for (let folder = 0; folder < 100; folder++) {
      fs.mkdirSync("out/d" + folder);
      for (let file = 0; file < 100; file++) fs.writeFileSync("out/d" + folder + "/f" + file, "line " + file + "\\n" + "x".repeat(190));
    }`,
  large: `const fs = require("node:fs"), piece = require("node:crypto").randomBytes(${MIB});
    for (let at = 0; at < 100; at++) fs.writeFileSync("out/large.bin", piece, { flag: "a" });`,
};

/** Runs a program in each way, in turns, and prints a line for each. */
async function compare(name: string, code: string, url: string, client: ReturnType<typeof fork>): Promise<void> {
  const ways = {
    neither: { runtime: "plain", code },
    outputFiles: { runtime: "plain", code, outputFiles: ["out/**"] },
    persist: { runtime: "kept", code },
  };
  const samples = new Map(Object.keys(ways).map((way) => [way, [] as Sample[]]));
  for (let round = -1; round < ROUNDS; round += 1) {
    for (const [way, body] of Object.entries(ways)) {
      const sample = await observe(async () => {
        client.send({ url, body: JSON.stringify(body) } satisfies Order);
        const [taken] = (await once(client, "message")) as [Taken];
        return taken;
      });
      if (round >= 0) samples.get(way)?.push(sample);
      await untilRemoved(400);
    }
  }
  const floor = median((samples.get("neither") ?? []).map(({ ms }) => ms));
  for (const [way, list] of samples) {
    const times = list.map(({ ms }) => ms);
    const largest = (pick: (sample: Sample) => number): string => Math.max(...list.map(pick)).toFixed(0);
    process.stdout.write(
      `${name.padEnd(6)} ${way.padEnd(12)} ${median(times).toFixed(0).padStart(5)} ms (${Math.min(...times).toFixed(0)} to ${Math.max(...times).toFixed(0)})  ` +
        `+${(median(times) - floor).toFixed(0)} ms  answer ${((list[0]?.bytes ?? 0) / MIB).toFixed(1)} MB ${list[0]?.status ?? ""}  ` +
        `CPU ${median(list.map(({ cpuMs }) => cpuMs)).toFixed(0)} ms  event loop at most ${largest(({ delayMs }) => delayMs)} ms  memory +${largest(({ grownMb }) => grownMb)} MB\n`,
    );
  }
}

interface Sample extends Taken {
  /** Of the service, which other programs of a busy machine do not make longer. */
  readonly cpuMs: number;
  /** The longest that the event loop was held up. */
  readonly delayMs: number;
  /** Highest resident size above that of the begin. */
  readonly grownMb: number;
}

async function observe(action: () => Promise<Taken>): Promise<Sample> {
  globalThis.gc?.();
  const delays = monitorEventLoopDelay({ resolution: 1 });
  const before = process.memoryUsage.rss();
  let highest = before;
  const cpuBefore = process.cpuUsage();
  const watch = setInterval(() => (highest = Math.max(highest, process.memoryUsage.rss())), 5);
  delays.enable();
  try {
    const taken = await action();
    const { system, user } = process.cpuUsage(cpuBefore);
    return { ...taken, cpuMs: (user + system) / 1000, delayMs: delays.max / 1e6, grownMb: (highest - before) / MIB };
  } finally {
    delays.disable();
    clearInterval(watch);
  }
}

if (process.send !== undefined) {
  // This is the client. It waits for the whole answer, and looks at no more than its beginning.
  process.on("message", (order) => {
    void take(order as Order).then((taken) => process.send?.(taken));
  });
} else await measure();
