import assert from "node:assert/strict";
import { Duplex } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";

import fc from "fast-check";

import { AttachStream, MarkerCutter } from "../../../../src/sandbox/docker/attach-stream.ts";

const MARKER = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978";

/** Cuts bytes into pieces at these places. */
const cut = (bytes: Buffer, places: readonly number[]): Buffer[] => {
  const sorted = [0, ...places.map((place) => place % (bytes.byteLength + 1)), bytes.byteLength].sort((a, b) => a - b);
  return sorted.slice(1).map((end, index) => bytes.subarray(sorted[index], end));
};

/** Few letters, so that what looks like a marker's beginning comes often. */
const letters = (maxLength: number, minLength = 0): fc.Arbitrary<Buffer> =>
  fc.array(fc.constantFrom("a", "b"), { minLength, maxLength }).map((characters) => Buffer.from(characters.join("")));
const places = fc.array(fc.nat(60), { maxLength: 10 });

describe("attach-stream: a stream cut at its marker", () => {
  it("is exactly what precedes the marker, whatever the stream and the chunking", () => {
    fc.assert(
      fc.property(letters(30), letters(8, 1), letters(20), places, (before, marker, after, where) => {
        const stream = Buffer.concat([before, marker, after]);
        const expected = stream.subarray(0, stream.indexOf(marker));
        const cutter = new MarkerCutter();
        cutter.expect(marker);
        const given = cut(stream, where).map((chunk) => Buffer.from(cutter.push(Buffer.from(chunk))));
        assert.deepEqual(Buffer.concat([...given, cutter.flush()]).toString(), expected.toString());
        assert.ok(cutter.cut);
      }),
      { numRuns: 3000 },
    );
  });

  it("is the whole stream where the marker never comes, and at no time more than what came", () => {
    fc.assert(
      fc.property(letters(40), letters(8, 1), places, (stream, marker, where) => {
        fc.pre(!stream.includes(marker));
        const cutter = new MarkerCutter();
        cutter.expect(marker);
        const given = cut(stream, where).map((chunk) => Buffer.from(cutter.push(Buffer.from(chunk))));
        const held = cutter.flush();
        assert.ok(held.byteLength < marker.byteLength, "no more is held back than could be the marker");
        assert.equal(Buffer.concat([...given, held]).toString(), stream.toString());
        assert.equal(cutter.cut, false);
      }),
      { numRuns: 2000 },
    );
  });

  it("is untouched before a marker is expected, and held back only as far as it must be", () => {
    const cutter = new MarkerCutter();
    assert.equal(cutter.push(Buffer.from("abc")).toString(), "abc");
    cutter.expect(Buffer.from("STOP"));
    assert.equal(cutter.push(Buffer.from("def")).toString(), "def");
    assert.equal(cutter.push(Buffer.from("ghiST")).toString(), "ghi");
    assert.equal(cutter.push(Buffer.from("x")).toString(), "STx");
    assert.equal(cutter.push(Buffer.from("STOPafter")).toString(), "");
    assert.equal(cutter.push(Buffer.from("more")).toString(), "");
  });
});

describe("attach-stream: the engine's stream", () => {
  /** The engine's framing: stream, three zeros, length, payload. */
  const frame = (stream: 0 | 1 | 2 | 3, text: string | Buffer): Buffer => {
    const payload = Buffer.from(text);
    const header = Buffer.alloc(8);
    header.writeUInt8(stream, 0);
    header.writeUInt32BE(payload.byteLength, 4);
    return Buffer.concat([header, payload]);
  };

  class Engine extends Duplex {
    stdin = "";
    stdinEnded = false;
    override _read(): void {
      // Pushed by the tests.
    }
    override _write(chunk: Buffer, _encoding: string, done: () => void): void {
      this.stdin += chunk.toString();
      done();
    }
    override _final(done: () => void): void {
      this.stdinEnded = true;
      done();
    }
  }

  let engine: Engine;
  let attach: AttachStream;
  let printed: { stdout: string; stderr: string };
  const listen = (): void => {
    printed = { stdout: "", stderr: "" };
    attach.deliverTo({
      stdout: (chunk) => (printed.stdout += chunk.toString("latin1")),
      stderr: (chunk) => (printed.stderr += chunk.toString("latin1")),
    });
  };
  beforeEach(() => {
    engine = new Engine();
    attach = new AttachStream(engine);
    listen();
  });
  afterEach(() => {
    attach.destroy();
  });
  const isSettled = async (promise: Promise<unknown>): Promise<boolean> => {
    let settled = false;
    void promise.then(() => (settled = true));
    await nextTurn();
    return settled;
  };

  it("is split into the program's two, whatever the chunking, with empty frames and unknown streams in it", async () => {
    const printable = fc.string({ unit: "binary-ascii", maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ stream: fc.constantFrom(0, 1, 1, 2, 2, 3), text: printable }), { maxLength: 8 }),
        fc.array(fc.nat(200), { maxLength: 12 }),
        async (frames, where) => {
          engine = new Engine();
          attach = new AttachStream(engine);
          listen();
          for (const chunk of cut(Buffer.concat(frames.map(({ stream, text }) => frame(stream, text))), where))
            if (chunk.byteLength > 0) engine.push(chunk);
          await nextTurn();
          const all = (wanted: number): string => frames.flatMap(({ stream, text }) => (stream === wanted ? [text] : [])).join("");
          assert.deepEqual(printed, { stdout: all(1), stderr: all(2) });
          attach.destroy();
        },
      ),
      { numRuns: 300 },
    );
  });

  it("is read whether or not somebody listens; what came before is dropped", async () => {
    engine = new Engine();
    attach = new AttachStream(engine);
    for (let count = 0; count < 100; count += 1) engine.push(frame(1, Buffer.alloc(100_000, "x")));
    await nextTurn();
    assert.equal(engine.readableLength, 0);
    listen();
    engine.push(frame(1, "now"));
    await nextTurn();
    assert.equal(printed.stdout, "now");
  });

  it("is drained when both streams are cut, wherever the marker is split, and not before", async () => {
    const drained = attach.drained(MARKER);
    engine.push(frame(1, `out${MARKER.slice(0, 10)}`));
    engine.push(frame(2, `err${MARKER}`));
    assert.equal(await isSettled(drained), false);
    assert.deepEqual(attach.incomplete, { stdout: true, stderr: false });
    engine.push(frame(1, `${MARKER.slice(10)}after`));
    await drained;
    assert.deepEqual(attach.incomplete, { stdout: false, stderr: false });
    engine.push(frame(1, "late"));
    await nextTurn();
    attach.finish();
    assert.deepEqual(printed, { stdout: "out", stderr: "err" });
  });

  it("is drained when it ends without a marker, and says so; what was held back is handed on", async () => {
    const drained = attach.drained(MARKER);
    engine.push(frame(1, `out${MARKER.slice(0, 5)}`));
    engine.push(null);
    await drained;
    attach.finish();
    assert.equal(printed.stdout, `out${MARKER.slice(0, 5)}`);
    assert.deepEqual(attach.incomplete, { stdout: true, stderr: true });
  });

  it("delivers nothing more once it is finished", async () => {
    attach.finish();
    engine.push(frame(1, "late"));
    await nextTurn();
    assert.deepEqual(printed, { stdout: "", stderr: "" });
  });

  it("is complete when the engine ends it, and incomplete before", async () => {
    engine.push(frame(2, "e"));
    assert.equal(await isSettled(attach.ended), false);
    assert.deepEqual(attach.incomplete, { stdout: true, stderr: true });
    engine.push(null);
    await attach.ended;
    assert.deepEqual(attach.incomplete, { stdout: false, stderr: false });
  });

  it("that breaks is over, without a throw", async () => {
    engine.destroy(new Error("reset"));
    await attach.ended;
  });

  it("can be destroyed twice, and is over then", async () => {
    attach.destroy();
    attach.destroy();
    await attach.ended;
  });

  it("takes the whole stdin, and its end", async () => {
    attach.sendStdin("line\n\0");
    await nextTurn();
    assert.deepEqual([engine.stdin, engine.stdinEnded], ["line\n\0", true]);
  });
});
