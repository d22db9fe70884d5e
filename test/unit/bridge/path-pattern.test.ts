/** The patterns of output files. */

import assert from "node:assert/strict";

import fc from "fast-check";

import { compilePattern, matchesPattern } from "../../../src/bridge/path-pattern.ts";

describe("path-pattern: output files", () => {
  const cases: [pattern: string, path: string, expected: boolean][] = [
    ["temp/a.txt", "temp/a.txt", true],
    ["temp/a.txt", "temp/a.txt.bak", false],
    ["temp/*", "temp/a.txt", true],
    ["temp/*", "temp/deep/a.txt", false],
    ["temp/*.txt", "temp/.txt", true],
    ["temp/*.txt", "temp/a.txt.csv", false],
    ["temp/a*b*c", "temp/aXbbYc", true],
    ["temp/a*b*c", "temp/aXbbY", false],
    ["temp/**", "temp/a", true],
    ["temp/**", "temp/a/b/c", true],
    ["temp/**", "temporary/a", false],
    ["**", "a/b", true],
    ["**/*.csv", "x.csv", true],
    ["**/*.csv", "a/b/x.csv", true],
    ["a/**/z", "a/z", true],
    ["a/**/z", "a/b/c/z", true],
    ["a/**/z", "a/b/c/zz", false],
    ["a/**/b/**/c", "a/x/b/y/b/c", true],
    ["a/**b", "a/xxb", true],
    ["a/**b", "a/x/b", false],
    ["./temp//a", "temp/a", true],
    ["temp/[a].(txt)?", "temp/[a].(txt)?", true],
    ["temp/[a].(txt)?", "temp/a.txt", false],
    ["temp/ü*", "temp/über", true],
  ];
  for (const [pattern, path, expected] of cases) {
    it(`${pattern} ${expected ? "matches" : "does not match"} ${path}`, () =>
      assert.equal(matchesPattern([compilePattern(pattern)], path), expected));
  }

  it("agrees with a regular expression that says the same", () => {
    const segment = fc.string({ unit: fc.constantFrom("a", "b", "*"), minLength: 1, maxLength: 4 });
    const pattern = fc.array(fc.oneof(segment, fc.constant("**")), { minLength: 1, maxLength: 5 });
    const path = fc.array(fc.string({ unit: fc.constantFrom("a", "b"), minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(pattern, path, (segments, names) => {
        const expected = toRegExp(segments).test(`/${names.join("/")}`);
        assert.equal(matchesPattern([compilePattern(segments.join("/"))], names.join("/")), expected);
      }),
      { numRuns: 2000 },
    );
  });

  it("takes no time for patterns made to take long", () => {
    const startedAt = performance.now();
    assert.equal(matchesPattern([compilePattern("**/a*".repeat(50))], `${"a/".repeat(500)}b`), false);
    assert.equal(matchesPattern([compilePattern("*a".repeat(200))], "a".repeat(5000) + "b"), false);
    assert.ok(performance.now() - startedAt < 2000);
  });
});

/** For short patterns only: this one does backtrack. */
function toRegExp(segments: readonly string[]): RegExp {
  const parts = segments.map((segment) => (segment === "**" ? "(?:/[^/]*)*" : `/${segment.replaceAll(/\*+/g, "[^/]*")}`));
  return new RegExp(`^${parts.join("")}$`);
}
