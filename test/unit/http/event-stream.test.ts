/** Server-sent events to readers on real sockets: complete, bounded, and never forged by what a program prints. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { connect } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import express from "express";
import fc from "fast-check";

import type { Execution } from "../../../src/domain/execution.ts";
import { EventLog } from "../../../src/execution/event-log.ts";
import { describeUnderWay } from "../../../src/execution/execution-store.ts";
import { OutputCollector } from "../../../src/execution/output-collector.ts";
import { eventPieces, sendEvents, sendStreamHead } from "../../../src/http/event-stream.ts";
import type { StreamOptions } from "../../../src/http/event-stream.ts";
import { eventually } from "../support/eventually.ts";
import { finishedIn, parseEvents, printedIn } from "../../helpers/events.ts";

const endOf = (log: EventLog): Execution => ({
  ...describeUnderWay({ id: "exe_1", runtime: "node", owner: "a", createdAtMs: 0, status: "running", execution: undefined }),
  status: "completed",
  stdout: log.text("stdout"),
  stderr: log.text("stderr"),
});

/** A log of an execution that printed this. */
function logOf(...texts: readonly string[]): EventLog {
  const log = new EventLog();
  log.started("exe_1", "node");
  for (const text of texts) log.printed("stdout", text);
  log.finished(endOf(log));
  return log;
}

const textOf = (log: EventLog): string =>
  Array.from({ length: log.lastId }, (_, index) => [...eventPieces(index + 1, log.get(index + 1)!)].join("")).join("");

/** Ends of lines of all kinds of clients, fields, and commands to terminals. */
const hostile = fc.oneof(
  fc.constantFrom(
    "\r",
    "\n",
    "\r\n",
    "\n\n",
    "\u2028",
    "\u2029",
    "\u0085",
    "\v",
    "\f",
    "\u001c",
    "\u001e",
    "\0",
    "\ufeff",
    "\u001b[2J",
    "\u009b2J",
  ),
  fc.constantFrom("data: {}", "event: finished", "id: 99", "retry: 0", ": comment", '"}', "\\", "\ud800", "\udc00", "😀"),
  fc.string({ unit: "binary", maxLength: 5 }),
);

describe("event-stream: the text of events", () => {
  it("gives a reader what was printed, and nothing that was printed is an event, a field or an end of line", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.array(hostile, { maxLength: 8 }).map((parts) => parts.join("")),
          { maxLength: 5 },
        ),
        (texts) => {
          const log = logOf(...texts);
          const text = textOf(log);
          const events = parseEvents(text);
          const execution = finishedIn(events);
          assert.equal(events.length, log.lastId);
          assert.equal(printedIn(events, "stdout"), texts.join(""));
          assert.equal(execution.stdout, texts.join(""));
          // Clients that split by any of Unicode's ends of lines get the same lines.
          // eslint-disable-next-line no-control-regex -- these are the characters it is about
          assert.equal(text.split(/[\v\f\u001c-\u001e\u0085\u2028\u2029]/).length, 1);
          assert.equal(text.split(/\r\n|\r|\n/).length, 4 * log.lastId + 1);
          // eslint-disable-next-line no-control-regex -- these are the characters it is about
          assert.ok(!/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/.test(text), "no command to a terminal");
        },
      ),
      { numRuns: 1000 },
    );
  });

  it("of a large result comes in pieces", () => {
    const log = logOf("\u0085".repeat(1_000_000));
    const pieces = [...eventPieces(3, log.get(3)!)];
    assert.ok(pieces.every((piece) => piece.length <= 7 * 32_768));
    assert.equal((JSON.parse(parseEvents(pieces.join(""))[0]!.data) as Execution).stdout, "\u0085".repeat(1_000_000));
  });
});

describe("event-stream: to readers", () => {
  let server: Server;
  let log: EventLog;
  let options: StreamOptions;
  let written: number;
  let done: number;
  const sockets: Socket[] = [];

  beforeEach(async () => {
    log = new EventLog();
    options = { after: 0 };
    written = 0;
    done = 0;
    const app = express();
    app.get("/", async (_request, response) => {
      const write = response.write.bind(response) as (piece: string) => boolean;
      response.write = ((piece: string) => {
        written += piece.length;
        return write(piece);
      }) as typeof response.write;
      sendStreamHead(response);
      await sendEvents(response, log, options);
      done += 1;
    });
    server = createServer(app).listen(0, "127.0.0.1");
    await once(server, "listening");
  });
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
    server.closeAllConnections();
    server.close();
  });

  const url = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  /** A reader that asks and takes nothing. */
  const openAndPause = (): Socket => {
    const socket = connect((server.address() as AddressInfo).port, "127.0.0.1").pause();
    socket.on("error", () => undefined);
    socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    sockets.push(socket);
    return socket;
  };

  it("has a head at once, that keeps caches and proxies out of the way, before there is any event", async () => {
    const response = await fetch(url());
    assert.deepEqual(
      ["content-type", "cache-control", "x-accel-buffering"].map((name) => response.headers.get(name)),
      ["text/event-stream; charset=utf-8", "no-store", "no"],
    );
    log.finished(endOf(log));
    assert.equal(finishedIn(parseEvents(await response.text())).status, "completed");
  });

  it("gives each of fifty all events in order, whenever it came", async () => {
    const readers: Promise<string>[] = [];
    for (let count = 0; count < 50; count += 1) {
      readers.push(fetch(url()).then((response) => response.text()));
      log.printed("stdout", `${count}\n`);
      if (count % 10 === 0) await sleep(5);
    }
    log.finished(endOf(log));
    for (const text of await Promise.all(readers)) {
      const events = parseEvents(text);
      assert.equal(finishedIn(events).stdout, log.text("stdout"));
      assert.equal(printedIn(events, "stdout"), log.text("stdout"));
    }
    await eventually(() => done === 50, "all handlers are done");
  });

  it("after any event gives exactly the rest", async () => {
    log = logOf("a", "b", "c");
    for (let after = 0; after < log.lastId; after += 1) {
      options = { after };
      const events = parseEvents(await (await fetch(url())).text());
      finishedIn(events, after + 1);
      assert.equal(events.length, log.lastId - after);
    }
  });

  it("has a comment now and then, while nothing is printed and while something is", async () => {
    options = { after: 0, commentMs: 20 };
    const response = fetch(url());
    await sleep(100);
    for (let count = 0; count < 10; count += 1) {
      log.printed("stdout", "x");
      await sleep(10);
    }
    log.finished(endOf(log));
    const text = await (await response).text();
    assert.ok(text.split(": keep-alive\n\n").length > 6, text);
    assert.equal(finishedIn(parseEvents(text)).stdout, "x".repeat(10));
  });

  it("writes no faster than it is read, and cuts off who takes nothing", async () => {
    options = { after: 0, stallMs: 300 };
    log = logOf(...Array.from({ length: 500 }, () => "\u0001".repeat(16_384)));
    const socket = openAndPause();
    await eventually(() => written > 0, "it begins");
    await sleep(100);
    // 49 MB in the events and as much in the result; what the kernel and the response hold is all that was made of it.
    assert.ok(written < 12_000_000, `${written} characters`);
    assert.equal(done, 0);
    await eventually(() => done === 1, "it is cut off");
    socket.resume();
    await once(socket, "close");
  });

  it("lets one who took everything wait for the next event as long as it takes", async () => {
    options = { after: 0, stallMs: 30, commentMs: 40 };
    const response = fetch(url());
    await sleep(200);
    log.finished(endOf(log));
    assert.equal(finishedIn(parseEvents(await (await response).text())).status, "completed");
  });

  it("ends when the reader leaves, waiting or behind", async () => {
    const waiting = openAndPause();
    await eventually(() => server.listening, "it listens");
    await sleep(50);
    waiting.destroy();
    await eventually(() => done === 1, "the one that waited has left");
    for (let count = 0; count < 500; count += 1) log.printed("stdout", "\u0001".repeat(16_384));
    const behind = openAndPause();
    await eventually(() => written > 1_000_000, "it begins");
    behind.destroy();
    await eventually(() => done === 2, "the one that was behind has left");
  });

  it("makes few writes of many small events", async () => {
    log = logOf(...Array.from({ length: 20_000 }, () => "x"));
    let writes = 0;
    server.removeAllListeners("request");
    server.on("request", (_request, response) => {
      const write = response.write.bind(response) as (piece: string) => boolean;
      response.write = ((piece: string) => {
        writes += 1;
        return write(piece);
      }) as typeof response.write;
      void sendEvents(response as never, log, { after: 0 });
    });
    const events = parseEvents(await (await fetch(url())).text());
    assert.equal(finishedIn(events).stdout.length, 20_000);
    assert.ok(writes < 60, `${writes} writes`);
  });
});

describe("event-stream: a program", () => {
  it("that prints in any pieces is heard exactly as its result says", async () => {
    const piece = fc.record({
      stream: fc.constantFrom<"stdout" | "stderr">("stdout", "stderr"),
      bytes: fc.oneof(
        fc.string({ unit: "grapheme", maxLength: 4 }).map((text) => Buffer.from(text)),
        fc.uint8Array({ maxLength: 6 }).map((bytes) => Buffer.from(bytes)),
        fc.integer({ min: 0, max: 40_000 }).map((length) => Buffer.alloc(length, "é")),
      ),
      pause: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 12 }), fc.integer({ min: 0, max: 60_000 }), async (pieces, keptBytes) => {
        const log = new EventLog();
        const collector = new OutputCollector({ caps: { keptBytes, ceilingBytes: Infinity }, events: log, onCeiling: () => undefined });
        for (const { bytes, pause, stream } of pieces) {
          collector[stream](bytes);
          if (pause) await sleep(6);
        }
        const { stderr, stdout } = collector.collect();
        collector.close();
        log.finished({ ...endOf(log), stdout, stderr });
        const events = parseEvents(textOf(log));
        assert.equal(printedIn(events, "stdout"), stdout);
        assert.equal(printedIn(events, "stderr"), stderr);
        for (const stream of ["stdout", "stderr"] as const) {
          const bytes = Buffer.concat(pieces.filter((piece) => piece.stream === stream).map((piece) => piece.bytes)).subarray(0, keptBytes);
          const whole = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
          assert.ok(whole.startsWith({ stdout, stderr }[stream]));
        }
      }),
      { numRuns: 60 },
    );
  });
});
