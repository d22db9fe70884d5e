import assert from "node:assert/strict";

import fc from "fast-check";

import { applyRequestedLimits, compileLimits, memorySchema, requestLimitsSchema, runtimeLimitsSchema } from "../../../src/domain/limits.ts";
import type { RuntimeLimits, RuntimeLimitsInput } from "../../../src/domain/limits.ts";

const MIB = 2 ** 20;
const FIELDS = ["timeoutMs", "memoryBytes", "cpus", "outputBytes"] as const;

const compiled = (timeoutMs: number, memoryBytes: number, input: RuntimeLimitsInput = {}): RuntimeLimits => {
  const limits = compileLimits(timeoutMs, memoryBytes, input);
  assert.ok(!("message" in limits), JSON.stringify(limits));
  return limits;
};

/** Any settings, mostly such as make sense together. */
const settings = fc.record(
  {
    maxTimeoutMs: fc.integer({ min: 50_000, max: 150_000 }),
    maxMemory: fc.integer({ min: 2048 * MIB, max: 8192 * MIB }),
    cpus: fc.double({ min: 0.05, max: 8, noNaN: true }),
    maxCpus: fc.double({ min: 4, max: 16, noNaN: true }),
    outputBytes: fc.integer({ min: 0, max: 256 * MIB }),
    maxOutputBytes: fc.integer({ min: 100 * MIB, max: 256 * MIB }),
    outputCeilingBytes: fc.integer({ min: 128 * MIB, max: 1024 * MIB }),
  },
  { requiredKeys: [] },
);
const asked = fc.record(
  {
    timeoutMs: fc.integer({ min: 1, max: 100_000 }),
    memory: fc.integer({ min: 64 * MIB, max: 4096 * MIB }),
    cpus: fc.double({ min: 0.05, max: 8, noNaN: true }),
    outputBytes: fc.integer({ min: 0, max: 64 * MIB }),
  },
  { requiredKeys: [] },
);

describe("limits: of a runtime", () => {
  it("have the documented defaults, which are the ceilings too where no other is set", () => {
    assert.deepEqual(compiled(30_000, 512 * MIB), {
      defaults: {
        timeoutMs: 30_000,
        memoryBytes: 512 * MIB,
        cpus: 1,
        outputBytes: MIB,
        outputCeilingBytes: 64 * MIB,
        resultBytes: 4 * MIB,
        inputFiles: 1000,
        outputFiles: 1000,
        outputFileBytes: 16 * MIB,
        persistFiles: 1000,
        persistBytes: 16 * MIB,
        tempBytes: 64 * MIB,
        tempInodes: 16_384,
        openFiles: 1024,
      },
      ceilings: { timeoutMs: 30_000, memoryBytes: 512 * MIB, cpus: 1, outputBytes: 4 * MIB },
    });
  });

  it("are what the configuration sets", () => {
    const input = {
      outputBytes: 5,
      resultBytes: 2048,
      inputFiles: 1,
      outputFiles: 2,
      outputFileBytes: 3,
      tempBytes: 65_536,
      tempInodes: 17,
      openFiles: 65,
      cpus: 0.5,
      maxCpus: 4,
    };
    const { ceilings, defaults } = compiled(1, 64 * MIB, { ...input, maxTimeoutMs: 2, maxMemory: 65 * MIB, maxOutputBytes: 6 });
    const { maxCpus, ...expected } = input;
    for (const [name, value] of Object.entries(expected))
      assert.equal(new Map<string, unknown>(Object.entries(defaults)).get(name), value, name);
    assert.deepEqual(ceilings, { timeoutMs: 2, memoryBytes: 65 * MIB, cpus: maxCpus, outputBytes: 6 });
  });

  for (const [field, input, message] of [
    ["maxTimeoutMs", { maxTimeoutMs: 999 }, /below the runtime's timeout of 1000/],
    ["maxMemory", { maxMemory: 64 * MIB }, /below the runtime's memoryLimit of 128MB/],
    ["maxCpus", { maxCpus: 0.5 }, /below cpus, 1/],
    ["maxOutputBytes", { outputBytes: 2 * MIB, maxOutputBytes: MIB }, /below outputBytes, 2MB/],
    ["outputCeilingBytes", { outputCeilingBytes: MIB }, /below what a request may keep, 4MB/],
  ] as const) {
    it(`have no ${field} that is below what it is the ceiling of`, () => {
      const limits = compileLimits(1000, 128 * MIB, input);
      assert.ok("message" in limits);
      assert.equal(limits.field, field);
      assert.match(limits.message, message);
    });
  }

  it("never have a default above its ceiling, whatever is set", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 100_000 }),
        fc.integer({ min: 64 * MIB, max: 4096 * MIB }),
        settings,
        (timeoutMs, memoryBytes, input) => {
          const limits = compileLimits(timeoutMs, memoryBytes, input);
          if ("message" in limits) return;
          for (const field of FIELDS) assert.ok(limits.defaults[field] <= limits.ceilings[field], field);
          assert.ok(limits.ceilings.outputBytes <= limits.defaults.outputCeilingBytes);
        },
      ),
    );
  });
});

describe("limits: of a request", () => {
  it("are never above the ceiling, and what is above it is named", () => {
    let accepted = 0;
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 100_000 }),
        fc.integer({ min: 64 * MIB, max: 4096 * MIB }),
        settings,
        asked,
        (timeoutMs, memoryBytes, input, request) => {
          const runtime = compileLimits(timeoutMs, memoryBytes, input);
          if ("message" in runtime) return;
          const { ceilings, defaults } = runtime;
          const { limits, problems } = applyRequestedLimits(runtime, request);
          const wanted = {
            timeoutMs: request.timeoutMs,
            memoryBytes: request.memory,
            cpus: request.cpus,
            outputBytes: request.outputBytes,
          };
          const excessive = FIELDS.filter((field) => (wanted[field] ?? 0) > ceilings[field]);
          assert.equal(problems.length, excessive.length);
          if (problems.length > 0) return;
          accepted += 1;
          for (const field of FIELDS) {
            assert.ok(limits[field] <= ceilings[field], field);
            assert.equal(limits[field], wanted[field] ?? defaults[field]);
          }
          assert.deepEqual({ ...limits, ...wanted }, { ...defaults, ...wanted }, "nothing else changes");
        },
      ),
      { numRuns: 2000 },
    );
    assert.ok(accepted > 100, `only ${accepted} were accepted`);
  });

  it("may be exactly the ceiling", () => {
    const runtime = compiled(1000, 128 * MIB);
    assert.deepEqual(applyRequestedLimits(runtime, { timeoutMs: 1000, memory: 128 * MIB, cpus: 1, outputBytes: 4 * MIB }).problems, []);
  });
});

describe("limits: the schemas", () => {
  for (const [title, value, message] of [
    ["memory below what the runtime starts in", { memory: "63MB" }, /at least 64MB: the runtime does not start in less/],
    ["memory that is no size", { memory: "lots" }, /a size such as "512MB", "1\.5GB" or a number of bytes/],
    ["memory that is neither text nor number", { memory: true }, /a size such as "512MB"/],
    ["negative memory", { memory: -1 }, /a size such as "512MB"/],
    ["no CPU", { cpus: 0 }, />=0\.05/],
    ["a CPU that is no number", { cpus: "1" }, /expected number/],
    ["a fraction of a byte", { outputBytes: 0.5 }, /expected int/],
    ["a limit that is not adjustable", { openFiles: 1 }, /openFiles/],
  ] as const) {
    it(`of a request refuse ${title}`, () => {
      const parsed = requestLimitsSchema.safeParse(value);
      assert.ok(!parsed.success);
      assert.match(parsed.error.issues.map((issue) => issue.message).join("\n"), message);
    });
  }

  it("of a runtime say the range of a size", () => {
    const parsed = runtimeLimitsSchema.safeParse({ tempBytes: "1KB" });
    assert.ok(!parsed.success);
    assert.equal(parsed.error.issues[0]!.message, "must be from 64KB to 64GB");
  });

  it("turn sizes into bytes", () => {
    assert.equal(memorySchema.parse("1.5GB"), 1.5 * 2 ** 30);
    assert.deepEqual(runtimeLimitsSchema.parse({ outputBytes: "1KB", maxMemory: 128 * MIB }), { outputBytes: 1024, maxMemory: 128 * MIB });
  });
});
