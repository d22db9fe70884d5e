import assert from "node:assert/strict";

import fc from "fast-check";

import { formatByteSize, parseByteSize } from "../../../src/domain/byte-size.ts";

describe("byte-size: sizes as people write them", () => {
  for (const [text, bytes] of [
    ["512MB", 512 * 2 ** 20],
    ["512mb", 512 * 2 ** 20],
    ["512m", 512 * 2 ** 20],
    ["1.5GB", 1.5 * 2 ** 30],
    ["1KB", 1024],
    ["1k", 1024],
    ["7B", 7],
    ["7", 7],
    [" 64 MB ", 64 * 2 ** 20],
    ["0.0001KB", 0],
    [0, 0],
    [123, 123],
  ] as const) {
    it(`reads ${JSON.stringify(text)} as ${bytes} bytes`, () => {
      assert.equal(parseByteSize(text), bytes);
    });
  }

  for (const text of [
    "",
    "MB",
    "12TB",
    "-1",
    "1e3",
    "0x10",
    "1,5GB",
    "1.MB",
    "12 M B",
    "NaN",
    "9999999999999999GB",
    "512MB\n512MB",
    -1,
    1.5,
    Number.NaN,
    Infinity,
    2 ** 53,
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.equal(parseByteSize(text), undefined);
    });
  }

  it("reads back what it writes", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.nat(),
          fc.nat({ max: 4096 }).map((n) => n * 2 ** 20),
          fc.nat({ max: 4096 }).map((n) => n * 2 ** 30),
        ),
        (bytes) => {
          assert.equal(parseByteSize(formatByteSize(bytes)), bytes);
        },
      ),
    );
  });

  it("writes the largest unit that needs no fraction", () => {
    assert.deepEqual([536_870_912, 2 ** 30, 1536, 1537, 0].map(formatByteSize), ["512MB", "1GB", "1536B", "1537B", "0B"]);
  });

  it("never gives anything but a whole number of bytes, whatever the text", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9.]{0,20} ?[kmgbKMGB]{0,3}$/)), (text) => {
        const bytes = parseByteSize(text);
        assert.ok(bytes === undefined || (Number.isSafeInteger(bytes) && bytes >= 0));
      }),
    );
  });
});
