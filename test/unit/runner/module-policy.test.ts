/** Which names the list of modules allows. */

import assert from "node:assert/strict";

import { ModulePolicy } from "../../../sandbox-image/runner/module-policy.ts";

function isAllowed(allowed: readonly string[], specifier: string): boolean {
  try {
    new ModulePolicy(allowed).check(specifier);
    return true;
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, "ERR_MODULE_NOT_ALLOWED");
    return false;
  }
}

describe("Runner: allowed modules", () => {
  const cases: [allowed: string[], specifier: string, expected: boolean][] = [
    [["*"], "net", true],
    [["*"], "left-pad", true],
    [[], "fs", false],
    [["fs"], "fs", true],
    [["fs"], "node:fs", true],
    [["node:fs"], "fs", true],
    [["fs"], "fs/promises", true],
    [["fs"], "node:fs/promises", true],
    [["fs/promises"], "node:fs/promises", true],
    [["fs/promises"], "fs", false],
    [["fs"], "fs-extra", false],
    [["lodash"], "lodash/fp", true],
    [["lodash"], "lodash-es", false],
    [["@scope/one"], "@scope/one/part", true],
    [["@scope/one"], "@scope/two", false],
    [["test"], "node:test", true],
    [[], "node:no-such-module", false],
    [[], "./file.js", true],
    [[], "../file.js", true],
    [[], "/absolute/file.js", true],
    [[], "file:///absolute/file.js", true],
    [[], "#internal", true],
    [[], "data:text/javascript,1", true],
  ];
  for (const [allowed, specifier, expected] of cases) {
    it(`[${allowed.join(", ")}] ${expected ? "allows" : "refuses"} ${specifier}`, () =>
      assert.equal(isAllowed(allowed, specifier), expected));
  }

  it("says what is allowed, and where that is set", () => {
    const setting = "The setting is allowedModules of this runtime in config/runtimes.json.";
    assert.throws(() => new ModulePolicy(["path", "fs"]).check("node:net"), {
      message: `Module "net" is not allowed here. Allowed: path, fs. ${setting}`,
    });
    assert.throws(() => new ModulePolicy([]).check("net"), { message: `Module "net" is not allowed here. Allowed: none. ${setting}` });
  });
});
