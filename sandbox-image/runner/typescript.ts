/** What the runner needs of the TypeScript compiler, a bundle of its own: it is large, and most programs never need it. */

export {
  canHaveDecorators,
  createSourceFile,
  flattenDiagnosticMessageText,
  forEachChild,
  getDecorators,
  isParameter,
  JsxEmit,
  ModuleDetectionKind,
  ModuleKind,
  ScriptTarget,
  transpileModule,
} from "typescript";

export type { CompilerOptions, Node as SyntaxNode, TranspileOutput } from "typescript";
