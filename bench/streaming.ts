/**
 * What a stream costs, against the plain answer in the same run.
 *
 *     small    `return 1`: until the whole answer is there, as JSON, as a stream, and by respond-async with a wait
 *     large    a program that prints 16 MiB, all of it kept: as JSON, and as a stream, which has the output twice
 *
 * The forms take turns, so that a noisy machine is as noisy for one as for the others. The client is a thread of its own that reads and
 * does not look. Needs the engine and the sandbox image. An argument sets the number of rounds.
 */

import { once } from "node:events";
import { Worker } from "node:worker_threads";

import { startService, untilRemoved } from "./support/service.ts";
import { median, spread } from "./support/statistics.ts";

const ROUNDS = Number(process.argv[2] ?? 25);
const MIB = 2 ** 20;

/** Sends what it is told to, reads the answer, and where there is a `Location` and `wait` is set, waits for the end there. */
const CLIENT = `
const { parentPort, workerData: url } = require("node:worker_threads");
const http = require("node:http");
const agent = new http.Agent({ keepAlive: true });
const send = (path, { body, headers = {} }) => new Promise((resolve, reject) => {
  const began = performance.now();
  const request = http.request(url + path, { agent, method: body === undefined ? "GET" : "POST", headers }, (response) => {
    const headMs = performance.now() - began;
    let bytes = 0, firstMs = 0;
    response.on("data", (chunk) => { bytes += chunk.length; firstMs ||= performance.now() - began; });
    response.on("end", () => resolve({ status: response.statusCode, location: response.headers.location, bytes, headMs, firstMs, ms: performance.now() - began }));
  });
  request.on("error", reject);
  request.end(body);
});
parentPort.on("message", async (order) => {
  const began = performance.now();
  let answer = await send("/v1/executions", order);
  const firstMs = answer.firstMs;
  if (order.wait) answer = await send(answer.location + "?waitMs=60000", {});
  parentPort.postMessage({ ...answer, firstMs, ms: performance.now() - began });
});`;

interface Sample {
  readonly status: number;
  /** Until the first byte of the body, and until the last. */
  readonly firstMs: number;
  readonly ms: number;
  readonly bytes: number;
}

const service = await startService({ node: { memoryLimit: "256MB", limits: { maxOutputBytes: "16MB" } } });
const client = new Worker(CLIENT, { eval: true, workerData: service.url });

async function send(body: object, headers: Record<string, string>): Promise<Sample> {
  const answered = once(client, "message") as Promise<[Sample]>;
  client.postMessage({
    body: JSON.stringify(body),
    headers: { "content-type": "application/json", ...headers },
    wait: "prefer" in headers,
  });
  const [sample] = await answered;
  if (sample.status !== 200) throw new Error(`unexpected status ${sample.status}`);
  await untilRemoved(200);
  return sample;
}

const SMALL = { code: "return 1" };
const LARGE = {
  code: 'const fs = require("node:fs"), line = "a line of output that is some sixty characters long, or so\\n".repeat(1000).slice(0, 1 << 16); for (let i = 0; i < 256; i++) fs.writeSync(1, line.padEnd(1 << 16, "x"));',
  limits: { outputBytes: 16 * MIB },
};
const STREAM = { accept: "text/event-stream" };

const forms: Record<string, () => Promise<Sample>> = {
  "small, JSON": () => send(SMALL, {}),
  "small, stream": () => send(SMALL, STREAM),
  "small, async": () => send(SMALL, { prefer: "respond-async" }),
  "large, JSON": () => send(LARGE, {}),
  "large, stream": () => send(LARGE, STREAM),
};
const samples: Record<string, Sample[]> = Object.fromEntries(Object.keys(forms).map((name) => [name, []]));
try {
  for (let round = -2; round < ROUNDS; round += 1) {
    for (const [name, form] of Object.entries(forms)) {
      const sample = await form();
      if (round >= 0) samples[name]?.push(sample);
    }
  }
} finally {
  await client.terminate();
  await service.close();
}

const timesOf = (name: string): number[] => (samples[name] ?? []).map(({ ms }) => ms);
for (const [name, taken] of Object.entries(samples)) {
  const ratio = median(timesOf(name)) / median(timesOf(`${name.split(",")[0] ?? ""}, JSON`));
  process.stdout.write(
    `${name.padEnd(14)} ${spread(timesOf(name))}   first byte ${median(taken.map(({ firstMs }) => firstMs)).toFixed(0)} ms   ` +
      `${((taken[0]?.bytes ?? 0) / MIB).toFixed(1)} MiB   p50 / JSON ${ratio.toFixed(2)}\n`,
  );
}
