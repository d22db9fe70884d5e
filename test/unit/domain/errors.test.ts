import assert from "node:assert/strict";

import { AppError, ERROR_STATUS, StartupError } from "../../../src/domain/errors.ts";

describe("errors: the table of the API", () => {
  it("gives each code the status of the contract", () => {
    assert.deepEqual(ERROR_STATUS, {
      INVALID_REQUEST: 400,
      LIMIT_EXCEEDED: 400,
      UNAUTHENTICATED: 401,
      FORBIDDEN: 403,
      PERMISSION_WIDENING: 403,
      NOT_FOUND: 404,
      METHOD_NOT_ALLOWED: 405,
      PAYLOAD_TOO_LARGE: 413,
      UNSUPPORTED_MEDIA_TYPE: 415,
      QUEUE_FULL: 429,
      SHUTTING_DOWN: 503,
      SANDBOX_UNAVAILABLE: 503,
      INTERNAL: 500,
    });
  });

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
