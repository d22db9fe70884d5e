/** What bad input gets: an error that says what to change, and the next request works. */

import assert from "node:assert/strict";
import { connect } from "node:net";

import { eventually, TestService } from "../helpers/service.ts";
import type { ErrorBody } from "../helpers/service.ts";

interface Case {
  readonly title: string;
  readonly body: unknown;
  readonly status: number;
  readonly code: string;
  /** In the message or a detail's path. */
  readonly says: RegExp;
  readonly init?: RequestInit;
}

const file = (path: string): unknown => ({ code: "1", files: [{ path, content: "x" }] });
const invalid = { status: 400, code: "INVALID_REQUEST" };

const CASES: readonly Case[] = [
  { title: "a body that is no JSON", body: '{"code": ', ...invalid, says: /JSON/ },
  { title: "a body that is no object", body: "[1]", ...invalid, says: /object/ },
  { title: "an empty body", body: "", ...invalid, says: /expected|JSON/ },
  { title: "no code", body: {}, ...invalid, says: /code/ },
  { title: "code of the wrong type", body: { code: 1 }, ...invalid, says: /code.*string/ },
  { title: "an unknown field", body: { code: "1", cdoe: "2" }, ...invalid, says: /cdoe/ },
  {
    title: "an unknown field deep inside",
    body: { code: "1", permissions: { fileSystem: { raed: [] } } },
    ...invalid,
    says: /permissions\.fileSystem\.raed/,
  },
  { title: "code with a NUL character", body: { code: "1\0" }, ...invalid, says: /NUL/ },
  { title: "an absolute path", body: file("/etc/passwd"), ...invalid, says: /absolute/ },
  { title: "a path that climbs", body: file("a/../../b"), ...invalid, says: /\.\./ },
  { title: "a path with a NUL", body: file("a\0b"), ...invalid, says: /control/ },
  { title: "a path with a newline", body: file("a\nb"), ...invalid, says: /control/ },
  { title: "a path with a backslash", body: file("..\\b"), ...invalid, says: /backslash/ },
  { title: "an empty path", body: file(""), ...invalid, says: /empty/ },
  { title: "a path that is the workspace", body: file("./"), ...invalid, says: /workspace/ },
  { title: "a path that is too long", body: file("a".repeat(300)), ...invalid, says: /longer than 255/ },
  {
    title: "a path that is there twice",
    body: {
      code: "1",
      files: [
        { path: "a", content: "" },
        { path: "./a", content: "" },
      ],
    },
    ...invalid,
    says: /twice/,
  },
  {
    title: "a file that is a folder of another",
    body: {
      code: "1",
      files: [
        { path: "a", content: "" },
        { path: "a/b", content: "" },
      ],
    },
    ...invalid,
    says: /not a folder/,
  },
  {
    title: "content that is no base64",
    body: { code: "1", files: [{ path: "a", content: "!!", encoding: "base64" }] },
    ...invalid,
    says: /base64/,
  },
  { title: "an environment name that is none", body: { code: "1", env: { "A=B": "1" } }, ...invalid, says: /environment/ },
  { title: "an environment value with a NUL", body: { code: "1", env: { A: "\0" } }, ...invalid, says: /NUL/ },
  { title: "a limit that is no size", body: { code: "1", limits: { memory: "lots" } }, ...invalid, says: /512MB/ },
  { title: "a timeout of zero", body: { code: "1", timeoutMs: 0 }, ...invalid, says: /timeoutMs/ },
  { title: "a fractional timeout", body: { code: "1", timeoutMs: 1.5 }, ...invalid, says: /timeoutMs/ },
  {
    title: "a limit above the ceiling",
    body: { code: "1", limits: { memory: "100GB" } },
    status: 400,
    code: "LIMIT_EXCEEDED",
    says: /ceiling of 512MB/,
  },
  { title: "an unknown runtime", body: { code: "1", runtime: "python" }, status: 404, code: "NOT_FOUND", says: /There are: node/ },
  {
    title: "a runtime that cannot run yet",
    body: { code: "1", runtime: "networked" },
    status: 503,
    code: "SANDBOX_UNAVAILABLE",
    says: /allowedHosts/,
  },
  {
    title: "more reading than granted",
    body: { code: "1", permissions: { fileSystem: { read: ["secret"] } } },
    status: 403,
    code: "PERMISSION_WIDENING",
    says: /"secret"/,
  },
  {
    title: "a readable path that does not exist",
    body: { code: "1", permissions: { fileSystem: { read: ["data/missing"] } } },
    ...invalid,
    says: /"data\/missing" does not exist/,
  },
  {
    title: "more writing than granted",
    body: { code: "1", permissions: { fileSystem: { write: ["."] } } },
    ...invalid,
    says: /whole workspace/,
  },
  {
    title: "network that is not granted",
    body: { code: "1", permissions: { network: { allowedHosts: ["example.com"] } } },
    status: 403,
    code: "PERMISSION_WIDENING",
    says: /example\.com/,
  },
  {
    title: "more processes than granted",
    body: { code: "1", permissions: { system: { maxProcesses: 2 } } },
    status: 403,
    code: "PERMISSION_WIDENING",
    says: /process/,
  },
  { title: "an output pattern that climbs", body: { code: "1", outputFiles: ["../**"] }, ...invalid, says: /outputFiles/ },
  {
    title: "a body over the cap",
    body: { code: "x".repeat(300_000) },
    status: 413,
    code: "PAYLOAD_TOO_LARGE",
    says: /CODE_MODE_MAX_BODY_BYTES/,
  },
  {
    title: "a body of another type",
    body: "code=1",
    status: 415,
    code: "UNSUPPORTED_MEDIA_TYPE",
    says: /application\/json/,
    init: { headers: { "content-type": "application/x-www-form-urlencoded" } },
  },
  {
    title: "a compressed body",
    body: "{}",
    status: 415,
    code: "UNSUPPORTED_MEDIA_TYPE",
    says: /compressed/,
    init: { headers: { "content-encoding": "gzip" } },
  },
  {
    title: "a page of another site",
    body: { code: "1" },
    status: 403,
    code: "FORBIDDEN",
    says: /Origin/,
    init: { headers: { origin: "https://evil.example" } },
  },
];

describe("Bad input", () => {
  let service: TestService;

  before(async () => {
    service = await TestService.start({
      env: { CODE_MODE_MAX_BODY_BYTES: "262144" },
      runtimes: {
        node: { permissions: { fileSystem: { read: ["./data"], write: ["./temp"] } } },
        networked: { permissions: { network: { allowedHosts: ["localhost"], allowedPorts: [8001] } } },
      },
    });
  });
  after(() => service.close());
  afterEach(async () => {
    await eventually("no sandbox is left", async () => (await service.sandboxes()).length === 0);
  });

  for (const { body, code, init, says, status, title } of CASES) {
    it(`refuses ${title}`, async () => {
      const answer = await service.post<ErrorBody>(body, init);
      const { error } = answer.body;
      assert.deepEqual([answer.status, error.code], [status, code], JSON.stringify(answer.body));
      assert.match(`${error.message} ${error.details.map((detail) => detail.path).join(" ")}`, says);
      assert.equal(answer.headers.get("x-request-id"), error.requestId);
    });
  }

  it("answers for code that does not parse with a result that names the line", async () => {
    const execution = await service.run("const a = 1;\nconst b = ;\n");
    assert.equal(execution.status, "failed");
    assert.equal(execution.error?.name, "SyntaxError");
    assert.match(execution.error.stack, /main\.ts:2:/);
  });

  it("lists every problem of a request at once", async () => {
    const { body } = await service.post<ErrorBody>({ code: 1, args: [2], env: [], timeoutMs: "soon", nonsense: true });
    assert.deepEqual(body.error.details.map((detail) => detail.path).sort(), ["args.0", "code", "env", "nonsense", "timeoutMs"]);
  });

  it("keeps special keys of objects harmless", async () => {
    const { body, status } = await service.post<ErrorBody>(
      '{"code": "return ({}).polluted ?? null", "__proto__": {"polluted": 1}, "constructor": 1}',
    );
    assert.equal(status, 400);
    assert.match(JSON.stringify(body), /constructor/);
  });

  it("takes a deeply nested body without harm", async () => {
    const { status } = await service.post<ErrorBody>(`{"code": "1", "files": ${"[".repeat(50_000)}${"]".repeat(50_000)}}`);
    assert.equal(status, 400);
  });

  it("refuses a Host header of another name", async () => {
    const { port } = new URL(service.url);
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(Number(port), "127.0.0.1", () =>
        socket.end("GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
      );
      let text = "";
      socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
      socket.on("end", () => {
        resolve(text);
      });
      socket.on("error", reject);
    });
    assert.match(answer, /^HTTP\/1\.1 403 /);
    assert.match(answer, /FORBIDDEN/);
  });

  it("answers 404 and 405 in the same form", async () => {
    const missing = await service.get<ErrorBody>("/v1/nothing");
    assert.deepEqual([missing.status, missing.body.error.code], [404, "NOT_FOUND"]);
    const unknown = await service.get<ErrorBody>("/v1/executions/exe_00000000000000000000");
    assert.deepEqual([unknown.status, unknown.body.error.code], [404, "NOT_FOUND"]);
    const method = await service.get<ErrorBody>("/v1/executions", { method: "PUT" });
    assert.deepEqual([method.status, method.body.error.code, method.headers.get("allow")], [405, "METHOD_NOT_ALLOWED", "GET, POST"]);
  });

  it("works after all of that", async () => {
    assert.equal(await service.result("return 6 * 7"), 42);
  });
});
