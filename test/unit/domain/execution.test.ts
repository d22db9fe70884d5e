import assert from "node:assert/strict";

import fc from "fast-check";

import { executionRequestSchema } from "../../../src/domain/execution.ts";
import { problemsOf } from "../../../src/domain/schema-issues.ts";

const problems = (request: unknown): string[] => {
  const parsed = executionRequestSchema.safeParse(request);
  assert.ok(!parsed.success, "it was accepted");
  return parsed.error.issues
    .flatMap((issue) => problemsOf(issue, "is no known field"))
    .map(({ message, path }) => `${path.join(".")}: ${message}`);
};

const file = (path: string, content = "", more: object = {}): object => ({ path, content, ...more });

describe("execution: the request", () => {
  it("needs nothing but code", () => {
    assert.deepEqual(executionRequestSchema.parse({ code: "return 1" }), {
      code: "return 1",
      files: [],
      stdin: "",
      args: [],
      env: {},
      outputFiles: [],
    });
  });

  it("may hold everything that the contract names", () => {
    const request = {
      runtime: "node",
      code: "",
      files: [file("./in//data.csv", "1,2"), file("in/b.bin", "AAEC", { encoding: "base64" })],
      stdin: "in\0put",
      args: ["-x", ""],
      env: { _A1: "", HOME: "/x" },
      timeoutMs: 1,
      limits: { memory: "256MB", cpus: 0.5, outputBytes: 0 },
      permissions: { fileSystem: { read: [], write: ["temp"] } },
      outputFiles: ["temp/**", "./out/*.csv"],
    };
    assert.deepEqual(executionRequestSchema.parse(request), {
      ...request,
      files: [
        { path: "in/data.csv", content: "1,2", encoding: "utf8" },
        { path: "in/b.bin", content: "AAEC", encoding: "base64" },
      ],
      limits: { memory: 256 * 2 ** 20, cpus: 0.5, outputBytes: 0 },
      outputFiles: ["temp/**", "out/*.csv"],
    });
  });

  for (const [title, fields, problem] of [
    ["no code", { code: undefined }, /^code: .*expected string/],
    ["code that is no text", { code: 1 }, /^code: .*expected string/],
    ["code with a NUL character", { code: "a\0b" }, /^code: the code must not hold a NUL character$/],
    ["an unknown field", { timeout: 1 }, /^timeout: is no known field$/],
    ["an unknown field of a file", { files: [file("a", "", { mode: 1 })] }, /^files\.0\.mode: is no known field$/],
    ["an unknown limit", { limits: { openFiles: 1 } }, /^limits\.openFiles: is no known field$/],
    ["a field named __proto__", JSON.parse('{"__proto__": 1}') as object, /^__proto__: is no known field$/],
    ["an empty runtime", { runtime: "" }, /^runtime: /],
    ["an absolute path", { files: [file("/etc/passwd")] }, /^files\.0\.path: the path is absolute; give a path relative to the workspace$/],
    [
      "a path that leads out",
      { files: [file("ok"), file("a/../../b")] },
      /^files\.1\.path: the path contains "\.\."; a path stays inside the workspace$/,
    ],
    ["the workspace as a file", { files: [file("./")] }, /^files\.0\.path: the path names the workspace itself, not a file in it$/],
    ["a file twice", { files: [file("a/b"), file("./a//b")] }, /^files\.1\.path: "a\/b" is there twice$/],
    ["a file in a file", { files: [file("a/b/c"), file("a")] }, /^files\.0\.path: "a" is a file of this request, not a folder$/],
    ["content that is no base64", { files: [file("a", "!!!!", { encoding: "base64" })] }, /^files\.0\.content: is no base64 text$/],
    ["content that is base64url", { files: [file("a", "a-_b", { encoding: "base64" })] }, /^files\.0\.content: is no base64 text$/],
    ["base64 of an impossible length", { files: [file("a", "AAAAA", { encoding: "base64" })] }, /^files\.0\.content: is no base64 text$/],
    ["an unknown encoding", { files: [file("a", "", { encoding: "latin1" })] }, /^files\.0\.encoding: /],
    ["an argument with a NUL character", { args: ["ok", "\0"] }, /^args\.1: an argument must not hold a NUL character$/],
    ["an argument that is no text", { args: [1] }, /^args\.0: /],
    ["an environment name that is none", { env: { "1A": "" } }, /^env\.1A: is no name of an environment variable: letters, digits and _/],
    ["an environment name with =", { env: { "A=B": "" } }, /^env\.A=B: is no name of an environment variable/],
    ["an empty environment name", { env: { "": "" } }, /^env\.: is no name of an environment variable/],
    ["an environment value with a NUL character", { env: { A: "\0" } }, /^env\.A: a value must not hold a NUL character$/],
    ["an environment value that is no text", { env: { A: 1 } }, /^env\.A: /],
    [
      "too many environment names",
      { env: Object.fromEntries(Array.from({ length: 257 }, (_, index) => [`A${index}`, ""])) },
      /^env: has more than 256 names$/,
    ],
    ["no time", { timeoutMs: 0 }, /^timeoutMs: /],
    ["time with a fraction", { timeoutMs: 1.5 }, /^timeoutMs: /],
    ["time as text", { timeoutMs: "1" }, /^timeoutMs: /],
    ["an output pattern that leads out", { outputFiles: ["temp/../**"] }, /^outputFiles\.0: the path contains "\.\."/],
    ["an absolute output pattern", { outputFiles: ["/**"] }, /^outputFiles\.0: the path is absolute/],
    ["the whole workspace as output", { outputFiles: ["."] }, /^outputFiles\.0: the path names the workspace itself/],
    ["too many output patterns", { outputFiles: Array.from({ length: 65 }, () => "a") }, /^outputFiles: .*<=64/],
    ["too many arguments", { args: Array.from({ length: 1025 }, () => "") }, /^args: .*<=1024/],
    ["permissions that are none", { permissions: [] }, /^permissions: /],
  ] as const) {
    it(`is refused for ${title}, with the place`, () => {
      const found = problems({ code: "", ...fields });
      assert.equal(found.length, 1, found.join("\n"));
      assert.match(found[0]!, problem);
    });
  }

  it("is told all its problems at once", () => {
    assert.equal(problems({ code: 1, args: [1, 2], env: { "-": "" }, files: [file("/"), file("..")], extra: 1, more: 2 }).length, 8);
  });

  for (const value of [undefined, null, [], "code", 1]) {
    it(`is no ${JSON.stringify(value)}`, () => {
      assert.equal(problems(value).length, 1);
    });
  }
});

describe("execution: sizes that are senseless", () => {
  it("more files than any runtime takes are refused without a look at each", () => {
    assert.deepEqual(problems({ code: "", files: Array.from({ length: 300_000 }, () => 0) }), [
      "files: Too big: expected array to have <=100000 items",
    ]);
  });

  it("deep paths in long lists are checked in little time", function () {
    this.timeout(3000);
    const folder = "a/".repeat(500);
    const { files } = executionRequestSchema.parse({
      code: "",
      files: Array.from({ length: 4000 }, (_, index) => file(`${folder}${index}`)),
    });
    assert.equal(files.length, 4000);
  });

  it("a long text that is no base64 is told in little time and stack", () => {
    const content = `${"A".repeat(8_000_000)}!`;
    assert.deepEqual(problems({ code: "", files: [file("a", content, { encoding: "base64" })] }), ["files.0.content: is no base64 text"]);
  });
});

describe("execution: base64 contents", () => {
  it("are accepted as every encoder writes them, with and without padding", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.boolean(), (bytes, padded) => {
        const text = Buffer.from(bytes).toString("base64");
        const content = padded ? text : text.replace(/=+$/, "");
        const request = executionRequestSchema.parse({ code: "", files: [file("a", content, { encoding: "base64" })] });
        assert.deepEqual(Buffer.from(request.files[0]!.content, "base64"), Buffer.from(bytes));
      }),
    );
  });
});

describe("execution: files of one request", () => {
  it("are accepted exactly when none is twice there, or a folder of another", () => {
    const path = fc.array(fc.constantFrom("a", "b", "a-b", "a.b"), { minLength: 1, maxLength: 3 }).map((names) => names.join("/"));
    fc.assert(
      fc.property(fc.array(path, { maxLength: 6 }), (paths) => {
        const bad = paths.map((one, index) => paths.slice(0, index).includes(one) || paths.some((other) => one.startsWith(`${other}/`)));
        const parsed = executionRequestSchema.safeParse({ code: "", files: paths.map((name) => file(name)) });
        const named = new Set(parsed.success ? [] : parsed.error.issues.map(({ path: [, index] }) => index));
        assert.deepEqual(
          [...named].sort(),
          paths.map((_, index) => index).filter((index) => bad[index]),
        );
      }),
      { numRuns: 1000 },
    );
  });
});
