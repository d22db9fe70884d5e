/** What the service does about slow clients only after a while: test/integration shows all that comes before. */

import assert from "node:assert/strict";
import type { Socket } from "node:net";

import { MAX_CONNECTIONS } from "../../src/http/listener.ts";
import { openPaused, openUnfinished } from "../helpers/raw-http.ts";
import { eventually, TestService } from "../helpers/service.ts";

const SLOTS = 6;
const PRINTED = 4 * 2 ** 20;

describe("Soak: slow clients", () => {
  let service: TestService;
  const sockets: Socket[] = [];

  before(async () => {
    service = await TestService.start({ env: { CODE_MODE_MAX_RUNNING: String(SLOTS) } });
  });
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
  });
  after(() => service.close());

  it("gives the slots of those that never read back, round after round", async () => {
    const body = JSON.stringify({ code: `process.stdout.write("\\u0001".repeat(${PRINTED}));`, limits: { outputBytes: PRINTED } });
    const headers = { "Content-Type": "application/json" };
    sockets.push(...(await Promise.all(Array.from({ length: 3 * SLOTS }, () => openPaused(service.url, "/v1/executions", headers, body)))));
    await eventually("all have run", async () => (await service.sandboxes()).length > 0);
    await eventually("another request is served", async () => (await service.post({ code: "return 1" })).status === 200, 120_000);
  });

  it("cuts off connections whose headers do not end", async () => {
    let closed = 0;
    const onClose = (): void => {
      closed += 1;
    };
    await openUnfinished(service.url, MAX_CONNECTIONS, { sockets, onClose });
    // Nobody waits for the rest of their headers for longer than ten seconds and a check.
    await eventually("all are cut off", () => closed >= MAX_CONNECTIONS, 20_000);
    assert.equal(await service.result("return 6 * 7"), 42);
  });
});
