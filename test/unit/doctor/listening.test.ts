import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { RequestListener, Server } from "node:http";
import type { AddressInfo } from "node:net";

import type { Outcome } from "../../../src/doctor/check.ts";
import { judgeListening } from "../../../src/doctor/listening.ts";
import { packageVersion } from "../../../src/lib/package-info.ts";

describe("listening: whether the service can listen where it is told to", () => {
  let server: Server | undefined;

  afterEach(async () => {
    server?.closeAllConnections();
    await new Promise((resolve) => (server === undefined ? resolve(undefined) : server.close(resolve)));
    server = undefined;
  });

  /** What is found when this answers on the port. */
  const judgeTaken = async (listener: RequestListener): Promise<Outcome> => {
    server = createServer(listener).listen(0, "127.0.0.1");
    await once(server, "listening");
    return judgeListening({ host: "127.0.0.1", port: (server.address() as AddressInfo).port }, undefined);
  };

  it("can on a free port, and leaves it free", async () => {
    const probe = createServer().listen(0, "127.0.0.1");
    await once(probe, "listening");
    const { port } = probe.address() as AddressInfo;
    await new Promise((resolve) => probe.close(resolve));
    for (let round = 0; round < 2; round += 1)
      assert.equal((await judgeListening({ host: "127.0.0.1", port }, undefined)).found, `127.0.0.1:${port} is free, no keys`);
    assert.equal((await judgeListening({ host: "127.0.0.1", port: 0 }, 1)).found, "127.0.0.1, a free port, 1 key");
  });

  it("must not on an address that others reach without keys; with them it may, though none is made yet", async () => {
    assert.match((await judgeListening({ host: "0.0.0.0", port: 0 }, undefined)).found, /without keys.*CODE_MODE_API_KEYS/);
    const outcome = await judgeListening({ host: "0.0.0.0", port: 0 }, 1);
    assert.equal(outcome.status, "ok");
    assert.equal((await judgeListening({ host: "0.0.0.0", port: 0 }, 0)).found, "0.0.0.0, a free port, keys, but none is made");
  });

  it("cannot on an address of another machine", async () => {
    const outcome = await judgeListening({ host: "192.0.2.1", port: 3210 }, 1);
    assert.deepEqual([outcome.status, outcome.remedy], ["fail", "Set CODE_MODE_HOST to an address of this machine."]);
  });

  it("notes a Code Mode that is there already, and another version", async () => {
    const same = await judgeTaken((_request, response) => response.end(JSON.stringify({ status: "ok", version: packageVersion() })));
    assert.deepEqual([same.status, /listens on 127\.0\.0\.1:\d+ already$/.test(same.found)], ["info", true]);
  });

  for (const [what, listener] of [
    ["speaks something else", (_request, response) => response.end("<html>")],
    ["answers with JSON of its own", (_request, response) => response.end('{"status": "fine", "version": 1}')],
    ["answers with null", (_request, response) => response.end("null")],
    ["sends without end", (_request, response) => void setInterval(() => response.write("x".repeat(8192)), 1).unref()],
    ["breaks off", (request) => request.destroy()],
    ["says nothing", () => undefined],
  ] as const satisfies readonly (readonly [string, RequestListener])[]) {
    it(`fails, in bounded time, on another program that ${what}`, async () => {
      const outcome = await judgeTaken(listener);
      assert.equal(outcome.status, "fail");
      assert.match(`${outcome.found} ${outcome.remedy ?? ""}`, /another program listens on 127\.0\.0\.1:\d+ .*CODE_MODE_PORT/);
    }).timeout(8000);
  }
});
