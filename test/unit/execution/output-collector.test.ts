import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import fc from "fast-check";

import { EventLog } from "../../../src/execution/event-log.ts";
import type { OutputStream } from "../../../src/execution/event-log.ts";
import { OutputCollector } from "../../../src/execution/output-collector.ts";
import type { CollectedOutput, OutputCaps } from "../../../src/execution/output-collector.ts";
import { eventually } from "../support/eventually.ts";

/** A collector with a log of its own. */
const collectorOf = (caps: OutputCaps, onCeiling: (stream: OutputStream) => void, events = new EventLog()): OutputCollector =>
  new OutputCollector({ caps, events, onCeiling });

const collect = (chunks: readonly Uint8Array[], keptBytes: number): CollectedOutput => {
  const collector = collectorOf({ keptBytes, ceilingBytes: Infinity }, () => assert.fail("no ceiling was reached"));
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
    const collector = collectorOf({ keptBytes: 4, ceilingBytes: 100 }, () => undefined);
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
        const collector = collectorOf({ keptBytes: 3, ceilingBytes: Infinity }, () => undefined);
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
    const collector = collectorOf({ keptBytes: 2, ceilingBytes: 10 }, (stream) => told.push(stream));
    collector.stderr(Buffer.alloc(10, "x"));
    assert.deepEqual(told, [], "exactly the ceiling is allowed");
    collector.stderr(Buffer.alloc(1));
    collector.stderr(Buffer.alloc(100));
    collector.stdout(Buffer.alloc(100));
    assert.deepEqual(told, ["stderr"]);
    assert.equal(collector.collect().stderr, "xx");
  });

  it("is each stream's own: two streams just below it are fine", () => {
    const collector = collectorOf({ keptBytes: 0, ceilingBytes: 10 }, () => assert.fail("too early"));
    collector.stdout(Buffer.alloc(10));
    collector.stderr(Buffer.alloc(10));
  });
});

describe("output-collector: events", () => {
  let log: EventLog;
  const textOf = (id: number): string => {
    const event = log.get(id)!;
    assert.ok(event.type === "stdout" || event.type === "stderr");
    return `${event.type} ${event.data.text}`;
  };
  const open = (keptBytes = Infinity): OutputCollector => {
    log = new EventLog();
    return collectorOf({ keptBytes, ceilingBytes: Infinity }, () => undefined, log);
  };

  it("come a few milliseconds after what was printed, both streams together, in the order in which they began", async () => {
    const collector = open();
    for (const text of ["a", "b"]) collector.stderr(Buffer.from(text));
    collector.stdout(Buffer.from("1"));
    collector.stderr(Buffer.from("c"));
    assert.equal(log.lastId, 0);
    await eventually(() => log.lastId === 2, "both are there");
    assert.deepEqual([textOf(1), textOf(2)], ["stderr abc", "stdout 1"]);
    collector.close();
  });

  it("come at once when there is enough, and a large chunk after what was printed before it", () => {
    const collector = open();
    collector.stderr(Buffer.from("first"));
    collector.stdout(Buffer.alloc(50_000, "x"));
    assert.deepEqual([textOf(1), log.lastId], ["stderr first", 2]);
    collector.stdout(Buffer.alloc(16_384, "y"));
    collector.stdout(Buffer.from("z"));
    assert.deepEqual([textOf(3), log.lastId], [`stdout ${"y".repeat(16_384)}`, 3]);
    collector.collect();
    assert.equal(textOf(4), "stdout z");
    collector.close();
  });

  it("of a byte printed ten million times are few, and it takes no time to speak of", function () {
    this.timeout(60_000);
    const collector = open(1_000_000);
    const byte = Buffer.from("x");
    const beganAt = performance.now();
    for (let count = 0; count < 10_000_000; count += 1) collector.stderr(byte);
    assert.ok(performance.now() - beganAt < 20_000);
    assert.equal(collector.collect().stderr.length, 1_000_000);
    assert.ok(log.lastId <= 1_000_000 / 16_384 + 1, `${log.lastId} events`);
    collector.close();
  });

  it("hold whole characters, however they are cut when they are printed", async () => {
    const collector = open();
    for (const byte of Buffer.from("é€😀")) {
      collector.stdout(Buffer.from([byte]));
      await sleep(7);
    }
    assert.ok(log.lastId >= 1);
    const texts = Array.from({ length: log.lastId }, (_, index) => textOf(index + 1).slice("stdout ".length));
    assert.equal(texts.join(""), "é€😀");
    for (const text of texts) assert.match(text, /^(é|€|😀)+$/u);
    collector.close();
  });

  it("come less often the more there are, so that a day of them fits into memory", async () => {
    const collector = open();
    for (let count = 0; count < 4 * 4096; count += 1) log.printed("stderr", "x");
    collector.stdout(Buffer.from("a"));
    await sleep(30);
    assert.equal(log.lastId, 4 * 4096, "not yet");
    await eventually(() => log.lastId > 4 * 4096, "in the end");
    collector.close();
  });

  it("leave no timer behind", () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    const before = timers();
    for (let count = 0; count < 30; count += 1) {
      const collector = open();
      collector.stdout(Buffer.from("x"));
      collector.close();
    }
    assert.ok(timers() < before + 15);
  });
});
