/**
 * The service's end of a sandbox's socket, over a real unix socket. The other end is played here, and does what no honest runner does.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Server, Socket } from "node:net";
import path from "node:path";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";

import { encodeFrame, encodeMessage, FrameDecoder, FrameKind } from "../../../src/bridge/frames.ts";
import { MESSAGE_CAPS } from "../../../src/bridge/protocol.ts";
import { RunnerConnection } from "../../../src/bridge/runner-connection.ts";
import type { RunnerConnectionLimits, RunnerEvents, RunnerMessage } from "../../../src/bridge/runner-connection.ts";
import { eventually } from "../support/eventually.ts";
import { useTempFolder } from "../support/temp-folder.ts";

const PLENTY = { burst: 1e9, perSecond: 1e9, total: 1e9 };
const LIMITS: RunnerConnectionLimits = { maxFrameBytes: 65_536, frames: PLENTY, bytes: PLENTY, maxUnsentBytes: 1_000_000 };

/** Remembers what the connection reported. */
class Recorder implements RunnerEvents {
  readonly messages: { method: string; params: unknown }[] = [];
  readonly chunks: Buffer[] = [];
  readonly ends: (string | undefined)[] = [];
  drains = 0;
  onMessage: (message: RunnerMessage) => Promise<void> | undefined = () => undefined;
  onChunk: () => Promise<void> | undefined = () => undefined;

  message(message: RunnerMessage): Promise<void> | undefined {
    const { method, params } = message;
    this.messages.push({ method, params });
    return this.onMessage(message);
  }

  drained(): void {
    this.drains += 1;
  }

  archiveChunk(chunk: Buffer): Promise<void> | undefined {
    this.chunks.push(chunk);
    return this.onChunk();
  }

  ended(violation: string | undefined): void {
    this.ends.push(violation);
  }
}

const message = (index: number): Buffer => encodeMessage({ jsonrpc: "2.0", method: "note", params: { index } });

describe("runner-connection: a sandbox's socket", () => {
  const folder = useTempFolder();
  let server: Server;
  let peer: Socket;
  let events: Recorder;
  let connection: RunnerConnection;

  const open = async (limits: Partial<RunnerConnectionLimits> = {}): Promise<void> => {
    events = new Recorder();
    const address = path.join(folder(), "tools.sock");
    server = createServer({ pauseOnConnect: true }).listen(address);
    await once(server, "listening");
    peer = connect(address);
    peer.on("error", () => undefined);
    const [socket] = (await once(server, "connection")) as [Socket];
    connection = new RunnerConnection(socket, { ...LIMITS, ...limits }, events);
  };

  const ended = async (): Promise<string | undefined> => {
    await eventually(() => events.ends.length > 0, "the end of the connection");
    return events.ends[0];
  };

  afterEach(async () => {
    connection.close();
    peer.destroy();
    server.close();
    await nextTurn();
    // Whatever happened: the end was told exactly once.
    assert.equal(events.ends.length, 1);
  });

  describe("honest traffic", () => {
    it("arrives in order, also byte by byte", async () => {
      await open();
      const bytes = Buffer.concat([
        message(0),
        encodeFrame(FrameKind.archive, Buffer.from("tar")),
        message(1),
        encodeFrame(FrameKind.archive, Buffer.alloc(0)),
        message(2),
      ]);
      for (const byte of bytes) {
        peer.write(Buffer.from([byte]));
        await nextTurn();
      }
      await eventually(() => events.messages.length === 3, "three messages");
      assert.deepEqual(
        events.messages,
        [0, 1, 2].map((index) => ({ method: "note", params: { index } })),
      );
      assert.deepEqual(events.chunks, [Buffer.from("tar"), Buffer.alloc(0)]);
    });

    it("waits while a chunk of an archive is taken, and then goes on in order", async () => {
      await open();
      let release: () => void = () => undefined;
      events.onChunk = () => new Promise((resolve) => (release = resolve));
      const chunk = encodeFrame(FrameKind.archive, Buffer.alloc(60_000));
      let written = 0;
      for (let count = 0; count < 40; count += 1) peer.write(chunk, () => (written += 1));
      peer.write(message(9));
      for (let taken = 1; taken <= 40; taken += 1) {
        await eventually(() => events.chunks.length === taken, `chunk ${taken}`);
        await nextTurn();
        assert.equal(events.chunks.length, taken);
        if (taken === 1) assert.ok(written < 20, `${written} chunks left the peer while none was taken`);
        release();
      }
      await eventually(() => events.messages.length === 1, "the message after them");
      assert.deepEqual(events.messages, [{ method: "note", params: { index: 9 } }]);
    });

    it("ends where a chunk cannot be taken", async () => {
      await open();
      events.onChunk = () => Promise.reject(new Error("no"));
      peer.write(Buffer.concat([encodeFrame(FrameKind.archive, Buffer.from("tar")), message(1)]));
      assert.equal(await ended(), "what the sandbox sent could not be taken");
      assert.deepEqual(events.messages, []);
    });

    it("comes to its end though a chunk is still being taken", async () => {
      await open();
      let release: () => void = () => undefined;
      events.onChunk = () => new Promise((resolve) => (release = resolve));
      peer.end(Buffer.concat([encodeFrame(FrameKind.archive, Buffer.from("tar")), message(1)]));
      await eventually(() => events.chunks.length === 1, "the chunk");
      await nextTurn();
      assert.deepEqual([events.messages.length, events.ends], [0, []]);
      release();
      assert.equal(await ended(), undefined);
      assert.equal(events.messages.length, 1);
    });

    it("is not lost when it came before anybody listened", async () => {
      await open();
      peer.write(Buffer.concat([message(7), message(8)]));
      await eventually(() => events.messages.length === 2, "two messages");
    });

    it("may be a frame of exactly the cap", async () => {
      await open({ maxFrameBytes: 100 });
      peer.write(encodeFrame(FrameKind.archive, Buffer.alloc(100)));
      await eventually(() => events.chunks.length === 1, "the chunk");
    });

    it("may have no params", async () => {
      await open();
      peer.write(encodeMessage({ jsonrpc: "2.0", method: "ready", params: null }));
      await eventually(() => events.messages.length === 1, "the message");
    });

    it("ends without a violation when the peer hangs up, even in the middle of a frame", async () => {
      await open();
      peer.end(message(0).subarray(0, 9));
      assert.equal(await ended(), undefined);
      assert.deepEqual(events.messages, []);
    });
  });

  describe("requests and notifications", () => {
    it("of the peer come with their size, a request with its id; what is read after one waits until it is taken", async () => {
      await open();
      const seen: RunnerMessage[] = [];
      let release: () => void = () => undefined;
      events.onMessage = (one) => {
        seen.push(one);
        return one.id === undefined ? undefined : new Promise((resolve) => (release = resolve));
      };
      const request = encodeMessage({ jsonrpc: "2.0", id: 3, method: "ask", params: {} });
      peer.write(Buffer.concat([message(0), request, message(1)]));
      await eventually(() => seen.length === 2, "the request");
      await nextTurn();
      assert.equal(seen.length, 2);
      release();
      await eventually(() => seen.length === 3, "what came after it");
      assert.deepEqual([seen[0]?.id, seen[1]?.id, seen[1]?.sizeBytes], [undefined, 3, request.byteLength - 5]);
    });

    it("of the peer are answered; it is told when answers that waited are read", async () => {
      await open();
      peer.pause();
      connection.respond(3, "x".repeat(900_000));
      assert.ok(connection.unsentBytes > 300_000);
      assert.throws(() => {
        connection.respond(4, 1n);
      }, TypeError);
      assert.equal(events.drains, 0);
      peer.resume();
      assert.deepEqual(await received(), { jsonrpc: "2.0", id: 3, result: "x".repeat(900_000) });
      await eventually(() => events.drains === 1, "the drain");
      assert.equal(connection.unsentBytes, 0);
      connection.close();
      connection.respond(5, "to nobody");
    });

    for (const id of [-1, 1.5, "1", null, 2 ** 53]) {
      it(`with the id ${JSON.stringify(id)} are none`, async () => {
        await open();
        peer.write(encodeMessage({ jsonrpc: "2.0", id, method: "ask", params: {} }));
        assert.match((await ended()) ?? "", /a message that is none/);
        assert.deepEqual(events.messages, []);
      });
    }

    const received = async (): Promise<unknown> => {
      const decoder = new FrameDecoder({ maxPayloadBytes: 1_000_000 });
      for (;;) {
        const [chunk] = (await once(peer, "data")) as [Buffer];
        decoder.push(chunk);
        const frame = decoder.next();
        if (frame !== undefined) return JSON.parse(frame.payload.toString());
      }
    };

    it("are answered by id, in any order", async () => {
      await open();
      const answers = [connection.request("inspect", { paths: ["/a"] }), connection.request("inspect", { paths: ["/b"] })];
      assert.deepEqual(await received(), { jsonrpc: "2.0", id: 1, method: "inspect", params: { paths: ["/a"] } });
      peer.write(
        Buffer.concat([
          encodeMessage({ jsonrpc: "2.0", id: 2, result: "second" }),
          encodeMessage({ jsonrpc: "2.0", id: 1, result: "first" }),
        ]),
      );
      assert.deepEqual(await Promise.all(answers), ["first", "second"]);
    });

    it("that are notifications have no id", async () => {
      await open();
      connection.notify("close", { marker: "m" });
      assert.deepEqual(await received(), { jsonrpc: "2.0", method: "close", params: { marker: "m" } });
    });

    it("are rejected when the connection ends first, and after it", async () => {
      await open();
      const waiting = connection.request("inspect", {});
      peer.destroy();
      await assert.rejects(waiting, /connection is closed/);
      await ended();
      await assert.rejects(connection.request("inspect", {}), /connection is closed/);
      connection.notify("close", {});
    });
  });

  describe("violations", () => {
    const violates = (title: string, bytes: Buffer, reason: RegExp, limits: Partial<RunnerConnectionLimits> = {}): void => {
      it(`${title} ends the connection`, async () => {
        await open(limits);
        const hungUp = once(peer.resume(), "close");
        peer.write(Buffer.concat([message(0), bytes, message(1)]));
        assert.match((await ended()) ?? "none", reason);
        assert.deepEqual(
          events.messages.map(({ params }) => params),
          [{ index: 0 }],
          "what came before counts, what comes after does not",
        );
        await hungUp;
      });
    };
    const header = (length: number, kind: number): Buffer => {
      const bytes = Buffer.alloc(5);
      bytes.writeUInt32BE(length, 0);
      bytes.writeUInt8(kind, 4);
      return bytes;
    };
    const text = (json: string): Buffer => encodeFrame(FrameKind.message, Buffer.from(json));

    violates(
      "a frame over the cap, from its header alone,",
      header(65_537, FrameKind.message),
      /^a frame of 65537 bytes is over the cap of 65536$/,
    );
    violates("a frame of four gigabytes", header(0xffff_ffff, FrameKind.archive), /over the cap/);
    violates("an unknown kind", header(0, 9), /^unknown frame kind 9$/);
    violates("text that is no JSON", text("hello"), /JSON/);
    violates("an empty message", text(""), /JSON/);
    violates("JSON that is cut", text('{"jsonrpc":"2.0"'), /JSON/);
    violates(
      "JSON that is too deep",
      text(`{"jsonrpc":"2.0","method":"m","params":${"[".repeat(MESSAGE_CAPS.depth)}${"]".repeat(MESSAGE_CAPS.depth)}}`),
      /nested more than 128 levels deep/,
    );
    violates("JSON that is deeper than any stack", text("[".repeat(60_000)), /nested more than 128 levels deep/);
    violates("a list of messages", text('[{"jsonrpc":"2.0","method":"m","params":1}]'), /a message that is none/);
    violates("null", text("null"), /a message that is none/);
    violates("another version of JSON-RPC", text('{"jsonrpc":"1.0","method":"m","params":1}'), /a message that is none/);
    violates("a field that no message has", text('{"jsonrpc":"2.0","method":"m","params":1,"extra":1}'), /a message that is none/);
    violates("a method that is no text", text('{"jsonrpc":"2.0","method":1,"params":1}'), /a message that is none/);
    violates("a method with a long name", text(`{"jsonrpc":"2.0","method":"${"m".repeat(65)}","params":1}`), /a message that is none/);
    violates(
      "an answer to a request that was not made",
      text('{"jsonrpc":"2.0","id":1,"result":1}'),
      /^the sandbox answered a request that was not made$/,
    );
    violates("an answer with an id that is none", text('{"jsonrpc":"2.0","id":-1,"result":1}'), /a message that is none/);
    violates("an answer with a fraction for an id", text('{"jsonrpc":"2.0","id":1.5,"result":1}'), /a message that is none/);

    it("an answer given twice ends the connection, and the first one stands", async () => {
      await open();
      const answer = connection.request("inspect", {});
      const bytes = encodeMessage({ jsonrpc: "2.0", id: 1, result: "mine" });
      peer.write(Buffer.concat([bytes, bytes]));
      assert.equal(await answer, "mine");
      assert.equal(await ended(), "the sandbox answered a request that was not made");
    });

    it("of the caller's own finding end it with that reason", async () => {
      await open();
      events.onMessage = () => {
        connection.fail("not here");
      };
      peer.write(Buffer.concat([message(0), message(1)]));
      assert.equal(await ended(), "not here");
      assert.equal(events.messages.length, 1);
    });
  });

  describe("budgets", () => {
    it("more frames than the total end the connection, valid as they are", async () => {
      await open({ frames: { ...PLENTY, total: 100 } });
      peer.write(Buffer.concat(Array.from({ length: 150 }, (_, index) => message(index))));
      assert.equal(await ended(), "the sandbox sent more messages than an execution may");
      assert.equal(events.messages.length, 100);
    });

    it("archive frames count like any other", async () => {
      await open({ frames: { ...PLENTY, total: 10 } });
      peer.write(Buffer.concat(Array.from({ length: 11 }, () => encodeFrame(FrameKind.archive, Buffer.alloc(0)))));
      assert.equal(await ended(), "the sandbox sent more messages than an execution may");
    });

    it("more bytes than the total end the connection, whole frames or not", async () => {
      await open({ bytes: { ...PLENTY, total: 1000 } });
      peer.write(encodeFrame(FrameKind.archive, Buffer.alloc(2000)).subarray(0, 1001));
      assert.equal(await ended(), "the sandbox sent more bytes than an execution may");
    });

    it("frames over the rate wait, and none is lost", async () => {
      await open({ frames: { burst: 10, perSecond: 200, total: 1e6 } });
      const began = performance.now();
      peer.write(Buffer.concat(Array.from({ length: 60 }, (_, index) => message(index))));
      await sleep(60);
      assert.ok(events.messages.length <= 40, `${events.messages.length} after 60 ms`);
      await eventually(() => events.messages.length === 60, "all messages");
      assert.ok(performance.now() - began >= 200, "50 frames at 200 a second take a quarter of a second");
      assert.deepEqual(
        events.messages.map(({ params }) => params),
        Array.from({ length: 60 }, (_, index) => ({ index })),
      );
    });

    it("bytes over the rate are not read: the peer has to wait", async () => {
      await open({ maxFrameBytes: 10_000_000, bytes: { burst: 100_000, perSecond: 1_000_000, total: 1e9 } });
      peer.write(encodeFrame(FrameKind.archive, Buffer.alloc(5_000_000)));
      await sleep(100);
      assert.ok(peer.writableLength > 3_000_000, "most of it is still on the peer's side");
      assert.deepEqual(events.chunks, []);
    });

    it("a flood is handled a few frames a turn, so that others get theirs", async () => {
      await open();
      let inThisTurn = 0;
      let most = 0;
      const over = new AbortController();
      events.onMessage = () => {
        inThisTurn += 1;
        most = Math.max(most, inThisTurn);
      };
      const turns = (async () => {
        while (!over.signal.aborted) {
          await nextTurn();
          inThisTurn = 0;
        }
      })();
      peer.write(Buffer.concat(Array.from({ length: 20_000 }, (_, index) => message(index))));
      await eventually(() => events.messages.length === 20_000, "all messages");
      over.abort();
      await turns;
      assert.ok(most <= 64, `${most} frames in one turn`);
    });

    it("a flood of tiny chunks is taken in too", async () => {
      await open();
      const bytes = Buffer.concat(Array.from({ length: 300 }, (_, index) => message(index)));
      for (let offset = 0; offset < bytes.byteLength; offset += 3) {
        peer.write(bytes.subarray(offset, offset + 3));
        if (offset % 300 === 0) await nextTurn();
      }
      await eventually(() => events.messages.length === 300, "all messages");
    });

    it("nothing more is handled while the peer does not read its answers", async () => {
      await open({ maxUnsentBytes: 500_000 });
      const answer = { text: "x".repeat(100_000) };
      events.onMessage = () => {
        connection.notify("answer", answer);
      };
      peer.pause();
      peer.write(Buffer.concat(Array.from({ length: 400 }, (_, index) => message(index))));
      await eventually(() => events.messages.length > 4, "the first answers");
      await sleep(100);
      const handled = events.messages.length;
      // What the kernel holds comes on top of the budget.
      assert.ok(handled < 40, `${handled} of 400 were handled`);
      await sleep(50);
      assert.equal(events.messages.length, handled);
      peer.resume();
      await eventually(() => events.messages.length === 400, "all messages, once the answers are read");
      assert.deepEqual(events.ends, []);
    });
  });

  describe("the end", () => {
    it("in the middle of a chunk stops at once: what follows in it is not handled", async () => {
      await open();
      events.onMessage = () => {
        connection.close();
      };
      peer.write(Buffer.concat([message(0), message(1), message(2)]));
      assert.equal(await ended(), undefined);
      await sleep(20);
      assert.equal(events.messages.length, 1);
    });

    it("keeps its first reason", async () => {
      await open();
      connection.fail("first");
      connection.fail("second");
      connection.close();
      peer.destroy();
      await sleep(20);
      assert.deepEqual(events.ends, ["first"]);
    });

    it("comes to a connection that waits for its budget", async () => {
      await open({ frames: { burst: 1, perSecond: 0.001, total: 1e6 } });
      peer.write(Buffer.concat([message(0), message(1), message(2)]));
      await eventually(() => events.messages.length > 0, "the first message");
      connection.close();
      await sleep(20);
      assert.equal(events.messages.length, 2);
      assert.deepEqual(events.ends, [undefined]);
    });

    it("comes to a connection whose peer does not read", async () => {
      await open({ maxUnsentBytes: 100_000 });
      peer.pause();
      events.onMessage = () => {
        connection.notify("answer", { text: "x".repeat(1_000_000) });
      };
      peer.write(Buffer.concat([message(0), message(1)]));
      await eventually(() => events.messages.length === 1, "the first message");
      connection.close();
      assert.deepEqual(events.ends, [undefined]);
    });

    it("when the peer is killed is an ordinary end, though it left things unread", async () => {
      await open();
      connection.notify("execute", { code: "x".repeat(100_000) });
      await sleep(10);
      peer.destroy();
      assert.equal(await ended(), undefined);
    });

    it("by a peer that hangs up comes after all that it sent, though it waits for its turn", async () => {
      await open();
      peer.end(Buffer.concat(Array.from({ length: 500 }, (_, index) => message(index))));
      assert.equal(await ended(), undefined);
      assert.equal(events.messages.length, 500);
    });

    it("by a peer that hangs up comes after all that it sent, though it waits for its budget", async () => {
      await open({ frames: { burst: 10, perSecond: 1000, total: 1e6 } });
      peer.end(Buffer.concat(Array.from({ length: 100 }, (_, index) => message(index))));
      assert.equal(await ended(), undefined);
      assert.equal(events.messages.length, 100);
    });

    it("by a peer that hangs up comes with the violation that it left behind", async () => {
      await open();
      peer.end(
        Buffer.concat([...Array.from({ length: 100 }, (_, index) => message(index)), encodeFrame(FrameKind.message, Buffer.from("junk"))]),
      );
      assert.match((await ended()) ?? "none", /JSON/);
      assert.equal(events.messages.length, 100);
    });

    it("by a peer that hangs up without reading its answers is seen", async () => {
      await open({ maxUnsentBytes: 100_000 });
      peer.pause();
      events.onMessage = () => {
        connection.notify("answer", { text: "x".repeat(1_000_000) });
      };
      peer.write(Buffer.concat([message(0), message(1), message(2)]));
      await eventually(() => events.messages.length === 1, "the first message");
      peer.destroy();
      assert.equal(await ended(), undefined);
      assert.equal(events.messages.length, 3);
    });
  });
});
