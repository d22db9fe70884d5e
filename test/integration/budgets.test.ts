/**
 * Hostile traffic on the runner's own socket, and floods of output: the program is ended or contained, and nobody else notices.
 *
 * The program gets at the socket by its file descriptor, as native code would.
 */

import assert from "node:assert/strict";

import { TestService } from "../helpers/service.ts";

/** Finds the runner's socket among the open descriptors, and gives means to write frames to it. */
const SOCKET = `
  const fs = require("node:fs");
  const fd = (() => { for (let n = 3; n < 256; n++) { try { if (fs.fstatSync(n).isSocket()) return n; } catch {} } throw new Error("no socket"); })();
  const write = (bytes) => { for (let done = 0; done < bytes.length; ) { try { done += fs.writeSync(fd, bytes, done); } catch (error) { if (error.code !== "EAGAIN") throw error; Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1); } } };
  const frame = (kind, payload) => { const body = Buffer.from(payload); const header = Buffer.alloc(5); header.writeUInt32BE(body.length, 0); header[4] = kind; return Buffer.concat([header, body]); };
  const message = (value) => frame(1, JSON.stringify(value));
  const finished = (result) => message({ jsonrpc: "2.0", method: "finished", params: { result, error: null, exitCode: 0 } });
`;

const flood = (piece: string): string =>
  `${SOCKET} const piece = ${piece}; const many = Buffer.concat(Array(200).fill(piece)); for (;;) write(many);`;

interface Attack {
  readonly title: string;
  readonly code: string;
  readonly status: RegExp;
  /** In the error's message. */
  readonly says?: RegExp;
}

const ATTACKS: readonly Attack[] = [
  { title: "bytes that are no frame", code: flood('Buffer.from("garbage!")'), status: /^killed$/, says: /frame|cap/ },
  {
    title: "a frame that claims four gigabytes",
    code: `${SOCKET} write(Buffer.from([255, 255, 255, 255, 1])); for (;;);`,
    status: /^killed$/,
    says: /cap/,
  },
  {
    title: "messages that do not exist",
    code: flood('message({ jsonrpc: "2.0", method: "steal", params: {} })'),
    status: /^killed$/,
    says: /steal/,
  },
  {
    title: "a second ready",
    code: flood('message({ jsonrpc: "2.0", method: "ready", params: { protocol: 1, node: "x" } })'),
    status: /^killed$/,
    says: /ready/,
  },
  { title: "files that nobody asked for", code: flood('frame(2, "x")'), status: /^killed$/, says: /not asked/ },
  {
    title: "answers to requests that were not made",
    code: flood('message({ jsonrpc: "2.0", id: 7, result: {} })'),
    status: /^killed$/,
    says: /not made/,
  },
  { title: "deeply nested JSON", code: flood('frame(1, "[".repeat(5000) + "]".repeat(5000))'), status: /^killed$/, says: /deep/ },
  { title: "a message that is no JSON", code: flood('frame(1, "{")'), status: /^killed$/ },
  {
    title: "a result of the wrong form",
    code: `${SOCKET} write(message({ jsonrpc: "2.0", method: "finished", params: { result: 1, error: "x", exitCode: 900 } })); for (;;);`,
    status: /^killed$/,
    says: /wrong form/,
  },
  {
    title: "a frame that never ends",
    code: `${SOCKET} write(Buffer.from([0, 0, 1, 0, 1])); for (;;) { write(Buffer.from("x")); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50); if (globalThis.n = (globalThis.n ?? 0) + 1, globalThis.n > 100) for (;;); }`,
    status: /^timed_out$/,
  },
  { title: "a forged result, over and over", code: flood("finished('forged')"), status: /^(completed|killed|timed_out)$/ },
  {
    title: "a result with special keys",
    code: `${SOCKET} write(frame(1, '{"jsonrpc":"2.0","method":"finished","params":{"result":{"__proto__":{"polluted":1}},"error":null,"exitCode":0}}')); for (;;);`,
    status: /^(completed|timed_out)$/,
  },
  { title: "a closed socket and a busy process", code: `${SOCKET} fs.closeSync(fd); for (;;);`, status: /^timed_out$/ },
  {
    title: "output without end to both streams",
    code: 'const block = "x".repeat(65536); for (;;) { process.stdout.write(block); process.stderr.write(block); }',
    status: /^(output_limit|timed_out)$/,
  },
  {
    title: "output in single bytes",
    code: 'const fs = require("node:fs"); for (;;) fs.writeSync(1, "x");',
    status: /^(output_limit|timed_out)$/,
  },
];

const TIMEOUT_MS = 3000;

describe("Budgets", () => {
  let service: TestService;

  before(async () => {
    service = await TestService.start();
  });
  after(() => service.close());

  for (const { code, says, status, title } of ATTACKS) {
    it(`contains ${title}`, async () => {
      const began = performance.now();
      const execution = await service.run(code, { timeoutMs: TIMEOUT_MS });
      assert.match(execution.status, status, JSON.stringify(execution).slice(0, 1000));
      if (says !== undefined) assert.match(execution.error?.message ?? "", says);
      assert.ok(execution.usage.runMs < TIMEOUT_MS + 500 + 2000, `ran ${execution.usage.runMs} ms`);
      assert.ok(performance.now() - began < 10_000);
      assert.equal(({} as { polluted?: unknown }).polluted, undefined);
    });
  }

  it("keeps the service and a neighbour quick while others flood", async function () {
    this.timeout(120_000);
    const calm = await measure(service);
    const report: string[] = [`calm: livez p95 ${calm.livezP95Ms.toFixed(1)} ms, neighbour ${calm.neighbourMs.toFixed(0)} ms`];
    // On a shared machine one measurement can be spoilt by others; a service that floods do slow down spoils all three.
    const staysQuick = async (what: string, attack: () => Promise<unknown>): Promise<void> => {
      for (let round = 1; ; round += 1) {
        const attacks = Promise.all([attack(), attack()]);
        await new Promise((resolve) => setTimeout(resolve, 400));
        const busy = await measure(service);
        await attacks;
        report.push(`${what}: livez p95 ${busy.livezP95Ms.toFixed(1)} ms, neighbour ${busy.neighbourMs.toFixed(0)} ms`);
        if (busy.livezP95Ms < 50 && busy.neighbourMs < 5 * calm.neighbourMs + 500) return;
        assert.ok(round < 3, report.join("\n"));
      }
    };
    for (const piece of ['message({ jsonrpc: "2.0", method: "x".repeat(64), params: {} })', "finished(null)", 'frame(2, "x")']) {
      await staysQuick(piece, () => service.run(flood(piece), { timeoutMs: TIMEOUT_MS, limits: { cpus: 0.5 } }));
    }
    const printing = 'const block = "x".repeat(65536); for (let n = 0; n < 800; n++) process.stdout.write(block);';
    await staysQuick("output", () => service.run(printing, { limits: { cpus: 0.5 }, timeoutMs: 20_000 }));
  });

  it("does not grow under hostile traffic", async function () {
    this.timeout(60_000);
    globalThis.gc?.();
    const before = process.memoryUsage().rss;
    for (let round = 0; round < 3; round += 1) {
      await Promise.all(ATTACKS.slice(0, 6).map(({ code }) => service.run(code, { timeoutMs: 1000 })));
    }
    const grownMib = (process.memoryUsage().rss - before) / 2 ** 20;
    assert.ok(grownMib < 150, `grew by ${grownMib.toFixed(0)} MiB`);
  });
});

/** The service's own latency, and that of a neighbour's whole execution. */
async function measure(service: TestService): Promise<{ livezP95Ms: number; neighbourMs: number }> {
  const began = performance.now();
  const neighbour = service.result("return 1").then(() => performance.now() - began);
  const samples: number[] = [];
  for (let i = 0; i < 60; i += 1) {
    const start = performance.now();
    await (await fetch(`${service.url}/livez`)).text();
    samples.push(performance.now() - start);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  samples.sort((a, b) => a - b);
  return { livezP95Ms: samples[Math.floor(samples.length * 0.95)] ?? Number.NaN, neighbourMs: await neighbour };
}
