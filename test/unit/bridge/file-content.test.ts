import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";

import fc from "fast-check";

import { FileContent } from "../../../src/bridge/file-content.ts";
import type { OutputFile } from "../../../src/domain/execution.ts";
import { longTextPieces } from "../../../src/lib/long-text.ts";

const MIB = 2 ** 20;

/** The file of these bytes, which come in pieces of at most so many. */
function fileOf(bytes: Buffer, pieceBytes = bytes.byteLength): Extract<OutputFile, { content: string }> {
  const content = new FileContent(bytes.byteLength);
  for (let from = 0; from < bytes.byteLength; from += pieceBytes) {
    assert.equal(content.isWhole, false);
    content.append(Buffer.from(bytes.subarray(from, from + pieceBytes)));
  }
  assert.equal(content.isWhole, true);
  const file = content.toFile("out/a");
  assert.ok("content" in file);
  return file;
}

const isText = (bytes: Buffer): boolean => {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
};

describe("file-content: an output file in a result", () => {
  it("is its text, or base64 where it is none, whatever the pieces", () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)),
      fc.string({ unit: "grapheme", maxLength: 20 }).map((text) => Buffer.from(text)),
    );
    fc.assert(
      fc.property(bytes, fc.integer({ min: 1, max: 50 }), (content, pieceBytes) => {
        const encoding = isText(content) ? "utf8" : "base64";
        assert.deepEqual(fileOf(content, pieceBytes), {
          path: "out/a",
          content: content.toString(encoding),
          encoding,
          size: content.byteLength,
        });
      }),
    );
  });

  for (const [title, unit] of [
    ["of two bytes", "é"],
    ["of three bytes", "€"],
    ["of four bytes", "😀"],
    ["of all lengths", "aé€😀"],
  ] as const) {
    it(`is text when characters ${title} lie across all the borders inside`, () => {
      // Not a divisor of any border, so that each border falls into a character for one of the shifts.
      for (const shift of [0, 1, 2, 3]) {
        const text = "x".repeat(shift) + unit.repeat(Math.ceil((2.5 * MIB) / Buffer.byteLength(unit)));
        const file = fileOf(Buffer.from(text), 100_003);
        assert.equal(file.encoding, "utf8");
        assert.ok(file.content === text, "the text is another one");
        assert.deepEqual(JSON.parse(JSON.stringify(file)), {
          path: "out/a",
          content: text,
          encoding: "utf8",
          size: Buffer.byteLength(text),
        });
      }
    });
  }

  it("is base64 when one character is broken, in the middle, at a border or at the end", () => {
    const text = Buffer.from("é".repeat(1.2 * MIB));
    for (const at of [0, 700_001, MIB - 1, MIB, text.byteLength - 1]) {
      const bytes = Buffer.from(text);
      bytes[at] = 0xff;
      const file = fileOf(bytes, 65_536);
      assert.equal(file.encoding, "base64");
      assert.ok(Buffer.from(file.content, "base64").equals(bytes));
    }
  });

  it("is made piece by piece when it is large, and never copied along with what it came in", () => {
    const bytes = randomBytes(3 * MIB + 1);
    const file = fileOf(bytes, 300_000);
    const pieces = [...(longTextPieces(file, "content") ?? [])];
    assert.ok(pieces.length > 20 && pieces.every((piece) => piece.length <= 140_000));
    assert.ok(Buffer.from(pieces.join(""), "base64").equals(bytes));
    assert.equal(longTextPieces(file, "path"), undefined);
    assert.equal(longTextPieces(fileOf(Buffer.from("small")), "content"), undefined);
  });
});
