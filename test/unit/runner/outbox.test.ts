/** What the runner sends while the program runs: in order and whole, whether or not the service reads. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import path from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";

import { Connection } from "../../../sandbox-image/runner/connection.ts";
import type { IncomingMessage } from "../../../sandbox-image/runner/connection.ts";
import { encodeMessage, FrameDecoder } from "../../../src/bridge/frames.ts";
import { eventually } from "../support/eventually.ts";
import { useTempFolder } from "../support/temp-folder.ts";

/** More than a socket takes. */
const LARGE = "x".repeat(3_000_000);
const text = (n: number, filling = ""): string => `{"n":${n},"filling":"${filling}"}`;
const soon = (): number => performance.now() + 5000;

describe("Runner: what is posted", () => {
  const folder = useTempFolder();
  let server: Server;
  let service: Socket;
  let connection: Connection;
  const received: number[] = [];
  const delivered: IncomingMessage[] = [];

  beforeEach(async () => {
    received.length = 0;
    delivered.length = 0;
    const address = path.join(folder(), "s");
    server = createServer({ pauseOnConnect: true }).listen(address);
    await once(server, "listening");
    const accepted = once(server, "connection") as Promise<[Socket]>;
    connection = await new Promise<Connection>((resolve) => {
      new Connection(address, { connected: resolve, message: (message) => delivered.push(message), closed: () => undefined });
    });
    [service] = await accepted;
    const decoder = new FrameDecoder({ maxPayloadBytes: 1 << 24 });
    service.on("data", (chunk: Buffer) => {
      decoder.push(chunk);
      for (let frame = decoder.next(); frame !== undefined; frame = decoder.next())
        received.push((JSON.parse(frame.payload.toString()) as { n: number }).n);
    });
    service.pause();
  });
  afterEach(async () => {
    connection.close();
    service.destroy();
    server.close();
    await nextTurn();
  });

  it("never waits for the service, and arrives whole and in order once it reads", async () => {
    const began = performance.now();
    for (let n = 0; n < 300; n += 1) connection.post(text(n, n % 100 === 0 ? LARGE : ""));
    assert.ok(performance.now() - began < 2000, "posting took as long as reading");
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.equal(received.length, 0);
    service.resume();
    await eventually(() => received.length === 300, "all of it");
    assert.deepEqual(
      received,
      Array.from({ length: 300 }, (_, n) => n),
    );
  });

  it("goes before what is sent at the end, half a frame too", async () => {
    connection.post(text(0, LARGE));
    connection.post(text(1));
    connection.takeOver();
    assert.equal(connection.send({ n: 2 }, performance.now() + 50), false, "nobody reads");
    service.resume();
    await eventually(() => {
      connection.flush(performance.now());
      return received.length === 3;
    }, "all three");
    assert.deepEqual(received, [0, 1, 2]);
  });

  it("does not stand against a service that waits for its answers to be read", async () => {
    // The service's answers fill its side; the runner must take them to get its own through.
    connection.takeOver();
    service.write(Buffer.concat(Array.from({ length: 4 }, () => encodeMessage({ id: 1, result: LARGE }))));
    assert.ok(service.writableLength > 0);
    connection.post(text(0, LARGE));
    const drained = once(service, "drain").then(() => service.resume());
    await eventually(() => {
      connection.flush(performance.now());
      return received.length === 1;
    }, "the frame");
    await drained;
    assert.equal(delivered.length, 0, "nobody is left to take answers");
  });

  it("what is told after that is read as ever", async () => {
    service.resume();
    connection.takeOver();
    service.write(encodeMessage({ id: 1, result: null }));
    service.write(encodeMessage({ method: "close", params: 5 }));
    await nextTurn();
    assert.equal(connection.receive(soon())?.id, 1);
    assert.equal(connection.receive(soon())?.method, "close");
  });
});
