import assert from "node:assert/strict";

import fc from "fast-check";

import { encodeFrame, encodeMessage, FrameDecoder, FrameError, FrameKind } from "../../../src/bridge/frames.ts";
import type { Frame } from "../../../src/bridge/frames.ts";

const drain = (decoder: FrameDecoder): Frame[] => {
  const frames: Frame[] = [];
  for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) frames.push(frame);
  return frames;
};

/** Cuts bytes into pieces of the given sizes, over and over. */
function* cut(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  for (let offset = 0, turn = 0; offset < bytes.byteLength; turn += 1) {
    const size = sizes[turn % sizes.length]!;
    // A copy: a socket's chunk has memory of its own.
    yield Buffer.from(bytes.subarray(offset, offset + size));
    offset += size;
  }
}

const header = (length: number, kind: number): Buffer => {
  const bytes = Buffer.alloc(5);
  bytes.writeUInt32BE(length, 0);
  bytes.writeUInt8(kind, 4);
  return bytes;
};

const frames = fc.array(
  fc.record({
    kind: fc.constantFrom(FrameKind.message, FrameKind.archive),
    length: fc.oneof(
      { weight: 5, arbitrary: fc.nat(20) },
      { weight: 1, arbitrary: fc.constantFrom(0, 1019, 1024, 16_379, 16_384, 40_000) },
    ),
  }),
  { maxLength: 8 },
);
const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 7 }), fc.constantFrom(1000, 1023, 1024, 1025, 16_384, 70_000)), {
  minLength: 1,
  maxLength: 6,
});

describe("frames: decoding", () => {
  it("gives the same frames whatever the chunking, and what it gave stays as it was", () => {
    fc.assert(
      fc.property(frames, sizes, fc.boolean(), (wanted, chunkSizes, readBetween) => {
        const sent = wanted.map(({ kind, length }, index) => ({ kind, payload: Buffer.alloc(length, index + 1) }));
        const decoder = new FrameDecoder({ maxPayloadBytes: 50_000 });
        const received: Frame[] = [];
        for (const chunk of cut(Buffer.concat(sent.map(({ kind, payload }) => encodeFrame(kind, payload))), chunkSizes)) {
          decoder.push(chunk);
          if (readBetween) received.push(...drain(decoder));
        }
        received.push(...drain(decoder));
        assert.deepEqual(received, sent);
        assert.equal(decoder.bufferedBytes, 0);
      }),
      { numRuns: 400 },
    );
  });

  it("gives a frame as soon as its last byte is there, and no sooner", () => {
    const decoder = new FrameDecoder({ maxPayloadBytes: 10 });
    const bytes = encodeFrame(FrameKind.archive, Buffer.from("0123456789"));
    decoder.push(bytes.subarray(0, bytes.byteLength - 1));
    assert.equal(decoder.next(), undefined);
    assert.equal(decoder.bufferedBytes, 9);
    decoder.push(bytes.subarray(-1));
    assert.deepEqual(decoder.next(), { kind: FrameKind.archive, payload: Buffer.from("0123456789") });
    assert.equal(decoder.next(), undefined);
  });

  it("gives an empty frame", () => {
    const decoder = new FrameDecoder({ maxPayloadBytes: 0 });
    decoder.push(encodeFrame(FrameKind.archive, Buffer.alloc(0)));
    assert.deepEqual(decoder.next(), { kind: FrameKind.archive, payload: Buffer.alloc(0) });
  });

  it("refuses a payload over the cap from its header alone", () => {
    const decoder = new FrameDecoder({ maxPayloadBytes: 1000 });
    decoder.push(header(1000, FrameKind.message));
    assert.equal(decoder.next(), undefined);
    const strict = new FrameDecoder({ maxPayloadBytes: 1000 });
    strict.push(header(1001, FrameKind.message));
    assert.throws(() => strict.next(), { name: "FrameError", message: "a frame of 1001 bytes is over the cap of 1000" });
    const huge = new FrameDecoder({ maxPayloadBytes: 1000 });
    huge.push(header(0xffff_ffff, FrameKind.archive));
    assert.throws(() => huge.next(), /4294967295 bytes/);
  });

  for (const kind of [0, 3, 0x7b, 255]) {
    it(`refuses the unknown kind ${kind}`, () => {
      const decoder = new FrameDecoder({ maxPayloadBytes: 1000 });
      decoder.push(header(0, kind));
      assert.throws(() => decoder.next(), new FrameError(`unknown frame kind ${kind}`));
    });
  }

  it("holds a frame that comes byte by byte in about as much memory as it has bytes", () => {
    const decoder = new FrameDecoder({ maxPayloadBytes: 500_000 });
    decoder.push(header(500_000, FrameKind.message));
    const before = process.memoryUsage().heapUsed;
    for (let index = 0; index < 499_999; index += 1) decoder.push(Buffer.from(new Uint8Array([index]).buffer));
    const grownBytes = process.memoryUsage().heapUsed - before;
    // An object for each byte would be some 100 MB.
    assert.ok(grownBytes < 50 * 2 ** 20, `${grownBytes} bytes`);
    decoder.push(Buffer.from([255]));
    const payload = decoder.next()!.payload;
    assert.ok(payload.every((byte, index) => byte === (index === 499_999 ? 255 : index % 256)));
  });
});

describe("frames: encoding", () => {
  it("puts the length, the kind and the payload on the wire", () => {
    assert.deepEqual([...encodeFrame(FrameKind.archive, Buffer.from([7, 8]))], [0, 0, 0, 2, 2, 7, 8]);
    assert.deepEqual(encodeMessage({ a: "é" }), Buffer.concat([header(10, 1), Buffer.from('{"a":"é"}')]));
  });
});
