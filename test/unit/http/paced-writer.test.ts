/** Answers that are written as their reader takes them: what becomes of one that never gets its turn. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:net";
import type { AddressInfo } from "node:net";

import type { Response } from "express";

import { PacedWriter } from "../../../src/http/paced-writer.ts";

const STALL_MS = 50;

describe("paced-writer: an answer that waits for another one on its connection", () => {
  it("is given up after a while, and whoever waits for its end hears of it", async () => {
    const closed: string[] = [];
    let written: boolean | undefined;
    const server = createServer((request, response) => {
      response.once("close", () => closed.push(request.url ?? ""));
      // The first is never ended, so that the second has no turn.
      if (request.url === "/first") response.write("for ever");
      else void new PacedWriter(response as Response, STALL_MS).write("x".repeat(1_000_000)).then((taken) => (written = taken));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
    try {
      client.write("GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /second HTTP/1.1\r\nHost: x\r\n\r\n");
      await new Promise((resolve) => setTimeout(resolve, 10 * STALL_MS));
      assert.deepEqual(closed, ["/second"]);
      assert.equal(written, false);
    } finally {
      client.destroy();
      server.close();
    }
  });
});
