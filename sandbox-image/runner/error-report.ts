/**
 * What the program threw, as the name, message and stack that are sent.
 *
 * Anything can be thrown: null, a proxy, an error whose getters throw. Nothing here relies on it; every text is capped. Stacks show
 * the program's own frames: those of the runner and of Node's internals are left out, files are named relative to the workspace, and
 * the columns of line 1 are those of the submitted code.
 */

import type { MESSAGE_CAPS } from "../../src/bridge/protocol.ts";
import { getProperty, inspect, isArray } from "./intrinsics.ts";

/** The protocol's caps, checked by the compiler: the runner imports no values from it, since they would bring the schemas along. */
const CAPS: typeof MESSAGE_CAPS = { depth: 128, errorNameChars: 256, errorMessageChars: 65_536, errorStackChars: 65_536 };

const MAX_CAUSES = 8;
const MAX_AGGREGATED = 5;

/** Also what Node puts around every import and require. */
const FOREIGN_FRAME = /\bnode:(?:internal\/|diagnostics_channel:)/;

export interface ErrorReport {
  readonly name: string;
  readonly message: string;
  readonly stack: string;
}

export interface ErrorReporterOptions {
  /** Absolute path. */
  readonly workspace: string;
  readonly runnerDirectory: string;
}

export class ErrorReporter {
  readonly #options: ErrorReporterOptions;
  #firstLine: { readonly file: string; readonly shift: number } | undefined;

  constructor(options: ErrorReporterOptions) {
    this.#options = options;
  }

  /** Tells that line 1 of a file runs with `shift` columns in front of what was submitted. */
  shiftFirstLine(file: string, shift: number): void {
    this.#firstLine = { file, shift };
  }

  report(thrown: unknown): ErrorReport {
    const error = asObject(thrown);
    const message = error && readString(error, "message");
    if (error === undefined || (message === undefined && readString(error, "stack") === undefined)) {
      const shown = typeof thrown === "string" ? thrown : show(thrown);
      return capped("Error", shown, `Thrown, and not an Error: ${shown}`);
    }
    const name = readString(error, "name") ?? "";
    return capped(name === "" ? "Error" : name, message ?? "", this.#stackWithCauses(error));
  }

  /** The stack without foreign frames, and below it the stacks of what caused the error. */
  #stackWithCauses(error: object): string {
    let text = this.#stackOf(error);
    const seen: unknown[] = [error];
    let current: object | undefined = error;
    for (let depth = 0; depth < MAX_CAUSES && current !== undefined && text.length < CAPS.errorStackChars; depth += 1) {
      for (const part of aggregated(current)) text += `\nOne of its errors: ${this.#stackOrText(part)}`;
      const cause: unknown = read(current, "cause");
      if (cause === undefined || cause === null || seen.includes(cause)) break;
      seen.push(cause);
      text += `\nCaused by: ${this.#stackOrText(cause)}`;
      current = asObject(cause);
    }
    return text;
  }

  #stackOrText(thrown: unknown): string {
    const error = asObject(thrown);
    return error === undefined || readString(error, "message") === undefined ? show(thrown) : this.#stackOf(error);
  }

  #stackOf(error: object): string {
    const header = `${readString(error, "name") ?? "Error"}: ${readString(error, "message") ?? ""}`;
    const stack = readString(error, "stack");
    return stack === undefined || stack === "" ? header : this.#clean(stack);
  }

  #clean(stack: string): string {
    const lines = stack.slice(0, 4 * CAPS.errorStackChars).split("\n");
    const kept = lines.flatMap((line) => (/^\s+at /.test(line) ? this.#cleanFrame(line) : [line]));
    return this.#cleanHeader(kept).join("\n");
  }

  #cleanFrame(line: string): string[] {
    if (FOREIGN_FRAME.test(line) || line.includes(`${this.#options.runnerDirectory}/`)) return [];
    return [this.#withoutShift(this.#relative(line))];
  }

  /**
   * Where linking fails, Node puts the place and the source line in front of the message. For a wrapped program that is the line
   * that the runner wrote, so it is left out.
   */
  #cleanHeader(lines: string[]): string[] {
    const first = lines[0] ?? "";
    if (!/^file:\/\/\S+:\d+$/.test(first)) return lines;
    const place = this.#relative(first);
    if (this.#firstLine === undefined || place !== `${this.#firstLine.file}:1`) return [place, ...lines.slice(1)];
    const message = lines.findIndex((line) => /^\w*Error\b/.test(line));
    return message < 0 ? lines.slice(1) : lines.slice(message);
  }

  #relative(line: string): string {
    return line.replaceAll(`file://${this.#options.workspace}/`, "").replaceAll(`${this.#options.workspace}/`, "");
  }

  #withoutShift(line: string): string {
    if (this.#firstLine === undefined) return line;
    const { file, shift } = this.#firstLine;
    const match = /^(.*[ (])([^ (]+):1:(\d+)(\)?)$/.exec(line);
    if (match?.[2] !== file) return line;
    const column = Math.max(1, Number(match[3]) - shift);
    return `${match[1] ?? ""}${file}:1:${column}${match[4] ?? ""}`;
  }
}

function capped(name: string, message: string, stack: string): ErrorReport {
  return {
    name: cap(name, CAPS.errorNameChars),
    message: cap(message, CAPS.errorMessageChars),
    stack: cap(stack, CAPS.errorStackChars),
  };
}

function cap(text: string, maxChars: number): string {
  const mark = "… (cut)";
  return text.length <= maxChars ? text : text.slice(0, maxChars - mark.length) + mark;
}

function asObject(value: unknown): object | undefined {
  return (typeof value === "object" && value !== null) || typeof value === "function" ? value : undefined;
}

function read(object: object, key: string): unknown {
  try {
    return getProperty(object, key) as unknown;
  } catch {
    return undefined;
  }
}

function readString(object: object, key: string): string | undefined {
  const value = read(object, key);
  return typeof value === "string" ? value : undefined;
}

function aggregated(error: object): unknown[] {
  const errors = read(error, "errors");
  try {
    return isArray(errors) ? errors.slice(0, MAX_AGGREGATED) : [];
  } catch {
    return [];
  }
}

/** A value as `console.log` would show it, without running its code where that can be helped. */
function show(value: unknown): string {
  try {
    return inspect(value, { depth: 2, customInspect: false, maxArrayLength: 20, maxStringLength: 1000, breakLength: 120 });
  } catch {
    return "a value that cannot be shown";
  }
}
