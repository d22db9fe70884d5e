/**
 * Text of callers and programs as a means of attack on the log and on the HTTP answer: each line of the log stays one JSON object of
 * the service's own fields, an answer has the service's own headers, and neither tells what is secret.
 */

import assert from "node:assert/strict";
import { connect } from "node:net";

import { eventually, TestService } from "../helpers/service.ts";
import type { Answer } from "../helpers/service.ts";
import { attack } from "./support/attack.ts";

const KEY = "key-that-nobody-may-read-0123456789";
const SECRETS = [
  "SECRET-IN-CODE",
  "SECRET-PRINTED",
  "SECRET-IN-ENV",
  "SECRET-ARGUMENT",
  "SECRET-STDIN",
  "SECRET-FILE",
  "SECRET-RESULT",
  "SECRET-ERROR",
  KEY,
];

const FORGED = '{"level":50,"msg":"forged","owner":"root","status":"completed"}';
/** Ends a line, a field or an escape, one way or another. */
const PAYLOADS = [
  `\n${FORGED}\n`,
  `\r\n${FORGED}`,
  `"}\n${FORGED}`,
  "\u001b[2J\u001b[31mred",
  "\u009b31mred",
  "\u2028\u2029",
  "\u0085next",
  "\u007f\b\u0000",
  "\\u000a\\",
  "\ud800",
];

/** The top-level fields that the service itself writes. */
const FIELDS = new Set([
  "level",
  "time",
  "pid",
  "hostname",
  "msg",
  "req",
  "res",
  "responseTime",
  "err",
  "executionId",
  "owner",
  "runtime",
  "status",
  "exitCode",
  "signal",
  "usage",
  "reasons",
  "url",
  "runtimes",
  "advisories",
  "unsupported",
  "refused",
  "last",
]);

let service: TestService;
const authorized = { authorization: `Bearer ${KEY}` };
const post = (body: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
  service.post(body, { headers: { ...authorized, ...headers } });

/** Sends bytes as a request, since no client sends such ones, and gives the whole answer. */
function send(request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(service.url).port), "127.0.0.1", () => socket.end(Buffer.from(request, "latin1")));
    let answer = "";
    socket.on("data", (chunk: Buffer) => (answer += chunk.toString("latin1")));
    socket.on("close", () => resolve(answer));
    socket.on("error", reject);
  });
}

/** What is wrong with the log as it is; empty when nothing is. */
function problemsOf(lines: readonly string[]): string[] {
  return lines.flatMap((line) => {
    // eslint-disable-next-line no-control-regex -- that is what must not be there
    const hasControl = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(line.replace(/\n$/, ""));
    let record: unknown;
    try {
      record = JSON.parse(line);
    } catch {
      return [`no JSON: ${line}`];
    }
    const strange = Object.keys(record as object).filter((key) => !FIELDS.has(key));
    const secrets = SECRETS.filter((secret) => line.includes(secret));
    const forged = (record as { msg?: unknown }).msg === "forged";
    return hasControl || forged || strange.length > 0 || secrets.length > 0 ? [JSON.stringify({ line, strange, secrets })] : [];
  });
}

/** What a logger makes of text that puts it into a line as it is. */
const naiveLog = (text: string): string[] => `{"level":30,"msg":"${text}"}\n`.split("\n").filter((line) => line !== "");

/** Puts a payload wherever a caller can put text. */
async function sendEverywhere(payload: string): Promise<void> {
  const headerSafe = Buffer.from(payload.replaceAll(/[\r\n\0]/g, ""), "utf8").toString("latin1");
  const encoded = encodeURIComponent(payload.toWellFormed());
  const bodies: unknown[] = [
    { code: payload },
    { code: "return 1", runtime: payload.slice(0, 128) },
    { code: "return 1", [payload]: 1 },
    { code: "return 1", env: { [payload]: payload } },
    { code: "return 1", files: [{ path: payload, content: "" }] },
    { code: "return 1", outputFiles: [payload] },
    { code: "return 1", permissions: { fileSystem: { read: [payload] } } },
    { code: "return 1", permissions: { fileSystem: { read: [`data/${payload.replaceAll(/\W/g, "")}${headerSafe}`] } } },
    { code: "return 1", runtime: "networked", args: [payload] },
    payload,
  ];
  for (const body of bodies) assert.ok((await post(body)).status < 504);
  for (const where of [`/v1/executions/${encoded}`, `/v1/executions?status=${encoded}`, `/${encoded}`, `/%0d%0aX-Injected:%201`]) {
    await (await fetch(`${service.url}${where}`, { headers: authorized })).text();
  }
  for (const header of ["X-Request-Id", "Authorization", "User-Agent", "Content-Type", "Origin", "X-Forwarded-For"]) {
    const answer = await send(
      `POST /v1/executions HTTP/1.1\r\nHost: localhost\r\n${header}: ${headerSafe}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`,
    );
    assert.match(answer, /^HTTP\/1\.1 4\d\d /, header);
  }
  const answers = await Promise.all([
    send(`GET /v1/${headerSafe.replaceAll(" ", "")} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`),
    send(`GET /health HTTP/1.1\r\nHost: ${headerSafe}\r\nConnection: close\r\n\r\n`),
    send(`${headerSafe} / HTTP/1.1\r\nHost: localhost\r\n\r\n`),
    send(`GET /health HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a${payload.slice(0, 200)}\r\nConnection: close\r\n\r\n`),
  ]);
  for (const answer of answers) assert.doesNotMatch(answer, /^(x-injected|forged)/im);
}

describe("Security: tampering with the log", () => {
  before(async () => {
    service = await TestService.start({
      logLevel: "trace",
      env: { CODE_MODE_API_KEYS: `tester:${KEY}` },
      runtimes: {
        node: { permissions: { fileSystem: { read: ["./data"], write: ["./temp"] } } },
        networked: { permissions: { network: { allowedHosts: ["localhost"], allowedPorts: [80] } } },
      },
    });
  });
  after(() => service.close());
  attack({
    name: "text that ends a line and forges the next one",
    layer: "JSON lines, control characters as escapes",
    without: {
      run: () => (PAYLOADS.some((payload) => naiveLog(payload).includes(FORGED)) ? "forged" : "one line"),
      shows: "forged",
    },
    within: {
      run: async () => {
        for (const payload of PAYLOADS) await sendEverywhere(payload);
        assert.ok(service.logLines.length > 100, "there is a log to look at");
        return problemsOf(service.logLines).slice(0, 3).join("\n") || "one object a line";
      },
      gives: "one object a line",
    },
  });

  it("has nothing that a program says, wherever it says it", async () => {
    const text = JSON.stringify(PAYLOADS.join(""));
    const { body } = await post({
      code: `// SECRET-IN-CODE
        console.log("SECRET-PRINTED", ${text}); console.error("SECRET-PRINTED", ${text});
        require("fs").writeFileSync("temp/\\u001b[31m\\n" + ${JSON.stringify(FORGED)}, "SECRET-FILE");
        const error = new Error("SECRET-ERROR" + ${text}); error.name = "SECRET-ERROR" + ${text};
        if (process.env.THROW === "1") throw error;
        return { ["SECRET-RESULT" + ${text}]: ${text} };`,
      env: { THROW: "0", SECRET: "SECRET-IN-ENV" },
      args: ["SECRET-ARGUMENT"],
      stdin: "SECRET-STDIN",
      files: [{ path: "in/SECRET-FILE", content: "SECRET-FILE" }],
      outputFiles: ["temp/**"],
    });
    assert.equal(body.status, "completed");
    assert.ok(JSON.stringify(body).includes("SECRET-PRINTED"), "the control: the answer has it");
    const failed = await post({ code: `throw Object.assign(new Error("SECRET-ERROR" + ${text}), { name: ${text} });` });
    assert.equal(failed.body.status, "failed");
    const violated = await post({
      code: `const fs = require("fs"); let fd = 3; for (; ; fd++) { try { if (fs.fstatSync(fd).isSocket()) break; } catch {} }
        const body = Buffer.from(JSON.stringify({ jsonrpc: "2.0", method: ${JSON.stringify(FORGED.slice(0, 60))}, params: {} }));
        const head = Buffer.alloc(5); head.writeUInt32BE(body.length); head[4] = 1; fs.writeSync(fd, Buffer.concat([head, body])); for (;;);`,
      timeoutMs: 3000,
    });
    assert.equal(violated.body.status, "killed");
    await eventually("all is removed", async () => (await service.sandboxes()).length === 0);
    assert.deepEqual(problemsOf(service.logLines), []);
    const ended = service.logLines.filter((line) => line.includes("execution ended"));
    assert.ok(ended.length >= 3, "the control: executions are logged");
  });

  it("has no key, accepted or refused", async () => {
    const wrong = "wrong-key-9876543210";
    for (const authorization of [`Bearer ${KEY}`, `Bearer ${wrong}`, `Basic ${Buffer.from(`a:${wrong}`).toString("base64")}`, wrong]) {
      await (await fetch(`${service.url}/v1/executions`, { headers: { authorization, cookie: `session=${wrong}` } })).text();
    }
    assert.ok(service.logLines.every((line) => !line.includes(wrong) && !line.includes(KEY)));
  });
});
