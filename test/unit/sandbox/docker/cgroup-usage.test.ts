import assert from "node:assert/strict";

import { readCgroupUsage } from "../../../../src/sandbox/docker/cgroup-usage.ts";

describe("cgroup-usage: what a container has used", () => {
  for (const id of ["0".repeat(64), "../../../../etc/passwd\0"]) {
    it(`is unknown, and no error, of a container that is not there: ${JSON.stringify(id.slice(0, 12))}`, async () => {
      assert.deepEqual(await readCgroupUsage(id), { cpuMs: null, memoryPeakBytes: null });
    });
  }
});
