/** Syntax errors that show their place in the submitted code, the way Node does. */

import { ErrorClass } from "./intrinsics.ts";

/** Where a parser stopped. Line and column count from 1. */
export interface SyntaxProblem {
  readonly message: string;
  readonly line: number;
  readonly column: number;
}

const MAX_SHOWN_CHARS = 120;

/** The problem as an error. Its stack begins with the place, the line and a caret. */
export function syntaxError(problem: SyntaxProblem, source: string, file: string): SyntaxError {
  const place = `${file}:${problem.line}:${problem.column}`;
  const text = `${problem.message} (${place})`;
  const limit = ErrorClass.stackTraceLimit;
  ErrorClass.stackTraceLimit = 0;
  const error = new SyntaxError(text);
  ErrorClass.stackTraceLimit = limit;
  error.stack = `${place}\n${excerpt(source.split(LINE_BREAK)[problem.line - 1] ?? "", problem.column)}\n\nSyntaxError: ${text}`;
  return error;
}

/** What ends a line, for JavaScript. */
const LINE_BREAK = /\r\n|[\n\r\u2028\u2029]/;

/** The line and column, from 1, of a position in a text. */
export function placeOf(source: string, position: number): { line: number; column: number } {
  const before = source.slice(0, position).split(LINE_BREAK);
  return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

/**
 * The column in the submitted line that stands for a column in the line made from it. Types were taken out of it and little was put
 * in, so that what is left can be found again from left to right.
 */
export function columnBefore(submitted: string, made: string, column: number): number {
  let found = -1;
  for (const character of made.slice(0, column)) {
    const next = submitted.indexOf(character, found + 1);
    if (next < 0) return column;
    found = next;
  }
  return Math.max(1, found + 1);
}

export function lineAt(source: string, line: number): string {
  return source.split(LINE_BREAK)[line - 1] ?? "";
}

/** The line and a caret under the column; of a long line, the part around it. */
function excerpt(line: string, column: number): string {
  const start = Math.max(0, Math.min(column - MAX_SHOWN_CHARS / 2, line.length - MAX_SHOWN_CHARS));
  const shown = line.slice(start, start + MAX_SHOWN_CHARS).replace(/\t/g, " ");
  return `${shown}\n${" ".repeat(Math.max(0, column - 1 - start))}^`;
}
