/** What the runner keeps of what a program was refused: in order, counted, bounded. */

import assert from "node:assert/strict";

import { DenialLog } from "../../../sandbox-image/runner/denials.ts";
import { DENIAL_CAPS, finishedSchema } from "../../../src/bridge/protocol.ts";

const sent = (log: DenialLog): unknown => JSON.parse(JSON.stringify(log.list()));

describe("Runner: notes of refusals", () => {
  it("stand in the order in which they were first taken, equal ones counted", () => {
    const log = new DenialLog();
    log.note("not_writable", "data/a");
    log.note("no_network", "example.com:80");
    log.note("not_writable", "data/a");
    log.note("not_readable", "data/a");
    assert.deepEqual(sent(log), [
      { reason: "not_writable", what: "data/a", count: 2 },
      { reason: "no_network", what: "example.com:80", count: 1 },
      { reason: "not_readable", what: "data/a", count: 1 },
    ]);
  });

  it("are taken once for one error, whatever functions it passes through", () => {
    const log = new DenialLog();
    const error = new Error("EROFS");
    log.note("not_writable", "a", error);
    log.note("not_writable", "a", error);
    assert.equal(log.confirm(error), true);
    assert.deepEqual(sent(log), [{ reason: "not_writable", what: "a", count: 1 }]);
  });

  it("of what was only suspected are taken when the suspicion is confirmed", () => {
    const log = new DenialLog();
    const error = new Error("not found");
    log.suspect(error, "module_not_in_image", "lodash");
    assert.deepEqual(sent(log), []);
    assert.equal(log.confirm(new Error("another")), false);
    assert.equal(log.confirm(error), true);
    assert.equal(log.confirm(error), true);
    assert.deepEqual(sent(log), [{ reason: "module_not_in_image", what: "lodash", count: 1 }]);
  });

  it("beyond the first hundred are counted for each reason, and all of it can be sent", () => {
    const log = new DenialLog();
    const long = "\u0000".repeat(10_000);
    for (let index = 0; index < 300; index += 1) {
      log.note("not_writable", `${index}${long}`);
      log.note("no_network", `${index}.example.com`);
    }
    log.note("no_network", "0.example.com");
    const list = log.list();
    assert.equal(list.length, 102);
    assert.deepEqual(list[1], { reason: "no_network", what: "0.example.com", count: 2 });
    assert.deepEqual(list.slice(100), [
      { reason: "not_writable", what: null, count: 250 },
      { reason: "no_network", what: null, count: 250 },
    ]);
    assert.ok(finishedSchema.safeParse({ result: null, error: null, exitCode: 0, denials: sent(log) }).success);
    assert.ok(list.every(({ what }) => what === null || what.length <= DENIAL_CAPS.whatChars));
    // Each character can take six bytes in JSON; a frame has 512 KB beside the result.
    assert.ok(JSON.stringify(list).length < 256 * 1024);
  });

  it("take names of an object's own properties for what they are", () => {
    const log = new DenialLog();
    for (const what of ["__proto__", "constructor", ""]) log.note("not_readable", what);
    assert.deepEqual(
      log.list().map(({ count, what }) => [what, count]),
      [
        ["__proto__", 1],
        ["constructor", 1],
        ["", 1],
      ],
    );
  });

  it("never throw, not even for what is no text", () => {
    const log = new DenialLog();
    log.note("not_readable", null as unknown as string);
    log.note("not_readable", {
      get length() {
        throw new Error("patched");
      },
    } as unknown as string);
    log.suspect(null, "not_readable", "a");
    log.suspect("text", "not_readable", "a");
    assert.deepEqual(sent(log), []);
  });
});
