/** Clients that are slow, or never read or finish: they cost bounded memory and nobody else's time. */

import assert from "node:assert/strict";
import { connect } from "node:net";
import type { Socket } from "node:net";

import { openUnfinished } from "../helpers/raw-http.ts";
import { eventually, TestService } from "../helpers/service.ts";
import type { ErrorBody } from "../helpers/service.ts";
import { MAX_CONNECTIONS } from "../../src/http/listener.ts";

const MIB = 2 ** 20;
const SLOTS = 6;

/** A request whose answer is many times larger as JSON than in memory: each of these bytes becomes six. */
const LARGE_ANSWER = JSON.stringify({
  code: 'const text = "\\u0001".repeat(4 * 1024 * 1024); process.stdout.write(text); process.stderr.write(text); require("node:fs").writeFileSync("temp/a", text);',
  limits: { outputBytes: 4 * MIB },
  outputFiles: ["temp/**"],
});

describe("Slow clients", function () {
  this.timeout(120_000);
  let service: TestService;
  const sockets: Socket[] = [];

  before(async () => {
    service = await TestService.start({
      env: { CODE_MODE_MAX_RUNNING: String(SLOTS), CODE_MODE_MAX_BODY_BYTES: String(4 * MIB) },
      runtimes: { node: { permissions: { fileSystem: { write: ["./temp"] } } } },
    });
  });
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
  });
  after(() => service.close());

  /** A connection that sends a request and then behaves as `read` says. */
  async function open(body: string, options: { readonly read: boolean; readonly declaredBytes?: number }): Promise<Socket> {
    const { hostname, port } = new URL(service.url);
    const socket = connect(Number(port), hostname);
    sockets.push(socket);
    socket.on("error", () => undefined);
    if (!options.read) socket.pause();
    await new Promise((resolve) => socket.once("connect", resolve));
    const length = options.declaredBytes ?? Buffer.byteLength(body);
    socket.write(
      `POST /v1/executions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n${body}`,
    );
    return socket;
  }

  it("sends a large answer whole to one that reads", async () => {
    const execution = (await service.post(LARGE_ANSWER)).body;
    assert.equal(execution.status, "completed");
    assert.equal(execution.stdout.length, 4 * MIB);
    assert.equal(execution.files.length, 1);
  });

  it("holds little for those that never read, keeps answering others, and cuts them off", async () => {
    const before = process.memoryUsage().rss;
    // As many as have a slot: a second round, in test/soak, adds to the time and not to what is held.
    await Promise.all(Array.from({ length: SLOTS }, () => open(LARGE_ANSWER, { read: false })));
    const latencies: number[] = [];
    let peak = 0;
    const end = performance.now() + 8000;
    while (performance.now() < end) {
      const began = performance.now();
      await (await fetch(`${service.url}/livez`)).text();
      latencies.push(performance.now() - began);
      peak = Math.max(peak, process.memoryUsage().rss - before);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    latencies.sort((a, b) => a - b);
    const p95 = latencies[Math.floor(latencies.length * 0.95)] ?? Number.NaN;
    assert.ok(p95 < 150, `livez p95 ${p95.toFixed(0)} ms`);
    assert.ok(peak < 600 * MIB, `grew by ${(peak / MIB).toFixed(0)} MiB`);
    // Their slots come back although they are still connected: the service waits for nobody for ever.
    await eventually("another request is served", async () => (await service.post({ code: "return 1" })).status === 200, 60_000);
  });

  it("refuses connections beyond a number, which leaves its descriptors to those that run, and takes new ones when they go", async () => {
    let refused = 0;
    const onClose = (): void => {
      refused += 1;
    };
    await openUnfinished(service.url, MAX_CONNECTIONS + 200, { sockets, onClose });
    await eventually("those beyond are refused", () => refused >= 200);
    assert.equal(service.logLines.filter((line) => line.includes("too many connections at once")).length, 1);
    // That their headers do not end cuts them off too, after a while: test/soak/slow-clients.test.ts.
    for (const socket of sockets.splice(0)) socket.destroy();
    await eventually("they are gone", () => refused >= MAX_CONNECTIONS);
    assert.equal(await service.result("return 6 * 7"), 42);
  });

  it("takes only so many unfinished bodies at once, and serves small requests all the while", async () => {
    const half = `{"code": "return 1", "stdin": "${"x".repeat(2 * MIB)}`;
    await Promise.all(Array.from({ length: 8 }, () => open(half, { read: true, declaredBytes: 4 * MIB })));
    await new Promise((resolve) => setTimeout(resolve, 300));
    const { body, headers, status } = await service.post<ErrorBody>({ code: "return 1", stdin: "x".repeat(2 * MIB) });
    assert.deepEqual([status, body.error.code], [429, "QUEUE_FULL"]);
    assert.match(headers.get("retry-after") ?? "", /^\d+$/);
    assert.equal(await service.result("return 6 * 7"), 42);
    for (const socket of sockets.splice(0)) socket.destroy();
    await eventually(
      "bodies are taken again",
      async () => (await service.post({ code: "return 1", stdin: "x".repeat(2 * MIB) })).status === 200,
    );
  });
});
