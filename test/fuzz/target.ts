/**
 * What a fuzz target is, and where its inputs come from: a generator that knows the format, and mutations of the kept corpus.
 *
 * The corpus (`corpus/<target>.json`) holds small interesting inputs, each with its reason. A new failure is added there by hand.
 */

import { readFileSync } from "node:fs";
import path from "node:path";

import fc from "fast-check";

export interface FuzzTarget {
  readonly name: string;
  /** Inputs in the format, or nearly. */
  readonly grown: fc.Arbitrary<Buffer>;
  /** Throws when a promise is broken. */
  readonly check: (input: Buffer) => void | Promise<void>;
  /** Cases of the short run, where the default is too many. */
  readonly shortRuns?: number;
  /** Cases of the long run. */
  readonly longRuns: number;
}

interface CorpusEntry {
  readonly reason: string;
  readonly input: Buffer;
}

interface StoredEntry {
  readonly reason: string;
  readonly utf8?: string;
  readonly base64?: string;
}

export function corpusOf(target: string): CorpusEntry[] {
  const stored = JSON.parse(readFileSync(path.join(import.meta.dirname, "corpus", `${target}.json`), "utf8")) as StoredEntry[];
  return stored.map(({ base64, reason, utf8 }) => ({
    reason,
    input: utf8 === undefined ? Buffer.from(base64 ?? "", "base64") : Buffer.from(utf8),
  }));
}

/** Bytes and numbers at which parsers go wrong. */
const INTERESTING = [
  "\0",
  "\xff",
  "\x80",
  "\x7f",
  "-1",
  "0",
  "1e400",
  '"',
  "\\",
  "{",
  "[",
  "]",
  "__proto__",
  "\ud83d\ude00",
  " ",
  "\n",
  "%",
  "/",
  "..",
].map((text) => Buffer.from(text, "latin1"));

type Edit = (bytes: Buffer) => Buffer;

const splice = (at: number, removed: number, added: Buffer): Edit => {
  return (bytes) => {
    const start = at % (bytes.byteLength + 1);
    return Buffer.concat([bytes.subarray(0, start), added, bytes.subarray(start + removed)]);
  };
};

const at = fc.nat(4096);
const piece = fc.oneof(
  fc.constantFrom(...INTERESTING),
  fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes)),
);
const edit: fc.Arbitrary<Edit> = fc.oneof(
  fc.record({ at, bit: fc.nat(7) }).map(({ at, bit }): Edit => (bytes) => {
    const copy = Buffer.from(bytes);
    const index = at % Math.max(1, copy.byteLength);
    if (index < copy.byteLength) copy[index] = (copy[index] ?? 0) ^ (1 << bit);
    return copy;
  }),
  fc.record({ at, piece }).map(({ at, piece }) => splice(at, piece.byteLength, piece)),
  fc.record({ at, piece }).map(({ at, piece }) => splice(at, 0, piece)),
  fc.record({ at, removed: fc.nat(600) }).map(({ at, removed }) => splice(at, removed, Buffer.alloc(0))),
  // A part of it again, in another place.
  fc.record({ at, from: at, length: fc.nat(600) }).map(({ at, from, length }): Edit => (bytes) => {
    const start = from % (bytes.byteLength + 1);
    return splice(at, 0, bytes.subarray(start, start + length))(bytes);
  }),
);

/** All inputs of a target: half grown, half mutated. */
function inputsOf({ grown, name }: FuzzTarget): fc.Arbitrary<Buffer> {
  const seeds = corpusOf(name).map(({ input }) => input);
  const base = fc.oneof(fc.constantFrom(...seeds), grown);
  const mutated = fc
    .tuple(base, fc.array(edit, { minLength: 1, maxLength: 5 }))
    .map(([bytes, edits]) => edits.reduce((current, change) => change(current), bytes));
  return fc.oneof(grown, mutated);
}

/** Runs a target; a failure tells the seed that repeats it. */
export async function fuzz(
  target: FuzzTarget,
  options: { readonly runs: number; readonly seed: number; readonly timeLimitMs: number },
): Promise<number> {
  let cases = 0;
  const property = fc.asyncProperty(inputsOf(target), async (input) => {
    cases += 1;
    await target.check(input);
  });
  const details = await fc.check(property, {
    numRuns: options.runs,
    seed: options.seed,
    interruptAfterTimeLimit: options.timeLimitMs,
    endOnFailure: true,
  });
  if (details.failed && details.counterexample !== null) {
    const [input] = details.counterexample;
    const cause = details.errorInstance as Error | null;
    throw new Error(
      `${target.name}: failed with FUZZ_SEED=${options.seed} after ${details.numRuns} cases; for the corpus: "base64": "${input.toString("base64")}"\n${cause?.stack ?? ""}`,
      { cause },
    );
  }
  return cases;
}

/** The seed of this run: `FUZZ_SEED`, or a new one. */
export const seedOf = (): number => Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31));

/** Cuts an input in pieces, at places that depend on its own bytes, so that a case is repeated by its input alone. */
export function cut(input: Buffer): Buffer[] {
  const pieces: Buffer[] = [];
  let state = input.byteLength;
  for (let from = 0; from < input.byteLength;) {
    state = (Math.imul(state, 1_103_515_245) + 12_345 + (input[from] ?? 0)) >>> 0;
    const length = state % 7 === 0 ? 1 : 1 + ((state >>> 8) % 1500);
    pieces.push(Buffer.from(input.subarray(from, from + length)));
    from += length;
  }
  return pieces;
}
