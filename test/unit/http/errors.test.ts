import assert from "node:assert/strict";

import { z } from "zod";

import type { AppError } from "../../../src/domain/errors.ts";
import { parseRequest } from "../../../src/http/errors.ts";

describe("http errors: a request that fails its schema", () => {
  const schema = z.strictObject({ a: z.number(), list: z.array(z.strictObject({ b: z.string() })) });

  it("names every problem with its path", () => {
    assert.throws(
      () => parseRequest(schema, { list: [{ b: "x" }, { b: 1, c: 2 }], d: 3 }, "body"),
      (error: AppError) => {
        assert.deepEqual([...error.details].map(({ path }) => path).sort(), ["a", "d", "list.1.b", "list.1.c"]);
        assert.match(error.message, /^The body is not valid: .*; .*; .* \(and 1 more, see details\)\.$/);
        return error.code === "INVALID_REQUEST";
      },
    );
  });

  it("gives the parsed value of one that does not", () => {
    assert.deepEqual(parseRequest(schema, { a: 1, list: [] }, "body"), { a: 1, list: [] });
  });
});
