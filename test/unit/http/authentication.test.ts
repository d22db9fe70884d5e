import assert from "node:assert/strict";

import { Authenticator } from "../../../src/http/authentication.ts";
import { hashed } from "../support/http-service.ts";

const KEYS = [
  { name: "alice", key: "alice-0123456789", scopes: ["execute"] },
  { name: "bob", key: "bob-0123456789ab", scopes: ["execute", "admin"] },
] as const;

describe("authentication: keys", () => {
  const authenticator = new Authenticator(hashed(KEYS));

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
    const open = new Authenticator(undefined);
    for (const header of [undefined, "Bearer anything"]) {
      const principal = open.identify(header)!;
      assert.equal(principal.name, "anonymous");
      assert.deepEqual([...principal.scopes], ["execute", "admin", "audit", "metrics"]);
    }
  });

  it("of an empty list let nobody in", () => {
    const closed = new Authenticator([]);
    for (const header of [undefined, "Bearer anything", "Bearer "]) assert.equal(closed.identify(header), undefined);
  });

  it("that are replaced are valid no longer, at once, and never open the service", () => {
    const changing = new Authenticator(hashed(KEYS));
    changing.replace(hashed([{ name: "carol", key: "carol-0123456789", scopes: ["metrics"] }]));
    assert.equal(changing.identify("Bearer alice-0123456789"), undefined);
    assert.equal(changing.identify("Bearer carol-0123456789")!.name, "carol");
    changing.replace([]);
    for (const header of [undefined, "Bearer carol-0123456789"]) assert.equal(changing.identify(header), undefined);
    const open = new Authenticator(undefined);
    open.replace([]);
    assert.equal(open.identify(undefined), undefined);
  });

  it("hand on the limits of who asks, and not the hash", () => {
    const limited = new Authenticator(
      hashed([{ name: "dave", key: "dave-0123456789", scopes: ["execute"], maxRunning: 2, runtimes: ["node"], tools: ["x.*"] }]),
    );
    assert.deepEqual(limited.identify("Bearer dave-0123456789"), {
      name: "dave",
      scopes: new Set(["execute"]),
      maxRunning: 2,
      runtimes: ["node"],
      tools: ["x.*"],
    });
  });
});
