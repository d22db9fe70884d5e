/**
 * TypeScript's own compiler, for code that the fast path cannot do: namespaces, decorators, `accessor`, and whatever does not parse,
 * since its messages have exact places. Types are not checked.
 */

import type * as TypeScript from "./typescript.ts";
import { placeOf, syntaxError } from "./syntax-error.ts";

export type { TypeScript };

export interface FullOutput {
  readonly code: string;
  /** Source map, version 3, as JSON. */
  readonly map: string;
}

/** Compiles one file. Throws a `SyntaxError` with a place. */
export function compileFully(ts: typeof TypeScript, source: string, file: string): FullOutput {
  const legacyDecorators = usesParameterDecorators(ts, source, file);
  const output = ts.transpileModule(source, {
    fileName: file,
    reportDiagnostics: true,
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      // Imports and exports stay as they are, and `import x = require("y")` becomes a require.
      module: ts.ModuleKind.Preserve,
      moduleDetection: ts.ModuleDetectionKind.Force,
      sourceMap: true,
      // Decorators on parameters exist in the legacy form only. It assigns fields, where the standard defines them.
      ...(legacyDecorators && { experimentalDecorators: true, useDefineForClassFields: false }),
    },
  });
  for (const { start, messageText } of output.diagnostics ?? []) {
    if (start === undefined) continue;
    const message = isJsx(ts, source) ? JSX_REFUSED : ts.flattenDiagnosticMessageText(messageText, " ");
    throw syntaxError({ message, ...placeOf(source, start) }, source, file);
  }
  return { code: output.outputText.replace(/\n?\/\/# sourceMappingURL=.*\s*$/, ""), map: output.sourceMapText ?? "" };
}

export const JSX_REFUSED = "JSX is not supported: nothing here could render it. Build strings or plain objects instead";

/** True when the code is free of errors once JSX is allowed. */
function isJsx(ts: typeof TypeScript, source: string): boolean {
  const { diagnostics, outputText } = ts.transpileModule(source, {
    fileName: "main.tsx",
    reportDiagnostics: true,
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.Preserve, jsx: ts.JsxEmit.React },
  });
  return (diagnostics ?? []).length === 0 && outputText.includes("React.createElement(");
}

function usesParameterDecorators(ts: typeof TypeScript, source: string, file: string): boolean {
  if (!source.includes("@")) return false;
  const isDecorated = (node: TypeScript.SyntaxNode): boolean =>
    ts.isParameter(node) && ts.canHaveDecorators(node) && (ts.getDecorators(node)?.length ?? 0) > 0;
  const visit = (node: TypeScript.SyntaxNode): boolean => isDecorated(node) || ts.forEachChild(node, visit) === true;
  return visit(ts.createSourceFile(file, source, ts.ScriptTarget.ES2022));
}
