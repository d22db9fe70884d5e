import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { connect } from "node:net";
import type { AddressInfo } from "node:net";

import express from "express";
import fc from "fast-check";

import { addLongText } from "../../../src/lib/long-text.ts";
import { jsonPieces, sendJson } from "../../../src/http/send-json.ts";
import { eventually } from "../support/eventually.ts";

const joined = (value: unknown): unknown => JSON.parse([...jsonPieces(value)].join(""));

const nested = (levels: number, value: unknown): unknown => (levels === 0 ? value : [nested(levels - 1, value)]);

describe("send-json: an answer in pieces", () => {
  it("is the JSON of the value", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        assert.equal([...jsonPieces(value)].join(""), JSON.stringify(value));
      }),
    );
  });

  it("leaves out what JSON leaves out", () => {
    const value = { a: undefined, b: [undefined, null, 1], c: { d: undefined } };
    assert.equal([...jsonPieces(value)].join(""), JSON.stringify(value));
  });

  it("of a long text is cut anywhere, also inside a character, and comes together again", () => {
    for (const unit of ["x", "😀", "x😀", "\u0000", '"\\', "\ud83d", "\ude00", "é\u2028"]) {
      const value = { text: unit.repeat(100_000), after: 1 };
      assert.deepEqual(joined(value), value);
    }
  });

  it("of a text that is made piece by piece is the JSON of the whole, which is never made", () => {
    let made = 0;
    const file = addLongText({ path: "a" }, "content", function* () {
      for (const piece of ["", '"quoted"', "x".repeat(100_000), "\u0000é😀"]) {
        made += 1;
        yield piece;
      }
    });
    const value = { files: [Object.assign(file, { encoding: "utf8" })], after: [1] };
    const text = [...jsonPieces(value)].join("");
    assert.equal(made, 4);
    assert.equal(text, JSON.stringify(value));
    assert.deepEqual(Object.keys(file), ["path", "content", "encoding"]);
  });

  it("has no piece much larger than its share, whatever escaping makes of it", () => {
    for (const piece of jsonPieces({ stdout: "\u0000".repeat(1_000_000), files: [{ content: '"'.repeat(500_000) }] }))
      assert.ok(piece.length <= 7 * 32_768 + 2);
  });

  // A service that made a write of each value would be busy for many seconds with what one program returns.
  for (const [title, value, text] of [
    ["of millions of values", new Array<number>(2_000_000).fill(0), `[${"0,".repeat(1_999_999)}0]`],
    ["of an object with many keys", Object.fromEntries(Array.from({ length: 100_000 }, (_, index) => [`k${index}`, []])), undefined],
    ["of millions of values deep inside", nested(98, new Array<null>(1_000_000).fill(null)), undefined],
  ] as const) {
    it(`${title} has few pieces, and is made in about the time that JSON.stringify takes`, () => {
      const beganAt = performance.now();
      const expected = text ?? JSON.stringify(value);
      const stringifyMs = performance.now() - beganAt;
      const pieces = [...jsonPieces(value)];
      const piecesMs = performance.now() - beganAt - stringifyMs;
      assert.ok(pieces.join("") === expected);
      assert.ok(pieces.length <= expected.length / 32_768 + 1, `${pieces.length} pieces`);
      assert.ok(piecesMs < 20 * stringifyMs + 3000, `${piecesMs} ms, JSON.stringify ${stringifyMs} ms`);
    });
  }
});

describe("send-json: to a reader", () => {
  let server: Server;
  let finished: number;
  let sent: number;
  const LARGE = { stdout: "\u0001".repeat(4_000_000), stderr: "e".repeat(100_000) };

  beforeEach(async () => {
    finished = 0;
    sent = 0;
    const app = express();
    app.get("/", async (_request, response) => {
      const write = response.write.bind(response) as (piece: string) => boolean;
      response.write = ((piece: string) => {
        sent += piece.length;
        return write(piece);
      }) as typeof response.write;
      await sendJson(response.type("json"), LARGE);
      finished += 1;
    });
    server = createServer(app).listen(0, "127.0.0.1");
    await once(server, "listening");
  });
  afterEach(() => {
    server.closeAllConnections();
    server.close();
  });

  it("arrives whole", async () => {
    const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    assert.deepEqual(await response.json(), LARGE);
    await eventually(() => finished === 1, "the handler is done");
  });

  it("is made no faster than it is read, and ends when the reader leaves", async () => {
    const socket = connect((server.address() as AddressInfo).port, "127.0.0.1").pause();
    socket.on("error", () => undefined);
    socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await eventually(() => sent > 0, "it begins");
    await new Promise((resolve) => setTimeout(resolve, 50));
    // 24 MB as JSON; what the kernel and the response buffer is all that was made of it.
    assert.ok(sent < 12_000_000, `${sent} characters`);
    assert.equal(finished, 0);
    socket.destroy();
    await eventually(() => finished === 1, "the handler is done");
  });
});
