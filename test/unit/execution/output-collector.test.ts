import assert from "node:assert/strict";

import fc from "fast-check";

import { OutputCollector } from "../../../src/execution/output-collector.ts";
import type { CollectedOutput } from "../../../src/execution/output-collector.ts";

const collect = (chunks: readonly Uint8Array[], keptBytes: number): CollectedOutput => {
  const collector = new OutputCollector({ keptBytes, ceilingBytes: Infinity }, () => assert.fail("no ceiling was reached"));
  for (const chunk of chunks) collector.stdout(Buffer.from(chunk));
  return collector.collect();
};

/** Text in several scripts, broken text, and bytes at random. */
const piece = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 6 }).map((text) => Buffer.from(text)),
  fc
    .array(fc.constantFrom(0x41, 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80, 0xf4, 0x90, 0xed, 0xa0, 0x80, 0xff), {
      maxLength: 6,
    })
    .map((bytes) => Buffer.from(bytes)),
  fc.uint8Array({ maxLength: 6 }).map((bytes) => Buffer.from(bytes)),
);
const pieces = fc.array(piece, { maxLength: 10 });

/** Cuts bytes at these places. */
const cut = (bytes: Buffer, places: readonly number[]): Buffer[] => {
  const sorted = [0, ...places.map((place) => place % (bytes.byteLength + 1)), bytes.byteLength].sort((a, b) => a - b);
  return sorted.slice(1).map((end, index) => bytes.subarray(sorted[index], end));
};

describe("output-collector: text", () => {
  it("of all that was printed is its decoding, whatever the chunking", () => {
    fc.assert(
      fc.property(pieces, fc.array(fc.nat(100), { maxLength: 8 }), (parts, places) => {
        const bytes = Buffer.concat(parts);
        const { stdout, truncated } = collect(cut(bytes, places), 1000);
        assert.equal(stdout, new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes));
        assert.equal(truncated.stdout, false);
      }),
      { numRuns: 2000 },
    );
  });

  it("that is cut at the cap is the decoding of what was kept, less a character that the cap cut in two", () => {
    fc.assert(
      fc.property(pieces, fc.array(fc.nat(100), { maxLength: 8 }), fc.nat(30), (parts, places, keptBytes) => {
        const bytes = Buffer.concat(parts);
        const { stdout, truncated } = collect(cut(bytes, places), keptBytes);
        const whole = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(0, keptBytes));
        assert.equal(truncated.stdout, bytes.byteLength > keptBytes);
        assert.equal(stdout, collect([bytes], keptBytes).stdout, "whatever the chunking");
        assert.ok(whole.startsWith(stdout));
        assert.ok(whole.slice(stdout.length).length <= 3 && /^\ufffd*$/.test(whole.slice(stdout.length)), JSON.stringify([stdout, whole]));
      }),
      { numRuns: 2000 },
    );
  });

  it("of valid text never has a replacement character, wherever the cap falls", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "grapheme" }).filter((text) => !text.includes("\ufffd")),
        fc.nat(20),
        (text, keptBytes) => {
          const { stdout } = collect([Buffer.from(text)], keptBytes);
          assert.ok(text.startsWith(stdout));
          assert.ok(Buffer.byteLength(stdout) > Math.min(keptBytes, Buffer.byteLength(text)) - 4);
        },
      ),
    );
  });

  it("keeps exactly the cap, and says that something is missing only above it", () => {
    assert.deepEqual(collect([Buffer.from("12345")], 5), { stdout: "12345", stderr: "", truncated: { stdout: false, stderr: false } });
    assert.deepEqual(collect([Buffer.from("12345"), Buffer.from("6")], 5), {
      stdout: "12345",
      stderr: "",
      truncated: { stdout: true, stderr: false },
    });
    assert.deepEqual(collect([Buffer.from("1")], 0), { stdout: "", stderr: "", truncated: { stdout: true, stderr: false } });
    assert.deepEqual(collect([], 0), { stdout: "", stderr: "", truncated: { stdout: false, stderr: false } });
  });

  it("of the two streams is kept apart, each with a cap of its own", () => {
    const collector = new OutputCollector({ keptBytes: 4, ceilingBytes: 100 }, () => undefined);
    const [first, second] = [Buffer.from("é").subarray(0, 1), Buffer.from("é").subarray(1)];
    collector.stdout(first);
    collector.stderr(Buffer.from("errors"));
    collector.stdout(second);
    assert.deepEqual(collector.collect(), { stdout: "é", stderr: "erro", truncated: { stdout: false, stderr: true } });
  });
});

describe("output-collector: the end of stderr", () => {
  it("is there whatever the cap kept, as far as sixteen kilobytes", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 9000 }), { maxLength: 8 }), (lengths) => {
        const collector = new OutputCollector({ keptBytes: 3, ceilingBytes: Infinity }, () => undefined);
        const chunks = lengths.map((length, index) => Buffer.alloc(length, "abcdefgh"[index]));
        for (const chunk of chunks) collector.stderr(chunk);
        assert.equal(collector.stderrTail(), Buffer.concat(chunks).subarray(-16_384).toString());
      }),
    );
  });
});

describe("output-collector: the ceiling", () => {
  it("is told once, with the stream, when more than it was printed", () => {
    const told: string[] = [];
    const collector = new OutputCollector({ keptBytes: 2, ceilingBytes: 10 }, (stream) => told.push(stream));
    collector.stderr(Buffer.alloc(10, "x"));
    assert.deepEqual(told, [], "exactly the ceiling is allowed");
    collector.stderr(Buffer.alloc(1));
    collector.stderr(Buffer.alloc(100));
    collector.stdout(Buffer.alloc(100));
    assert.deepEqual(told, ["stderr"]);
    assert.equal(collector.collect().stderr, "xx");
  });

  it("is each stream's own: two streams just below it are fine", () => {
    const collector = new OutputCollector({ keptBytes: 0, ceilingBytes: 10 }, () => assert.fail("too early"));
    collector.stdout(Buffer.alloc(10));
    collector.stderr(Buffer.alloc(10));
  });
});
