/** Fuzz targets: what callers and operators write, and what the runner makes of hostile values. */

import assert from "node:assert/strict";

import fc from "fast-check";

import { ErrorReporter } from "../../sandbox-image/runner/error-report.ts";
import { ResultError } from "../../sandbox-image/runner/result-place.ts";
import { serializeValue } from "../../sandbox-image/runner/serialize.ts";
import { compilePattern, matchesPattern } from "../../src/bridge/path-pattern.ts";
import { finishedSchema } from "../../src/bridge/protocol.ts";
import { parseRuntimes } from "../../src/config/runtimes-file.ts";
import { ERROR_STATUS, StartupError } from "../../src/domain/errors.ts";
import { checkPolicyPath, checkWorkspacePath, isWithin, quotePath } from "../../src/domain/sandbox-path.ts";
import { errorBodySchema } from "../../src/http/errors.ts";
import { HttpService } from "../unit/support/http-service.ts";
import type { FuzzTarget } from "./target.ts";

const permissions = fc.record(
  {
    fileSystem: fc.record(
      {
        read: fc.array(
          fc.oneof(
            fc.constantFrom("./data", "data/**", "..", "/etc", "."),
            fc.string(),
            fc.record({ path: fc.string(), snapshot: fc.boolean() }),
          ),
        ),
        write: fc.array(fc.constantFrom("./temp", "temp/a", "data", ".")),
        execute: fc.array(fc.string()),
      },
      { requiredKeys: [] },
    ),
    network: fc.record(
      {
        allowedHosts: fc.array(fc.constantFrom("example.com", "*.x", "a\0b", "[::1]", "")),
        allowedPorts: fc.array(fc.integer()),
        loopback: fc.boolean(),
      },
      { requiredKeys: [] },
    ),
    system: fc.record({ allowedCommands: fc.array(fc.string()), maxProcesses: fc.integer() }, { requiredKeys: [] }),
  },
  { requiredKeys: [] },
);
const size = fc.oneof(fc.constantFrom("512MB", "1e3", "-1", "64 MB", "9".repeat(400), "0x10MB"), fc.double(), fc.jsonValue());

const config: FuzzTarget = {
  name: "config",
  grown: fc
    .record({
      runtimes: fc.dictionary(
        fc.constantFrom("node", "a.b", "__proto__", "constructor", "bad key"),
        fc.record(
          {
            timeout: fc.integer(),
            memoryLimit: size,
            version: fc.constantFrom("24", "v18", "x"),
            limits: fc.record({ cpus: fc.double(), tempBytes: size, maxTimeoutMs: fc.nat() }, { requiredKeys: [] }),
            permissions,
          },
          { requiredKeys: [] },
        ),
        { maxKeys: 3 },
      ),
    })
    .map((file) => Buffer.from(JSON.stringify(file))),
  longRuns: 150_000,
  check: (input) => {
    try {
      for (const [name, { limits, permissions: granted }] of parseRuntimes(input.toString(), "runtimes.json").runtimes) {
        assert.match(name, /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/);
        for (const { path } of [...granted.fileSystem.read, ...granted.fileSystem.write])
          assert.deepEqual(checkWorkspacePath(path), { ok: true, path });
        for (const limit of Object.values(limits.defaults)) assert.ok(Number.isFinite(limit));
      }
    } catch (error) {
      assert.ok(error instanceof StartupError, String(error));
    }
    assert.deepEqual(Object.keys(Object.prototype), []);
  },
};

const segment = fc.constantFrom(
  "a",
  "..",
  ".",
  "",
  "**",
  "*",
  "*a*b",
  "é",
  "\0",
  "\\",
  "\u202e",
  "\u2028",
  "x".repeat(255),
  "x".repeat(256),
  "a*".repeat(60),
);

const matches = (pattern: string, path: string, steps = { left: Infinity }): boolean =>
  matchesPattern([compilePattern(pattern)], path, steps);

const paths: FuzzTarget = {
  name: "paths",
  grown: fc.array(segment, { maxLength: 12 }).map((segments) => Buffer.from(segments.join("/"))),
  longRuns: 400_000,
  check: (input) => {
    const text = input.toString();
    assert.equal(JSON.parse(quotePath(text)), text);
    checkPolicyPath(text);
    const check = checkWorkspacePath(text);
    if (!check.ok) return;
    assert.deepEqual(checkWorkspacePath(check.path), check);
    assert.ok(isWithin(check.path, "."));
    assert.doesNotMatch(check.path, /(^|\/)\.\.(\/|$)|^\/|\\|\0/);
    assert.ok(matches("**", check.path) && matches(check.path, check.path));
    const steps = { left: 10_000 };
    matches(check.path, `${"a/".repeat(100)}${"ab".repeat(100)}`, steps);
    assert.ok(steps.left >= -1, "matching stops when its steps are used up");
  },
};

const trap = (): never => {
  throw new RangeError("trap");
};

/** V8 makes the stack when it is first asked for, out of what the error holds then. */
function withStack(error: Error): Error {
  assert.ok(error.stack !== "");
  return error;
}

/** A value that is made step by step from the input's bytes: a small machine with a stack, whose steps are what hostile programs do. */
function hostileValue(input: Buffer): unknown {
  const stack: unknown[] = [];
  const taken = (): unknown => stack.at(-1) ?? null;
  const STEPS: readonly ((argument: number) => unknown)[] = [
    (argument) => argument,
    (argument) => [NaN, -0, Infinity, 2n ** 70n, Symbol("s"), undefined, "\ud800", () => 1][argument % 8],
    (argument) => String.fromCharCode(argument, argument * 257).repeat(argument),
    () => [...stack],
    (argument) => ({ [`k${argument}`]: taken(), __proto__: null }),
    () => new Map([[taken(), stack[0]]]),
    () => new Set(stack),
    () => Object.assign(new Error(String(stack.length)), { cause: taken(), errors: [...stack] }),
    () => new Proxy(Object(taken() ?? {}) as object, {}),
    (argument) => new Proxy({}, { [["get", "ownKeys", "getPrototypeOf", "has", "getOwnPropertyDescriptor"][argument % 5]!]: trap }),
    (argument) => Object.defineProperty({}, `g${argument}`, { enumerable: true, get: argument % 2 === 0 ? trap : taken }),
    (argument) => ({ toJSON: argument % 2 === 0 ? trap : taken }),
    () => Object.defineProperties(withStack(new Error("x")), { message: { get: trap }, stack: { get: taken }, name: { value: taken() } }),
    () => {
      const loop: unknown[] = [taken()];
      loop.push(loop);
      return loop;
    },
    (argument) => new Uint8Array(argument).subarray(argument >> 1),
    () => Object.setPrototypeOf({ own: taken() }, Array.prototype) as unknown,
    () => Object.assign(Object.create(Error.prototype) as object, { message: taken(), cause: taken() }),
    () => {
      const { proxy, revoke } = Proxy.revocable([], {});
      revoke();
      return proxy;
    },
    (argument) => Object.assign([1, 2], { length: argument }),
    (argument) => new Date(argument === 0 ? NaN : argument),
    () => ({ then: taken(), toString: trap, valueOf: trap, [Symbol.toPrimitive]: trap }),
  ];
  for (let at = 0; at + 1 < Math.min(input.byteLength, 120); at += 2)
    stack.push(STEPS[(input[at] ?? 0) % STEPS.length]!(input[at + 1] ?? 0));
  return input.byteLength % 3 === 0 ? stack : taken();
}

const values: FuzzTarget = {
  name: "values",
  grown: fc.uint8Array({ minLength: 2, maxLength: 60 }).map((array) => Buffer.from(array)),
  longRuns: 300_000,
  shortRuns: 1500,
  check: (input) => {
    const value = hostileValue(input);
    const reporter = new ErrorReporter({ workspace: "/workspace", runnerDirectory: "/opt/code-mode" });
    const error = reporter.report(value);
    finishedSchema.parse({ result: null, error, exitCode: 1 });
    const MAX_BYTES = 20_000;
    let text: string;
    try {
      text = serializeValue(value, { maxBytes: MAX_BYTES, describeError: (thrown) => reporter.report(thrown) });
    } catch (refusal) {
      assert.ok(refusal instanceof ResultError, String(refusal));
      return;
    }
    assert.ok(Buffer.byteLength(text) <= MAX_BYTES);
    JSON.parse(text);
  },
};

/** A service with sandboxes that only say "done": what is fuzzed is all that comes before. Nothing is left running after the last case. */
let service: Promise<HttpService> | undefined;
export async function closeHttpTarget(): Promise<void> {
  await (await service)?.close();
  service = undefined;
}

const field = fc.oneof(fc.string(), fc.jsonValue());
const request = fc.record(
  {
    code: fc.oneof(fc.constant("return 1"), field),
    runtime: fc.oneof(fc.constantFrom("node", "__proto__", "constructor"), field),
    files: fc.oneof(
      fc.array(
        fc.record({
          path: fc.oneof(fc.constantFrom("a", "a/b", "temp/x"), fc.string()),
          content: field,
          encoding: fc.constantFrom("utf8", "base64", "x"),
        }),
        { maxLength: 4 },
      ),
      field,
    ),
    stdin: field,
    args: fc.oneof(fc.array(fc.string(), { maxLength: 3 }), field),
    env: fc.oneof(fc.dictionary(fc.oneof(fc.constantFrom("A", "__proto__", "B=C"), fc.string()), fc.string(), { maxKeys: 3 }), field),
    timeoutMs: fc.oneof(fc.integer(), fc.double(), field),
    limits: fc.oneof(fc.record({ memory: size, cpus: fc.double(), outputBytes: fc.integer() }, { requiredKeys: [] }), field),
    permissions: fc.oneof(permissions, field),
    outputFiles: fc.oneof(fc.array(fc.string(), { maxLength: 3 }), field),
    [`__proto__`]: field,
  },
  { requiredKeys: ["code"] },
);

const http: FuzzTarget = {
  name: "http",
  grown: request.map((body) => Buffer.from(JSON.stringify(body))),
  shortRuns: 500,
  longRuns: 60_000,
  check: async (input) => {
    service ??= HttpService.start();
    const running = await service;
    const { json, status } = await running.send("/v1/executions", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: input,
    });
    running.log.length = 0;
    running.sandboxes.programs.length = 0;
    assert.deepEqual(Object.keys(Object.prototype), []);
    if (status === 200) {
      assert.equal((json as { status: string }).status, "completed");
      return;
    }
    const { error } = errorBodySchema.parse(json);
    assert.equal(ERROR_STATUS[error.code as keyof typeof ERROR_STATUS], status);
    assert.ok(status < 500 || status === 503, JSON.stringify(json));
    assert.match(error.requestId, /^[0-9a-f-]{36}$/);
  },
};

export const INPUT_TARGETS: readonly FuzzTarget[] = [config, paths, values, http];
