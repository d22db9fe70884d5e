/** The limits of an execution: what a runtime sets, what a request may ask for, and the ceilings between the two. Pure. */

import { z } from "zod";

import { BYTE_SIZE_FORMAT, formatByteSize, MIB, parseByteSize } from "./byte-size.ts";

const KIB = 2 ** 10;

/** A number of bytes, or text such as "512MB"; becomes a number of bytes. */
export const byteSizeSchema = z
  .union([z.number(), z.string().max(32)], { error: `expected ${BYTE_SIZE_FORMAT}` })
  .transform((value, context) => {
    const bytes = parseByteSize(value);
    if (bytes !== undefined) return bytes;
    context.addIssue({ code: "custom", message: `expected ${BYTE_SIZE_FORMAT}` });
    return z.NEVER;
  });

/** Below this a Node process with its worker threads does not start reliably. */
const MIN_MEMORY_BYTES = 64 * MIB;
const MIN_CPUS = 0.05;

const sized = (min: number, max: number, description: string) =>
  byteSizeSchema
    .refine((bytes) => bytes >= min && bytes <= max, { error: `must be from ${formatByteSize(min)} to ${formatByteSize(max)}` })
    .optional()
    .describe(description);

export const memorySchema = byteSizeSchema.refine((bytes) => bytes >= MIN_MEMORY_BYTES, {
  error: `must be at least ${formatByteSize(MIN_MEMORY_BYTES)}: the runtime does not start in less`,
});

/** `limits` of a runtime in config/runtimes.json: defaults and ceilings beyond `timeout` and `memoryLimit`. */
export const runtimeLimitsSchema = z.strictObject({
  maxTimeoutMs: z.int().min(1).max(86_400_000).optional().describe("Highest timeoutMs of a request; default: the runtime's timeout"),
  maxMemory: memorySchema.optional().describe("Highest memory of a request; default: the runtime's memoryLimit"),
  cpus: z.number().min(MIN_CPUS).max(256).optional().describe("CPU cores, fractions included; default 1"),
  maxCpus: z.number().min(MIN_CPUS).max(256).optional().describe("Highest cpus of a request; default: cpus"),
  outputBytes: sized(0, 256 * MIB, "What is kept of stdout and of stderr, each; default 1MB"),
  maxOutputBytes: sized(0, 256 * MIB, "Highest outputBytes of a request; default 4MB"),
  outputCeilingBytes: sized(KIB, 4096 * MIB, "A program that prints more than this to one stream is ended with output_limit; default 64MB"),
  resultBytes: sized(KIB, 64 * MIB, "Cap on the returned value as JSON text; default 4MB"),
  inputFiles: z.int().min(0).max(100_000).optional().describe("How many files a request may bring; default 1000"),
  outputFiles: z.int().min(0).max(100_000).optional().describe("How many output files are returned; default 1000"),
  outputFileBytes: sized(0, 1024 * MIB, "Cap on the output files together; default 16MB"),
  persistFiles: z
    .int()
    .min(0)
    .max(100_000)
    .optional()
    .describe("How many files and folders of one execution are kept in the folders with persist; default 1000"),
  persistBytes: sized(0, 1024 * MIB, "Cap on these files together; default 16MB"),
  tempBytes: sized(64 * KIB, 65_536 * MIB, "Size of each writable folder; counts towards the memory limit; default 64MB"),
  tempInodes: z.int().min(16).max(10_000_000).optional().describe("Files and folders in each writable folder; default 16384"),
  openFiles: z.int().min(64).max(1_048_576).optional().describe("Open files and sockets of the program; default 1024"),
});
export type RuntimeLimitsInput = z.infer<typeof runtimeLimitsSchema>;

/** `limits` of a request. */
export const requestLimitsSchema = z.strictObject({
  memory: memorySchema.optional().describe('Memory of the sandbox, its writable folders included: "256MB" or bytes'),
  cpus: z.number().min(MIN_CPUS).optional().describe("CPU cores, fractions included"),
  outputBytes: z.int().min(0).optional().describe("What is kept of stdout and of stderr, each"),
});

/** What a request can change. */
export interface AdjustableLimits {
  readonly timeoutMs: number;
  readonly memoryBytes: number;
  readonly cpus: number;
  readonly outputBytes: number;
}

/** What only the runtime's configuration sets. */
export interface FixedLimits {
  readonly outputCeilingBytes: number;
  readonly resultBytes: number;
  readonly inputFiles: number;
  readonly outputFiles: number;
  readonly outputFileBytes: number;
  readonly persistFiles: number;
  readonly persistBytes: number;
  readonly tempBytes: number;
  readonly tempInodes: number;
  readonly openFiles: number;
}

export type Limits = AdjustableLimits & FixedLimits;

/** The limits of a runtime: defaults, and the most that a request can ask for. */
export interface RuntimeLimits {
  readonly defaults: Limits;
  readonly ceilings: AdjustableLimits;
}

/** A default that is above its own ceiling. */
export interface LimitProblem {
  readonly field: string;
  readonly message: string;
}

/** Fills in the defaults. A ceiling below its default is a problem of the configuration. */
export function compileLimits(timeoutMs: number, memoryBytes: number, input: RuntimeLimitsInput): RuntimeLimits | LimitProblem {
  const cpus = input.cpus ?? 1;
  const outputBytes = input.outputBytes ?? MIB;
  const ceilings: AdjustableLimits = {
    timeoutMs: input.maxTimeoutMs ?? timeoutMs,
    memoryBytes: input.maxMemory ?? memoryBytes,
    cpus: input.maxCpus ?? cpus,
    outputBytes: input.maxOutputBytes ?? Math.max(4 * MIB, outputBytes),
  };
  const outputCeilingBytes = input.outputCeilingBytes ?? Math.max(64 * MIB, ceilings.outputBytes);
  const defaults: Limits = {
    timeoutMs,
    memoryBytes,
    cpus,
    outputBytes,
    outputCeilingBytes,
    resultBytes: input.resultBytes ?? 4 * MIB,
    inputFiles: input.inputFiles ?? 1000,
    outputFiles: input.outputFiles ?? 1000,
    outputFileBytes: input.outputFileBytes ?? 16 * MIB,
    persistFiles: input.persistFiles ?? 1000,
    persistBytes: input.persistBytes ?? 16 * MIB,
    tempBytes: input.tempBytes ?? 64 * MIB,
    tempInodes: input.tempInodes ?? 16_384,
    openFiles: input.openFiles ?? 1024,
  };
  if (ceilings.timeoutMs < timeoutMs) return { field: "maxTimeoutMs", message: `is below the runtime's timeout of ${timeoutMs}` };
  if (ceilings.memoryBytes < memoryBytes)
    return { field: "maxMemory", message: `is below the runtime's memoryLimit of ${formatByteSize(memoryBytes)}` };
  if (ceilings.cpus < cpus) return { field: "maxCpus", message: `is below cpus, ${cpus}` };
  if (ceilings.outputBytes < outputBytes)
    return { field: "maxOutputBytes", message: `is below outputBytes, ${formatByteSize(outputBytes)}` };
  if (outputCeilingBytes < ceilings.outputBytes) {
    return { field: "outputCeilingBytes", message: `is below what a request may keep, ${formatByteSize(ceilings.outputBytes)}` };
  }
  return { defaults, ceilings };
}

/** What a request asks for; `undefined` leaves the runtime's default. */
export interface RequestedLimits {
  readonly timeoutMs?: number | undefined;
  readonly memory?: number | undefined;
  readonly cpus?: number | undefined;
  readonly outputBytes?: number | undefined;
}

/** The limits of one execution, or what is above the runtime's ceiling. */
export function applyRequestedLimits(runtime: RuntimeLimits, requested: RequestedLimits): { limits: Limits; problems: LimitProblem[] } {
  const { ceilings, defaults } = runtime;
  const problems: LimitProblem[] = [];
  const pick = (field: string, asked: number | undefined, fallback: number, ceiling: number, format: (value: number) => string): number => {
    if (asked !== undefined && asked > ceiling)
      problems.push({ field, message: `${format(asked)} is above this runtime's ceiling of ${format(ceiling)}` });
    return asked ?? fallback;
  };
  const limits: Limits = {
    ...defaults,
    timeoutMs: pick("timeoutMs", requested.timeoutMs, defaults.timeoutMs, ceilings.timeoutMs, (value) => `${value} ms`),
    memoryBytes: pick("limits.memory", requested.memory, defaults.memoryBytes, ceilings.memoryBytes, formatByteSize),
    cpus: pick("limits.cpus", requested.cpus, defaults.cpus, ceilings.cpus, String),
    outputBytes: pick("limits.outputBytes", requested.outputBytes, defaults.outputBytes, ceilings.outputBytes, formatByteSize),
  };
  return { limits, problems };
}
