/**
 * What a tool call from a sandbox costs, against the same call made with the SDK's client in the same run.
 *
 *     one by one     the time of a call, over stdio and over HTTP
 *     by size        the same for arguments of some sizes, which come back as they are: stdio
 *     many at once   calls a second with 32 under way, from the client, from one sandbox and from ten: stdio
 *
 * Direct and sandbox take turns, so that a noisy machine is as noisy for one as for the other. Each has a server of its own, the `echo` of
 * server-everything. Needs the engine and the sandbox image. An argument sets the number of rounds.
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import path from "node:path";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";

import { packageRoot } from "../src/lib/package-info.ts";
import { execute, startService } from "./support/service.ts";
import { median, quantile, time } from "./support/statistics.ts";

const ROUNDS = Number(process.argv[2] ?? 10);
const CALLS_A_ROUND = 200;
const AT_ONCE = 32;
const MANY_CALLS = 2000;
const SANDBOXES = 10;
const START_WITHIN_MS = 6000;
const SIZES = [100, 10_000, 100_000, 1_000_000] as const;

const everything = path.join(packageRoot, "node_modules/@modelcontextprotocol/server-everything/dist/index.js");
const LIMITS = { rateLimit: { requestsPerMinute: 1_000_000, maxConcurrent: 1000 }, maxPayloadBytes: 2 ** 22, maxResultBytes: 2 ** 22 };
const TRANSPORTS = ["stdio", "http"] as const;
type TransportName = (typeof TRANSPORTS)[number];

/** Starts server-everything over HTTP on a free port. */
async function startHttp(): Promise<{ readonly url: string; readonly child: ChildProcess }> {
  const port = 20_000 + (process.pid % 20_000);
  const child = spawn(process.execPath, [everything, "streamableHttp"], {
    env: { ...process.env, PORT: String(port) },
    stdio: ["ignore", "ignore", "pipe"],
  });
  await once(child.stderr, "data");
  child.stderr.resume();
  return { url: `http://127.0.0.1:${port}/mcp`, child };
}

async function connect(transport: Transport): Promise<Client> {
  const client = new Client({ name: "bench", version: "1.0.0" });
  await client.connect(transport);
  return client;
}

const http = await startHttp();
// However this ends.
process.once("exit", () => http.child.kill("SIGKILL"));
const service = await startService(
  { node: { memoryLimit: "256MB" } },
  {
    mcpServers: {
      stdio: { command: process.execPath, args: [everything, "stdio"], ...LIMITS },
      http: { type: "http", url: http.url, ...LIMITS },
    },
  },
);
const clients: Record<TransportName, Client> = {
  stdio: await connect(new StdioClientTransport({ command: process.execPath, args: [everything, "stdio"], stderr: "ignore" })),
  http: await connect(new StreamableHTTPClientTransport(new URL(http.url))),
};

/** Milliseconds of each of so many calls, one after the other. */
async function direct(transport: TransportName, calls: number, bytes: number): Promise<number[]> {
  const message = "x".repeat(bytes);
  const times: number[] = [];
  for (let call = 0; call < calls; call += 1) {
    const [ms] = await time(() => clients[transport].callTool({ name: "echo", arguments: { message } }));
    times.push(ms);
  }
  return times;
}

/** The same in a sandbox, where the first calls of a program are not counted, as those of the client are not. */
async function sandboxed(transport: TransportName, calls: number, bytes: number): Promise<number[]> {
  const result = await execute(
    service,
    `const message = "x".repeat(${bytes}), times = [];
     for (let call = -20; call < ${calls}; call++) {
       const began = performance.now();
       await ${transport}.echo(message);
       if (call >= 0) times.push(performance.now() - began);
     }
     return times;`,
  );
  return result as number[];
}

interface Compared {
  readonly direct: number[];
  readonly sandbox: number[];
}

async function compare(transport: TransportName, calls: number, bytes: number, rounds: number): Promise<Compared> {
  const samples: Compared = { direct: [], sandbox: [] };
  for (let round = -1; round < rounds; round += 1) {
    const [ofClient, ofSandbox] = [await direct(transport, calls, bytes), await sandboxed(transport, calls, bytes)];
    if (round < 0) continue;
    samples.direct.push(...ofClient);
    samples.sandbox.push(...ofSandbox);
  }
  return samples;
}

function print(name: string, samples: Compared): void {
  const of = (values: readonly number[]): string => `p50 ${median(values).toFixed(2)} ms  p99 ${quantile(values, 0.99).toFixed(2)} ms`;
  const [overhead, tail] = [0.5, 0.99].map((share) => quantile(samples.sandbox, share) - quantile(samples.direct, share));
  const ratio = median(samples.sandbox) / median(samples.direct);
  process.stdout.write(
    `  ${name.padEnd(10)} direct ${of(samples.direct)}   sandbox ${of(samples.sandbox)}   ` +
      `over it p50 ${overhead?.toFixed(2)} ms  p99 ${tail?.toFixed(2)} ms   p50 / direct ${ratio.toFixed(2)}\n`,
  );
}

/** As many calls a second as the client makes with some of them under way all the time. */
async function directRate(calls: number): Promise<number> {
  let left = calls;
  const worker = async (): Promise<void> => {
    while (left-- > 0) await clients.stdio.callTool({ name: "echo", arguments: { message: "x" } });
  };
  const [ms] = await time(() => Promise.all(Array.from({ length: AT_ONCE }, worker)));
  return (calls / ms) * 1000;
}

/** The same through sandboxes, from when all are up to the last answer: their clock is that of the host. */
async function sandboxRate(sandboxes: number, calls: number): Promise<number> {
  const startAt = Date.now() + START_WITHIN_MS;
  const code = `
    await stdio.echo("warm");
    let left = ${calls / sandboxes};
    const worker = async () => { while (left-- > 0) await stdio.echo("x"); };
    const upAt = Date.now();
    await new Promise((resolve) => setTimeout(resolve, ${startAt} - upAt));
    await Promise.all(Array.from({ length: ${AT_ONCE} }, worker));
    return [upAt, Date.now()];`;
  const spans = (await Promise.all(Array.from({ length: sandboxes }, () => execute(service, code)))) as [number, number][];
  assert.ok(Math.max(...spans.map(([upAt]) => upAt)) < startAt, "the sandboxes were not up in time");
  return (calls / (Math.max(...spans.map(([, ended]) => ended)) - startAt)) * 1000;
}

async function rates(rounds: number): Promise<void> {
  const samples: Record<string, number[]> = { "the client": [], "one sandbox": [], "ten sandboxes": [] };
  for (let round = -1; round < rounds; round += 1) {
    const found = [await directRate(MANY_CALLS), await sandboxRate(1, MANY_CALLS), await sandboxRate(SANDBOXES, MANY_CALLS)];
    if (round >= 0) Object.values(samples).forEach((values, index) => values.push(found[index] ?? Number.NaN));
  }
  const client = median(samples["the client"] ?? []);
  for (const [name, values] of Object.entries(samples))
    process.stdout.write(
      `  ${name.padEnd(14)} ${median(values).toFixed(0).padStart(6)} calls/s   / the client ${(median(values) / client).toFixed(2)}\n`,
    );
}

try {
  assert.deepEqual(await execute(service, 'return [await stdio.echo("a"), await http.echo("b")]'), ["Echo: a", "Echo: b"]);
  process.stdout.write(`One by one, ${ROUNDS} rounds of ${CALLS_A_ROUND} calls\n`);
  for (const transport of TRANSPORTS) print(transport, await compare(transport, CALLS_A_ROUND, 10, ROUNDS));
  process.stdout.write(`By size, stdio, ${ROUNDS} rounds of 20 calls\n`);
  for (const bytes of SIZES) print(`${bytes} B`, await compare("stdio", 20, bytes, ROUNDS));
  process.stdout.write(`Many at once, stdio, ${AT_ONCE} under way in each, ${ROUNDS} rounds of ${MANY_CALLS} calls\n`);
  await rates(ROUNDS);
} finally {
  for (const client of Object.values(clients)) await client.close();
  await service.close();
  http.child.kill("SIGKILL");
}
