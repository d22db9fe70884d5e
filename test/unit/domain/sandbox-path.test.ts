import assert from "node:assert/strict";
import path from "node:path";

import fc from "fast-check";

import { checkImagePath, checkPolicyPath, checkWorkspacePath, isWithin, overlap, quotePath } from "../../../src/domain/sandbox-path.ts";

const NASTY = [
  "..",
  ".",
  "",
  "a",
  "b.c",
  "...",
  "..a",
  "a..",
  "**",
  "*",
  "~",
  "-",
  " ",
  "a\\b",
  "..\\",
  "é",
  "\u0000",
  "\n",
  "\u2028",
  "\ud800",
  "C:",
  "%2e%2e",
  "a".repeat(256),
];

/** For titles: short, and plain ASCII. */
const shown = (text: string): string =>
  JSON.stringify(text.slice(0, 20)).replace(/[^ -~]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);

const pathText = fc.oneof(
  fc.array(fc.constantFrom(...NASTY), { maxLength: 8 }).map((segments) => segments.join("/")),
  fc.array(fc.constantFrom("a", "..", "."), { maxLength: 12 }).map((segments) => segments.join("/")),
  fc.string(),
  fc.string({ unit: "binary" }),
);

describe("sandbox-path: workspace paths", () => {
  for (const [written, normal] of [
    ["a", "a"],
    ["./a//b/", "a/b"],
    ["a/./b", "a/b"],
    [".", "."],
    ["./", "."],
    ["...", "..."],
    ["..a/b..", "..a/b.."],
    ["temp/**", "temp/**"],
    [" a ", " a "],
    ["dossier/été.csv", "dossier/été.csv"],
  ] as const) {
    it(`takes ${JSON.stringify(written)} as ${JSON.stringify(normal)}`, () => {
      assert.deepEqual(checkWorkspacePath(written), { ok: true, path: normal });
    });
  }

  for (const [written, problem] of [
    ["", /is empty/],
    ["/etc/passwd", /is absolute; give a path relative to the workspace/],
    ["//a", /is absolute/],
    ["..", /contains "\.\."/],
    ["a/../b", /contains "\.\."/],
    ["a/..", /contains "\.\."/],
    ["../../etc", /contains "\.\."/],
    ["a\\b", /backslash/],
    ["..\\..\\x", /backslash/],
    ["a\0b", /control character/],
    ["a\nb", /control character/],
    ["a\u0085b", /control character/],
    ["a\u2028b", /control character/],
    ["a\ud800", /no valid Unicode/],
    ["a".repeat(256), /a name longer than 255 bytes/],
    ["é".repeat(128), /a name longer than 255 bytes/],
    ["a/".repeat(513), /longer than 1024 bytes/],
  ] as const) {
    it(`refuses ${shown(written)}: ${problem.source}`, () => {
      const check = checkWorkspacePath(written);
      assert.ok(!check.ok);
      assert.match(check.problem, problem);
    });
  }

  it("lets nothing through that would lead out of the workspace when it is joined", () => {
    let accepted = 0;
    fc.assert(
      fc.property(pathText, (text) => {
        const check = checkWorkspacePath(text);
        if (!check.ok) return;
        accepted += 1;
        for (const joined of [
          path.posix.join("/workspace", text),
          path.posix.join("/workspace", check.path),
          path.posix.resolve("/workspace", text),
        ]) {
          assert.ok(
            joined === "/workspace" || joined === "/workspace/" || joined.startsWith("/workspace/"),
            `${JSON.stringify(text)} becomes ${joined}`,
          );
        }
        assert.equal(path.posix.resolve("/workspace", check.path), path.posix.resolve("/workspace", text));
      }),
      { numRuns: 3000 },
    );
    assert.ok(accepted > 300, `only ${accepted} were accepted: the property says little`);
  });

  it("gives a normal form that is its own normal form, and free of empty and dotted segments", () => {
    fc.assert(
      fc.property(pathText, (text) => {
        const check = checkWorkspacePath(text);
        if (!check.ok) return;
        assert.deepEqual(checkWorkspacePath(check.path), check);
        if (check.path !== ".") assert.ok(check.path.split("/").every((segment) => segment !== "" && segment !== "." && segment !== ".."));
      }),
      { numRuns: 2000 },
    );
  });

  it('takes a trailing "/**" of a policy entry for the folder', () => {
    assert.deepEqual(checkPolicyPath("./data/**"), { ok: true, path: "data" });
    assert.deepEqual(checkPolicyPath("**"), { ok: true, path: "." });
    for (const text of ["/**", "../**", "/data/**"]) assert.equal(checkPolicyPath(text).ok, false, text);
  });
});

describe("sandbox-path: a path in the image", () => {
  for (const [written, normal] of [
    ["/usr/lib/git-core", "/usr/lib/git-core"],
    ["/usr//lib/./git-core/", "/usr/lib/git-core"],
    ["/usr/lib/git-core/**", "/usr/lib/git-core"],
    ["/tmpl/x", "/tmpl/x"],
  ] as const) {
    it(`takes ${written} as ${normal}`, () => {
      assert.deepEqual(checkImagePath(written), { ok: true, path: normal });
    });
  }

  for (const [written, problem] of [
    ["", /is empty/],
    ["bin/tool", /is relative; give the absolute path/],
    ["./tool", /Nothing in the workspace can be executed/],
    ["/", /is the whole image/],
    ["/**", /is the whole image/],
    ["/usr/../bin", /contains "\.\."/],
    ["/usr/bin\\x", /backslash/],
    ["/usr/\0", /control character/],
    ["/workspace/temp/tool", /lies in \/workspace, where nothing can be executed/],
    ["/proc/self/exe", /lies in \/proc/],
    ["/dev/fd", /lies in \/dev/],
    ["/opt/code-mode", /lies in \/opt\/code-mode/],
    [`/${"a".repeat(256)}`, /a name longer than 255 bytes/],
    [`/${"a/".repeat(513)}`, /longer than 1024 bytes/],
  ] as const) {
    it(`refuses ${shown(written)}: ${problem.source}`, () => {
      const check = checkImagePath(written);
      assert.ok(!check.ok);
      assert.match(check.problem, problem);
    });
  }
});

describe("sandbox-path: a path in quotes", () => {
  it("is JSON for any text, and free of control characters of every kind", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("\u009b31m", "\u2028\u2029", "\u007f", '"\\\n')), (text) => {
        const quoted = quotePath(text);
        assert.equal(JSON.parse(quoted), text);
        // eslint-disable-next-line no-control-regex -- that is what must not be there
        assert.doesNotMatch(quoted, /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
      }),
      { numRuns: 1000 },
    );
  });
});

describe("sandbox-path: one path inside another", () => {
  const normal = fc.oneof(
    fc.constant("."),
    fc.array(fc.constantFrom("a", "ab", "b", "a.b"), { minLength: 1, maxLength: 4 }).map((segments) => segments.join("/")),
  );

  it("goes by whole names", () => {
    assert.ok(isWithin("data/x", "data"));
    assert.ok(isWithin("data", "data"));
    assert.ok(!isWithin("database", "data"));
    assert.ok(!isWithin("data", "data/x"));
    assert.ok(overlap("data", "data/x"));
    assert.ok(overlap("anything", "."));
    assert.ok(!overlap("data", "database"));
  });

  it("agrees with the file system's own notion", () => {
    fc.assert(
      fc.property(normal, normal, (a, b) => {
        const relative = path.posix.relative(`/w/${b}`, `/w/${a}`);
        assert.equal(isWithin(a, b), relative !== ".." && !relative.startsWith("../"));
        assert.equal(overlap(a, b), overlap(b, a));
      }),
    );
  });
});
