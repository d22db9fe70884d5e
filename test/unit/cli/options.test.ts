import assert from "node:assert/strict";

import { InvalidArgumentError } from "commander";

import { collectEnvironment, collectHost, collectInput, parseDuration, parseMemory } from "../../../src/cli/run/options.ts";

describe("cli options", () => {
  it("a time has a unit, and lies between a millisecond and a day", () => {
    assert.deepEqual(["500ms", "30s", "1.5s", "2m", "24h"].map(parseDuration), [500, 30_000, 1500, 120_000, 86_400_000]);
    for (const text of ["", "30", "s", "-1s", "0ms", "0.1ms", "25h", "1e3s", "1 s", "30S", "9999999999s"])
      assert.throws(() => parseDuration(text), InvalidArgumentError, text);
  });

  it("a memory is a size as everywhere", () => {
    assert.equal(parseMemory("1.5GB"), 1.5 * 2 ** 30);
    assert.throws(() => parseMemory("much"), /Expected a size such as/);
  });

  it("an input is a path, or a name and a path that may hold more equals signs", () => {
    const inputs = ["sales.csv", "in/x=a=b", "empty=./dir/"].reduce<ReturnType<typeof collectInput>>(
      (list, text) => collectInput(text, list),
      [],
    );
    assert.deepEqual(inputs, [
      { name: undefined, source: "sales.csv" },
      { name: "in/x", source: "a=b" },
      { name: "empty", source: "./dir/" },
    ]);
    for (const text of ["", "=", "name=", "=path"]) assert.throws(() => collectInput(text), InvalidArgumentError, text);
  });

  it("a variable is a name and any value; nothing is taken from this host", () => {
    assert.deepEqual(collectEnvironment("B==x", collectEnvironment("A=")), { A: "", B: "=x" });
    for (const text of ["HOME", "=x", "1A=x", "A B=x", "__proto__x"])
      assert.throws(() => collectEnvironment(text), InvalidArgumentError, text);
  });

  it("a host is one as in the configuration", () => {
    assert.deepEqual(collectHost("10.0.0.0/8", collectHost("API.example.com")), ["api.example.com", "10.0.0.0/8"]);
    assert.throws(() => collectHost("https://example.com"), /It has a scheme; write the name alone\./);
  });
});
