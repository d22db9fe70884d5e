import assert from "node:assert/strict";

import { compareVersions, lacksFix, parseVersion } from "../../../src/doctor/versions.ts";
import type { Version } from "../../../src/doctor/versions.ts";

const version = (text: string): Version => parseVersion(text) ?? assert.fail(`${text} is no version`);

describe("versions: what a part of the engine calls itself", () => {
  for (const [text, core, preview] of [
    ["1.2.8", [1, 2, 8], undefined],
    ["v1.7.29", [1, 7, 29], undefined],
    ["29.3", [29, 3, 0], undefined],
    ["1.4.0-rc.3", [1, 4, 0], [3, 3]],
    ["1.0.0-rc93", [1, 0, 0], [3, 93]],
    ["1.0.0~rc93+ds1", [1, 0, 0], [3, 93]],
    ["2.0.0-beta.0", [2, 0, 0], [1, 0]],
    ["7.1-rc3", [7, 1, 0], [3, 3]],
    ["1.1.5+ds1", [1, 1, 5], undefined],
    ["1.6.20~ds1", [1, 6, 20], undefined],
    ["20.10.24+dfsg1", [20, 10, 24], undefined],
    ["6.18.44-fc-v669", [6, 18, 44], undefined],
    ["6.1.0-18-amd64", [6, 1, 0], undefined],
    ["5.14.0-362.el9.x86_64", [5, 14, 0], undefined],
  ] as const) {
    it(`reads ${text}`, () => {
      assert.deepEqual(parseVersion(text), { core, preview });
    });
  }

  for (const text of ["", "unknown", "dev", "-1.2.3", "library-import"]) {
    it(`takes ${JSON.stringify(text)} for none`, () => {
      assert.equal(parseVersion(text), undefined);
    });
  }

  it("puts them in order, a preview before its release", () => {
    const ordered = [
      "1.0.0-alpha.9",
      "1.0.0-beta.2",
      "1.0.0-rc.2",
      "1.0.0-rc.10",
      "1.0.0",
      "1.0.1",
      "1.1.0-rc.1",
      "1.1.0",
      "1.10.0",
      "2.0.0",
    ];
    const shuffled = ordered.toReversed().map(version);
    assert.deepEqual(shuffled.sort(compareVersions), ordered.map(version));
  });
});

describe("versions: whether one lacks a fix", () => {
  const FIXED = ["1.2.8", "1.3.3", "1.4.0-rc.3"].map(version);

  for (const [text, lacking] of [
    ["1.0.0", true],
    ["1.1.15", true],
    ["1.2.7", true],
    ["1.2.8-rc.1", true],
    ["1.2.8", false],
    ["1.2.9", false],
    ["1.3.0-rc.1", true],
    ["1.3.2", true],
    ["1.3.3", false],
    ["1.4.0-rc.2", true],
    ["1.4.0-rc.3", false],
    ["1.4.0", false],
    ["1.5.0-rc.1", false],
    ["2.0.0", false],
  ] as const) {
    it(`${text} ${lacking ? "lacks it" : "has it"}`, () => {
      assert.equal(lacksFix(version(text), FIXED), lacking);
    });
  }

  for (const [text, lacking] of [
    ["4.13.16", false],
    ["4.14.0", true],
    ["5.4.300", true],
    ["5.10.253", true],
    ["5.10.254", false],
    ["6.11.0", true],
    ["6.12.85", false],
    ["6.13.0", false],
  ] as const) {
    it(`with a first version that has the hole, ${text} ${lacking ? "lacks the fix" : "does not"}`, () => {
      assert.equal(lacksFix(version(text), ["5.10.254", "6.12.85"].map(version), version("4.14")), lacking);
    });
  }
});
