import assert from "node:assert/strict";

import { executablesOf, findCommandFault } from "../../../src/domain/commands.ts";

describe("commands: names", () => {
  for (const name of ["git", "jq", "g++", "7z", "[", "x86_64-linux-gnu-gcc-12", "python3.11", "git-upload-pack"]) {
    it(`may be ${name}`, () => {
      assert.equal(findCommandFault(name), undefined);
    });
  }

  for (const [name, fault] of [
    ["/usr/bin/git", /is a path/],
    ["../git", /is a path/],
    ["git push", /holds a blank/],
    ["..", /is no name of a command/],
    [".", /is no name/],
    ["-x", /is no name/],
    ["a\0b", /is no name/],
    ["gït", /is no name/],
    ["a;b", /is no name/],
    ["*", /is no name/],
    ["", /is no name/],
  ] as const) {
    it(`may not be ${JSON.stringify(name)}: ${fault.source}`, () => {
      assert.match(findCommandFault(name) ?? "nothing", fault);
    });
  }
});

describe("commands: what is masked unless granted", () => {
  it("is commands and helpers, but never the runtime", () => {
    const permissions = { fileSystem: { execute: ["/usr/lib/x"] }, system: { allowedCommands: ["git", "node"] } };
    assert.deepEqual(executablesOf(permissions), ["git", "/usr/lib/x"]);
  });
});
