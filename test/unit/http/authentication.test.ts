import assert from "node:assert/strict";

import { Authenticator } from "../../../src/http/authentication.ts";

const KEYS = [
  { name: "alice", key: "alice-0123456789", scopes: ["execute"] },
  { name: "bob", key: "bob-0123456789ab", scopes: ["execute", "admin"] },
] as const;

describe("authentication: keys", () => {
  const authenticator = new Authenticator(KEYS);

  it("tell who asks and what they may do", () => {
    const alice = authenticator.identify("Bearer alice-0123456789")!;
    assert.equal(alice.name, "alice");
    assert.deepEqual([...alice.scopes], ["execute"]);
    assert.deepEqual(
      [...authenticator.identify("bearer bob-0123456789ab")!.scopes],
      ["execute", "admin"],
      "the scheme's case does not matter",
    );
  });

  for (const header of [
    undefined,
    "",
    "Bearer",
    "Bearer ",
    "Bearer  alice-0123456789",
    "alice-0123456789",
    "Basic alice-0123456789",
    "Bearer alice-012345678",
    "Bearer alice-01234567890",
    "Bearer ALICE-0123456789",
    "Bearer alice-0123456789 ",
    "Bearer alice-0123456789,bob-0123456789ab",
    "Bearer alice-0123456789\n",
    `Bearer ${"x".repeat(100_000)}`,
  ]) {
    it(`are not ${JSON.stringify(header?.slice(0, 40))}`, () => {
      assert.equal(authenticator.identify(header), undefined);
    });
  }

  it("that do not exist make everybody the same somebody, with every scope", () => {
    const open = new Authenticator([]);
    for (const header of [undefined, "Bearer anything"]) {
      const principal = open.identify(header)!;
      assert.equal(principal.name, "anonymous");
      assert.deepEqual([...principal.scopes], ["execute", "admin", "audit", "metrics"]);
    }
  });
});
