import assert from "node:assert/strict";

import {
  archivedSchema,
  DENIAL_CAPS,
  finishedSchema,
  inspectResultSchema,
  MESSAGE_CAPS,
  PROTOCOL_VERSION,
  readySchema,
} from "../../../src/bridge/protocol.ts";

const DENIAL = { reason: "not_writable", what: "data/a", count: 1 };
const FINISHED = { result: { a: [1] }, error: null, exitCode: 0, denials: [DENIAL] };
const ERROR = { name: "Error", message: "m", stack: "s" };

const COUNTS = { not_a_file: 0, over_limit: 1, unreadable: 0 };

describe("protocol: what a sandbox may say", () => {
  it("is taken when it has the right form", () => {
    assert.deepEqual(finishedSchema.parse(FINISHED), FINISHED);
    assert.deepEqual(finishedSchema.parse({ ...FINISHED, result: null, error: ERROR, exitCode: 255 }).error, ERROR);
    assert.deepEqual(finishedSchema.parse({ result: null, error: null, exitCode: 0 }).denials, []);
    assert.ok(readySchema.safeParse({ protocol: PROTOCOL_VERSION, node: "v24.1.0" }).success);
    assert.ok(inspectResultSchema.safeParse({ identities: [{ device: "1", inode: "18446744073709551615" }, { error: "ENOENT" }] }).success);
    assert.ok(archivedSchema.safeParse({ skipped: [{ path: "temp/a", sizeBytes: 1, reason: "over_limit" }], counts: COUNTS }).success);
  });

  for (const [title, value] of [
    ["nothing", undefined],
    ["a list", [FINISHED]],
    ["no exit code", { result: null, error: null }],
    ["an exit code that is none", { ...FINISHED, exitCode: 256 }],
    ["a negative exit code", { ...FINISHED, exitCode: -1 }],
    ["an exit code as text", { ...FINISHED, exitCode: "0" }],
    ["an error that is a text", { ...FINISHED, error: "Error" }],
    ["an error without a stack", { ...FINISHED, error: { name: "Error", message: "m" } }],
    ["an error with more than it should have", { ...FINISHED, error: { ...ERROR, cause: {} } }],
    ["a name that is too long", { ...FINISHED, error: { ...ERROR, name: "x".repeat(MESSAGE_CAPS.errorNameChars + 1) } }],
    ["a message that is too long", { ...FINISHED, error: { ...ERROR, message: "x".repeat(MESSAGE_CAPS.errorMessageChars + 1) } }],
    ["a stack that is too long", { ...FINISHED, error: { ...ERROR, stack: "x".repeat(MESSAGE_CAPS.errorStackChars + 1) } }],
    ["denials that are no list", { ...FINISHED, denials: { 0: DENIAL, length: 1 } }],
    ["too many denials", { ...FINISHED, denials: Array.from({ length: DENIAL_CAPS.entries + 1 }, () => DENIAL) }],
    ["a denial for a reason of its own", { ...FINISHED, denials: [{ ...DENIAL, reason: "constructor" }] }],
    ["a denial of something that is no text", { ...FINISHED, denials: [{ ...DENIAL, what: { toString: "x" } }] }],
    ["a denial of too long a text", { ...FINISHED, denials: [{ ...DENIAL, what: "x".repeat(DENIAL_CAPS.whatChars + 1) }] }],
    ["a denial that never was", { ...FINISHED, denials: [{ ...DENIAL, count: 0 }] }],
    ["a denial that was half", { ...FINISHED, denials: [{ ...DENIAL, count: 1.5 }] }],
    ["a denial with a setting of its own", { ...FINISHED, denials: [{ ...DENIAL, setting: "sudo" }] }],
    ["a status of its own", { ...FINISHED, status: "completed" }],
  ] as const) {
    it(`is no result with ${title}`, () => {
      assert.equal(finishedSchema.safeParse(value).success, false);
    });
  }

  it("is no readiness in another protocol version", () => {
    assert.equal(readySchema.safeParse({ protocol: PROTOCOL_VERSION + 1, node: "v24" }).success, false);
    assert.equal(readySchema.safeParse({ protocol: PROTOCOL_VERSION, node: "v".repeat(65) }).success, false);
  });

  it("is no list of identities or of skipped files beyond the caps", () => {
    const identity = { device: "1", inode: "1" };
    assert.equal(inspectResultSchema.safeParse({ identities: Array.from({ length: 257 }, () => identity) }).success, false);
    assert.equal(inspectResultSchema.safeParse({ identities: [{ device: 1, inode: 1 }] }).success, false);
    const skipped = { path: "a", sizeBytes: 0, reason: "unreadable" };
    assert.equal(archivedSchema.safeParse({ skipped: Array.from({ length: 1001 }, () => skipped), counts: COUNTS }).success, false);
    for (const wrong of [
      { ...skipped, reason: "because" },
      { ...skipped, sizeBytes: -1 },
      { ...skipped, path: "a".repeat(4097) },
      { ...skipped, extra: 1 },
    ]) {
      assert.equal(archivedSchema.safeParse({ skipped: [wrong], counts: COUNTS }).success, false, JSON.stringify(wrong).slice(0, 80));
    }
  });
});
