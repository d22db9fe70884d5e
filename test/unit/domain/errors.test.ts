import assert from "node:assert/strict";

import { AppError, StartupError } from "../../../src/domain/errors.ts";

describe("errors", () => {
  it("keeps the cause, and has no property for one that was not given", () => {
    const cause = new Error("why");
    assert.equal(new AppError({ code: "INTERNAL", message: "what", cause }).cause, cause);
    const plain = new AppError({ code: "QUEUE_FULL", message: "what" });
    assert.ok(!("cause" in plain));
    assert.deepEqual([plain.status, plain.details, plain.retryAfterSeconds], [429, [], undefined]);
  });

  it("lists every problem of a start that failed in the message", () => {
    const error = new StartupError(["first", "second"], new Error("cause"));
    assert.equal(error.message, "first\nsecond");
    assert.deepEqual(error.problems, ["first", "second"]);
  });
});
