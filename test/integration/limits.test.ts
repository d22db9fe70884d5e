/** Limits: time, memory, output, result. What the program does is a result with a status; the deadline holds whatever it does. */

import assert from "node:assert/strict";

import { TestService } from "../helpers/service.ts";
import type { ErrorBody } from "../helpers/service.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

describe("Limits", () => {
  let service: TestService;

  before(async () => {
    service = await TestService.start({
      runtimes: {
        node: {
          memoryLimit: "256MB",
          permissions: { fileSystem: { write: ["./temp"] } },
          limits: {
            maxTimeoutMs: 40_000,
            outputBytes: "64KB",
            outputCeilingBytes: "16MB",
            maxOutputBytes: "1MB",
            resultBytes: "64KB",
            tempBytes: "512MB",
          },
        },
      },
    });
  });
  after(() => service.close());

  describe("time", () => {
    for (const [title, code] of [
      ["a busy loop", "for (;;);"],
      ["a promise that never settles while a timer runs", "setInterval(() => {}, 1000); await new Promise(() => {});"],
      [
        "ignored signals and exit handlers",
        'for (const s of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(s, () => {}); process.on("exit", () => { for (;;); }); for (;;);',
      ],
      ["a blocked event loop in Atomics.wait", "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);"],
      [
        "workers that spin",
        'const { Worker } = require("node:worker_threads"); for (let i = 0; i < 4; i++) new Worker("for (;;);", { eval: true }); for (;;);',
      ],
    ] as const) {
      it(`ends ${title} at the deadline`, async () => {
        const began = performance.now();
        const execution = await service.run(code, { timeoutMs: 700 });
        const tookMs = performance.now() - began;
        assert.equal(execution.status, "timed_out");
        assert.deepEqual([execution.exitCode, execution.signal], [null, "SIGKILL"]);
        assert.match(execution.error?.message ?? "", /700 ms/);
        assert.ok(execution.usage.runMs < 700 + 500, `ran ${execution.usage.runMs} ms`);
        assert.ok(tookMs < 10_000);
      });
    }

    it("keeps what was printed before the deadline", async () => {
      const { status, stdout } = await service.run('console.log("before"); for (;;);', { timeoutMs: 500 });
      assert.deepEqual([status, stdout], ["timed_out", "before\n"]);
    });

    it("ends an exit handler that does not return, and keeps the result", async () => {
      const execution = await service.run('process.on("exit", () => { for (;;); }); return 1;', { timeoutMs: 800 });
      assert.ok(execution.usage.runMs < 800 + 500, `ran ${execution.usage.runMs} ms`);
      assert.match(execution.status, /^(completed|timed_out)$/);
    });

    it("refuses a deadline above the ceiling, and says the ceiling", async () => {
      const { body, status } = await service.post<ErrorBody>({ code: "1", timeoutMs: 40_001 });
      assert.deepEqual([status, body.error.code], [400, "LIMIT_EXCEEDED"]);
      assert.match(body.error.message, /40000 ms/);
    });
  });

  describe("memory", () => {
    it("ends a program whose buffers outgrow the container", async () => {
      const execution = await service.run("const all = []; for (;;) all.push(Buffer.alloc(8 * 1024 * 1024, 1));", { timeoutMs: 20_000 });
      assert.equal(execution.status, "out_of_memory");
      assert.equal(execution.signal, "SIGKILL");
    });

    it("ends a program that fills its JavaScript heap, and says that this is the runtime's word", async () => {
      const execution = await service.run("const all = []; for (;;) all.push([all.length, {}]);", { timeoutMs: 30_000 });
      assert.equal(execution.status, "out_of_memory");
      assert.match(execution.error?.message ?? "", /runtime itself reported/);
    });

    it("counts the writable folders as memory", async () => {
      const code = 'const fs = require("node:fs"); for (let i = 0; ; i++) fs.writeFileSync("temp/" + i, Buffer.alloc(8 * 1024 * 1024));';
      assert.equal((await service.run(code, { timeoutMs: 20_000 })).status, "out_of_memory");
    });

    it("takes a request's smaller limit, down to the least that starts", async () => {
      const limit = await service.result(
        `const fs = require("node:fs");
         for (const file of ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]) if (fs.existsSync(file)) return Number(fs.readFileSync(file, "utf8"));`,
        { limits: { memory: "64MB" } },
      );
      assert.equal(limit, 64 * MIB);
    });

    it("refuses more than the ceiling, and less than the least", async () => {
      const above = await service.post<ErrorBody>({ code: "1", limits: { memory: "257MB" } });
      assert.deepEqual([above.status, above.body.error.code], [400, "LIMIT_EXCEEDED"]);
      assert.match(above.body.error.message, /256MB/);
      const below = await service.post<ErrorBody>({ code: "1", limits: { memory: "1MB" } });
      assert.deepEqual([below.status, below.body.error.code], [400, "INVALID_REQUEST"]);
    });

    it("limits CPU time to the cores asked for", async () => {
      const spin = "const end = Date.now() + 1500; while (Date.now() < end); return process.cpuUsage().user;";
      const cpuUs = (await service.result(spin, { limits: { cpus: 0.25 } })) as number;
      assert.ok(cpuUs < 900_000, `used ${cpuUs} µs in 1.5 s`);
    });
  });

  describe("output", () => {
    it("keeps all of it, in order, when it fits", async () => {
      const text = Array.from({ length: 1000 }, (_, index) => `line ${index}\n`).join("");
      for (let round = 0; round < 5; round += 1) {
        const { stderr, stdout, truncated } = await service.run(
          'for (let i = 0; i < 1000; i++) { console.log("line " + i); console.error("line " + i); } return "x".repeat(1000);',
        );
        assert.equal(stdout, text);
        assert.equal(stderr, text);
        assert.deepEqual(truncated, { stdout: false, stderr: false });
      }
    });

    it("cuts at outputBytes, says so, and lets the program go on", async () => {
      const execution = await service.run('process.stdout.write("é".repeat(100_000)); console.error("fine"); return "went on";');
      assert.deepEqual([execution.status, execution.result], ["completed", "went on"]);
      assert.equal(execution.stdout, "é".repeat(32 * KIB));
      assert.deepEqual(execution.truncated, { stdout: true, stderr: false });
    });

    it("takes a request's outputBytes", async () => {
      const { stdout, truncated } = await service.run('process.stdout.write("0123456789")', { limits: { outputBytes: 4 } });
      assert.deepEqual([stdout, truncated.stdout], ["0123", true]);
      assert.equal((await service.run('console.log("x")', { limits: { outputBytes: 0 } })).stdout, "");
    });

    it("ends a flood at the hard ceiling", async () => {
      const execution = await service.run('const block = "x".repeat(1024 * 1024); for (;;) process.stdout.write(block);', {
        timeoutMs: 20_000,
      });
      assert.equal(execution.status, "output_limit");
      assert.equal(execution.truncated.stdout, true);
      assert.match(execution.error?.message ?? "", /stdout/);
    });

    it("gives a stream whose characters are cut between two writes as whole text", async () => {
      const code =
        'const fs = require("node:fs"); const bytes = Buffer.from("€"); fs.writeSync(1, bytes.subarray(0, 1)); await new Promise((r) => setTimeout(r, 50)); fs.writeSync(1, bytes.subarray(1));';
      assert.equal((await service.run(code)).stdout, "€");
    });

    it("collects the output of workers and of exit handlers", async () => {
      const code = `const { Worker } = require("node:worker_threads");
        process.on("exit", () => console.log("exit"));
        await new Promise((resolve) => new Worker('console.log("worker")', { eval: true }).on("exit", resolve));
        return 1;`;
      assert.equal((await service.run(code)).stdout, "worker\nexit\n");
    });

    it("survives a program that closes its own streams", async () => {
      const execution = await service.run('const fs = require("node:fs"); fs.closeSync(1); fs.closeSync(2); return "alive";', {
        timeoutMs: 5000,
      });
      assert.deepEqual([execution.status, execution.result], ["completed", "alive"]);
    });
  });

  describe("result", () => {
    it("refuses one that is too large, and says what to do", async () => {
      const { error, status } = await service.run('return "x".repeat(100_000)');
      assert.equal(status, "failed");
      assert.match(error?.message ?? "", /65536|64/);
    });

    it("refuses one that is too deep", async () => {
      const { error, status } = await service.run("let deep = []; for (let i = 0; i < 100_000; i++) deep = [deep]; return deep;");
      assert.equal(status, "failed");
      assert.match(error?.message ?? "", /deep|nested/);
    });
  });
});
