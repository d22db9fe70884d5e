/** The runner's end of the socket: through the event loop first, synchronously from the hand-over on. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { Worker } from "node:worker_threads";

import { Connection } from "../../../sandbox-image/runner/connection.ts";
import type { IncomingMessage } from "../../../sandbox-image/runner/connection.ts";
import { encodeMessage, FrameDecoder } from "../../../src/bridge/frames.ts";

const soon = (): number => performance.now() + 2000;

describe("Runner: connection", () => {
  let folder: string;
  let server: Server;
  let peer: Promise<Socket>;
  beforeEach(async () => {
    folder = mkdtempSync(path.join(tmpdir(), "code-mode-test-"));
    server = createServer();
    peer = new Promise((resolve) => server.once("connection", resolve));
    await new Promise<void>((done) => server.listen(path.join(folder, "s"), done));
  });
  afterEach(async () => {
    (await peer).destroy();
    server.close();
    rmSync(folder, { recursive: true });
  });

  async function open(events: { message?: (message: IncomingMessage) => void; closed?: () => void } = {}): Promise<Connection> {
    return new Promise((resolve) => {
      new Connection(path.join(folder, "s"), {
        connected: resolve,
        message: (message) => events.message?.(message),
        closed: () => events.closed?.(),
      });
    });
  }

  it("delivers messages, however they are cut", async () => {
    const received: (string | undefined)[] = [];
    let enough: () => void;
    const all = new Promise<void>((done) => (enough = done));
    await open({
      message: ({ method }) => {
        received.push(method);
        if (received.length === 3) enough();
      },
    });
    const bytes = Buffer.concat(["one", "two", "three"].map((method) => encodeMessage({ method, params: { text: "x".repeat(100_000) } })));
    for (let at = 0; at < bytes.byteLength; at += 70_001) (await peer).write(bytes.subarray(at, at + 70_001));
    await all;
    assert.deepEqual(received, ["one", "two", "three"]);
  });

  it("reads on synchronously after the hand-over, from where it was", async () => {
    const received: (string | undefined)[] = [];
    let seen: () => void;
    const first = new Promise<void>((done) => (seen = done));
    const connection = await open({
      message: ({ method }) => {
        received.push(method);
        seen();
      },
    });
    const socket = await peer;
    const second = encodeMessage({ method: "second", params: {} });
    socket.write(Buffer.concat([encodeMessage({ method: "first", params: {} }), second.subarray(0, 10)]));
    await first;
    connection.takeOver();
    socket.write(Buffer.concat([second.subarray(10), encodeMessage({ method: "third", params: "x".repeat(100_000) })]));
    await new Promise((done) => setTimeout(done, 20));
    assert.deepEqual(received, ["first"]);
    assert.equal(connection.receive(soon())?.method, "second");
    assert.equal(connection.receive(soon())?.method, "third");
    assert.equal(connection.receive(performance.now() + 30), undefined);
  });

  it("waits for a peer that is slow to read, but not for ever", async () => {
    const connection = await open();
    const socket = await peer;
    socket.pause();
    const startedAt = performance.now();
    assert.equal(connection.sendArchive(Buffer.alloc(8_000_000), startedAt + 100), false);
    assert.ok(performance.now() - startedAt < 1500);
  });

  it("sends a large message whole to a peer in another thread", async () => {
    const own = path.join(folder, "thread");
    const reader = new Worker(
      `const { parentPort, workerData } = require("node:worker_threads");
       const server = require("node:net").createServer((socket) => {
         const chunks = [];
         socket.on("data", (chunk) => chunks.push(chunk)).on("close", () => { parentPort.postMessage(Buffer.concat(chunks)); server.close(); });
       }).listen(workerData, () => parentPort.postMessage("listening"));`,
      { eval: true, workerData: own },
    );
    await new Promise((done) => reader.once("message", done));
    const whole = new Promise<Uint8Array>((resolve) => reader.once("message", resolve));
    const text = "é".repeat(2_000_000);
    const connection = await new Promise<Connection>((resolve) => {
      new Connection(own, { connected: resolve, message: () => undefined, closed: () => undefined });
    });
    connection.takeOver();
    assert.equal(connection.send({ method: "finished", params: { text } }, soon()), true);
    connection.close();
    const decoder = new FrameDecoder({ maxPayloadBytes: 1 << 24 });
    decoder.push(Buffer.from(await whole));
    assert.deepEqual(JSON.parse(String(decoder.next()?.payload)), { jsonrpc: "2.0", method: "finished", params: { text } });
    (await open()).close();
  });

  it("tells when the service is gone, or was never there", async () => {
    const gone = new Promise<void>((closed) => void open({ closed }));
    (await peer).destroy();
    await gone;
    await new Promise<void>((closed) => {
      new Connection(path.join(folder, "nobody"), { connected: () => assert.fail(), message: () => undefined, closed });
    });
  });
});
