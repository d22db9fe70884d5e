/** The options of `code-mode run`, from text to values. What makes no sense throws commander's error, which names the option. */

import { InvalidArgumentError } from "commander";

import { BYTE_SIZE_FORMAT, parseByteSize } from "../../domain/byte-size.ts";
import { checkHostPattern } from "../../domain/host-pattern.ts";
import { toolPatternSchema } from "../../domain/tool-pattern.ts";

/** A file or folder of the host that the program gets. */
export interface InputSpec {
  /** Where it goes in the workspace; its own name when left out. */
  readonly name: string | undefined;
  readonly source: string;
}

export interface RunOptions {
  readonly runtime?: string;
  readonly input: readonly InputSpec[];
  readonly out?: string;
  readonly output: readonly string[];
  readonly overwrite: boolean;
  readonly env: Readonly<Record<string, string>>;
  readonly timeout?: number;
  readonly memory?: number;
  readonly allowHost: readonly string[];
  /** Patterns of the tools that it may call; all that the servers' lists allow when left out. */
  readonly tool?: readonly string[];
  readonly json: boolean;
}

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const MAX_TIMEOUT_MS = 86_400_000;

/** `500ms`, `30s`, `2m`, `1h` as milliseconds. */
export function parseDuration(text: string): number {
  const [, number, unit = ""] = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)$/.exec(text) ?? [];
  const milliseconds = Math.round(Number(number) * (UNITS_MS[unit] ?? Number.NaN));
  if (milliseconds >= 1 && milliseconds <= MAX_TIMEOUT_MS) return milliseconds;
  throw new InvalidArgumentError('Expected a time such as "500ms", "30s" or "2m", of 24 hours at most.');
}

export function parseMemory(text: string): number {
  const bytes = parseByteSize(text);
  if (bytes === undefined) throw new InvalidArgumentError(`Expected ${BYTE_SIZE_FORMAT}.`);
  return bytes;
}

/** `PATH`, or `NAME=PATH`: where it goes, and what of the host. */
export function collectInput(text: string, earlier: readonly InputSpec[] = []): InputSpec[] {
  const split = text.indexOf("=");
  const spec = split < 0 ? { name: undefined, source: text } : { name: text.slice(0, split), source: text.slice(split + 1) };
  if (spec.source === "" || spec.name === "")
    throw new InvalidArgumentError("Expected PATH, or NAME=PATH: the name in the workspace, then the file or folder of this host.");
  return [...earlier, spec];
}

export function collectEnvironment(text: string, earlier: Readonly<Record<string, string>> = {}): Record<string, string> {
  const split = text.indexOf("=");
  const name = text.slice(0, Math.max(0, split));
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,255}$/.test(name)) {
    throw new InvalidArgumentError(
      "Expected NAME=VALUE; the name is letters, digits and _. Nothing of this host's environment reaches a program.",
    );
  }
  return { ...earlier, [name]: text.slice(split + 1) };
}

export function collectHost(text: string, earlier: readonly string[] = []): string[] {
  const check = checkHostPattern(text);
  if (!check.ok) throw new InvalidArgumentError(`It ${check.problem}.`);
  return [...earlier, check.host];
}

export function collectTool(text: string, earlier: readonly string[] = []): string[] {
  const { error } = toolPatternSchema.safeParse(text);
  if (error !== undefined) throw new InvalidArgumentError(`It ${error.issues[0]?.message ?? "is not valid"}.`);
  return [...earlier, text];
}

export const collectText = (text: string, earlier: readonly string[] = []): string[] => [...earlier, text];
