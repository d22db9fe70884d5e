/**
 * The text of a configuration file: JSON with comments and trailing commas, as editors know it.
 *
 * It is stricter than `JSON.parse` where that would hide something: of two equal keys in one object the parser would take the last in
 * silence, and a key `__proto__` never reaches the schema. Both are errors.
 */

import { createScanner, parse, printParseErrorCode, visit } from "jsonc-parser";
import type { JSONPath } from "jsonc-parser";

/** What is wrong with a text; lines and columns count from 1. */
export interface JsonTextProblem {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

export type JsonText =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly problems: readonly [JsonTextProblem, ...JsonTextProblem[]] };

const OPTIONS = { allowTrailingComma: true, disallowComments: false, allowEmptyContent: false };
/** Configuration files are small; whatever is not is a mistake, or meant to take time. */
const MAX_CHARS = 4 * 2 ** 20;
/** The parser calls itself for each level. */
const MAX_DEPTH = 64;

type SyntaxProblem = ReturnType<typeof printParseErrorCode>;

const EXPECTED: Readonly<Record<SyntaxProblem, string>> = {
  InvalidSymbol: "expected a key or a value as JSON writes it: text goes in double quotes",
  InvalidNumberFormat: "this is no number as JSON writes it",
  PropertyNameExpected: "expected a key in double quotes",
  ValueExpected: "expected a value",
  ColonExpected: 'expected ":" after the key',
  CommaExpected: 'expected "," or the end of the list or object',
  CloseBraceExpected: 'expected "," or "}"',
  CloseBracketExpected: 'expected "," or "]"',
  EndOfFileExpected: "expected nothing more: the file holds one value",
  InvalidCommentToken: "a comment cannot stand here",
  UnexpectedEndOfComment: 'expected "*/": the comment has no end',
  UnexpectedEndOfString: "expected a closing quote on the same line",
  UnexpectedEndOfNumber: "expected digits",
  InvalidUnicode: 'expected four hexadecimal digits after "\\u"',
  InvalidEscapeCharacter: 'expected one of " \\ / b f n r t u after the backslash',
  InvalidCharacter: "a control character cannot stand in text; write it as an escape",
  "<unknown ParseErrorCode>": "this is no JSON",
};

/**
 * Parses the text. Of wrong syntax the first problem is told: those after it mostly follow from it. Where the text may hold a secret
 * (`isSecret`) nothing of it is shown.
 */
export function parseJsonText(text: string, { isSecret = false } = {}): JsonText {
  const body = text.startsWith("\uFEFF") ? text.slice(1) : text;
  const problem = tooLarge(body) ?? tooDeep(body) ?? wrongSyntax(body, isSecret);
  if (problem !== undefined) return { ok: false, problems: [problem] };
  const [first, ...more] = hiddenKeys(body);
  if (first !== undefined) return { ok: false, problems: [first, ...more] };
  return { ok: true, value: parse(body, [], OPTIONS) as unknown };
}

function tooLarge(text: string): JsonTextProblem | undefined {
  return text.length > MAX_CHARS ? { line: 1, column: 1, message: `the file has more than ${MAX_CHARS} characters` } : undefined;
}

function tooDeep(text: string): JsonTextProblem | undefined {
  const scanner = createScanner(text, true);
  let depth = 0;
  while (scanner.getPosition() < text.length) {
    scanner.scan();
    const token = scanner.getTokenLength() === 1 ? text[scanner.getTokenOffset()] : undefined;
    if (token === "}" || token === "]") depth -= 1;
    if (token !== "{" && token !== "[") continue;
    depth += 1;
    if (depth > MAX_DEPTH) {
      return {
        line: scanner.getTokenStartLine() + 1,
        column: scanner.getTokenStartCharacter() + 1,
        message: `lists and objects are nested more than ${MAX_DEPTH} levels deep`,
      };
    }
  }
  return undefined;
}

function wrongSyntax(text: string, isSecret: boolean): JsonTextProblem | undefined {
  let first: JsonTextProblem | undefined;
  visit(
    text,
    {
      onError: (code, offset, length, startLine, startCharacter) => {
        first ??= {
          line: startLine + 1,
          column: startCharacter + 1,
          message: describe(printParseErrorCode(code), isSecret ? "" : text.slice(offset, offset + length)),
        };
      },
    },
    OPTIONS,
  );
  return first;
}

/** What is expected, and what stands in its place, if that is a thing of its own. */
function describe(code: SyntaxProblem, token: string): string {
  const shown = token.trim().replace(/\p{Cc}/gu, "\uFFFD");
  const isOwn = code === "InvalidSymbol" || code.endsWith("Expected");
  if (shown === "" || !isOwn) return EXPECTED[code];
  return `${EXPECTED[code]}, found ${shown.length > 40 ? `${shown.slice(0, 37)}...` : shown}`;
}

/** Keys that a parser would let disappear. */
function hiddenKeys(text: string): JsonTextProblem[] {
  const problems: JsonTextProblem[] = [];
  /** The keys of the objects that are open, innermost last: key → line of its first mention. */
  const open: Map<string, number>[] = [];
  const name = (path: JSONPath, key: string): string => JSON.stringify([...path, key].join("."));
  visit(
    text,
    {
      onObjectBegin: () => {
        open.push(new Map());
      },
      onObjectEnd: () => {
        open.pop();
      },
      onObjectProperty: (...[key, , , startLine, startCharacter, path]) => {
        const at = { line: startLine + 1, column: startCharacter + 1 };
        const keys = open.at(-1);
        const earlier = keys?.get(key);
        if (key === "__proto__") problems.push({ ...at, message: `the key ${name(path(), key)} is not allowed` });
        else if (earlier === undefined) keys?.set(key, at.line);
        else
          problems.push({ ...at, message: `the key ${name(path(), key)} is there twice, first on line ${earlier}; only one would count` });
      },
    },
    OPTIONS,
  );
  return problems;
}
