import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import path from "node:path";

import { packageRoot, packageVersion } from "../../../src/lib/package-info.ts";

describe("package-info: where the package is", () => {
  it("is the folder with package.json, config and the image's sources", () => {
    for (const name of ["package.json", "config/runtimes.json", "sandbox-image"]) assert.ok(existsSync(path.join(packageRoot, name)), name);
  });

  it("has a version", () => {
    assert.match(packageVersion(), /^\d+\.\d+\.\d+/);
  });
});
