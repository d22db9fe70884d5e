/**
 * Lets a module return at top level.
 *
 * Such a program becomes an async function that the module exports. Imports go in front of it, exports lose their keyword, and the
 * default export is handed to the slot that the function is called with. No line is added before the end and none is removed: what
 * precedes the function stands on line 1, and a statement that goes leaves spaces behind. Other exports have no reader and are dropped.
 */

import type { ExportDefaultDeclaration, ExportNamedDeclaration, ImportAttribute, ImportDeclaration, Node, Program } from "acorn";

export interface WrappedModule {
  readonly code: string;
  /** Characters on line 1 before the program's own. */
  readonly prefixLength: number;
}

/** What the wrapped program is called with, and where its default export is found afterwards. */
export interface DefaultExportSlot {
  value?: unknown;
  get?: () => unknown;
}

/** Fields that lead from a statement to the statements in it, but into no function or class. */
const STATEMENT_FIELDS = ["body", "block", "consequent", "alternate", "handler", "finalizer", "cases"] as const;

/** True when a `return` stands outside of every function. */
export function hasTopLevelReturn(program: Program): boolean {
  const waiting: unknown[] = [program];
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    if (Array.isArray(node)) for (const item of node as unknown[]) waiting.push(item);
    else if (isStatement(node)) {
      if (node.type === "ReturnStatement") return true;
      if (/Function|Class|Expression/.test(node.type)) continue;
      for (const field of STATEMENT_FIELDS) waiting.push(node[field] ?? []);
    }
  }
  return false;
}

type StatementNode = Node & Partial<Record<(typeof STATEMENT_FIELDS)[number], unknown>>;

function isStatement(node: unknown): node is StatementNode {
  return typeof node === "object" && node !== null && "type" in node;
}

/** Wraps a module that acorn parsed. `separator` ends what is put in front: a space, or a line break where a source map accounts for it. */
export function wrapTopLevel(code: string, program: Program, separator: " " | "\n" = " "): WrappedModule {
  const wrapper = new Wrapper(code);
  for (const statement of program.body) {
    if (statement.type === "ImportDeclaration") wrapper.hoistImport(statement);
    else if (statement.type === "ExportNamedDeclaration") wrapper.dropExport(statement);
    else if (statement.type === "ExportDefaultDeclaration") wrapper.redirectDefault(statement);
    else if (statement.type === "ExportAllDeclaration") wrapper.hoistSource(statement, statement.source.raw, statement.attributes);
  }
  return wrapper.finish(separator);
}

class Wrapper {
  readonly #code: string;
  readonly #slot: string;
  readonly #edits: { readonly start: number; readonly end: number; readonly text: string }[] = [];
  #imports = "";
  #getter = "";

  constructor(code: string) {
    this.#code = code;
    let slot = "$program";
    while (code.includes(slot)) slot += "_";
    this.#slot = slot;
  }

  hoistImport(node: ImportDeclaration): void {
    const named: string[] = [];
    let clause = "";
    for (const specifier of node.specifiers) {
      if (specifier.type === "ImportDefaultSpecifier") clause = specifier.local.name;
      else if (specifier.type === "ImportNamespaceSpecifier") clause += `${clause && ", "}* as ${specifier.local.name}`;
      else named.push(`${this.#text(specifier.imported)} as ${specifier.local.name}`);
    }
    if (named.length > 0) clause += `${clause && ", "}{ ${named.join(", ")} }`;
    this.#imports += `import ${clause && `${clause} from `}${node.source.raw ?? ""}${this.#attributes(node.attributes)}; `;
    this.#blank(node);
  }

  /** Keeps what an `export … from` loads. */
  hoistSource(node: Node, source: string | undefined, attributes: ImportAttribute[]): void {
    this.#imports += `import ${source ?? ""}${this.#attributes(attributes)}; `;
    this.#blank(node);
  }

  dropExport(node: ExportNamedDeclaration): void {
    const isDefault = (specifier: (typeof node.specifiers)[number]): boolean => /^(['"]?)default\1$/.test(this.#text(specifier.exported));
    const local = node.specifiers.find(isDefault)?.local;
    if (node.declaration) this.#replace(node.start, node.declaration.start, spaces);
    else if (!node.source) {
      if (local) this.#getter = `${this.#slot}.get = () => ${this.#text(local)};`;
      this.#blank(node);
    } else if (local) {
      const name = `${this.#slot}_default`;
      this.#imports += `import { ${this.#text(local)} as ${name} } from ${node.source.raw ?? ""}${this.#attributes(node.attributes)}; `;
      this.#getter = `${this.#slot}.get = () => ${name};`;
      this.#blank(node);
    } else this.hoistSource(node, node.source.raw, node.attributes);
  }

  redirectDefault({ start, declaration }: ExportDefaultDeclaration): void {
    const isDeclaration = declaration.type === "FunctionDeclaration" || declaration.type === "ClassDeclaration";
    if (isDeclaration && declaration.id) {
      this.#getter = `${this.#slot}.get = () => ${declaration.id.name};`;
      this.#replace(start, declaration.start, spaces);
      return;
    }
    // As long as "export default ", so that columns stay too.
    this.#replace(start, declaration.start, (text) => spaces(text).replace(/^ {0,15}/, `${this.#slot}.value=`));
    if (isDeclaration) this.#edits.push({ start: declaration.end, end: declaration.end, text: ";" });
  }

  finish(separator: string): WrappedModule {
    const prefix = `${this.#imports}export default (0, async (${this.#slot}) => {${this.#getter}${separator}`;
    if (this.#code.startsWith("#!")) this.#edits.push({ start: 0, end: 2, text: "//" });
    let body = "";
    let at = 0;
    for (const { start, end, text } of this.#edits.sort((a, b) => a.start - b.start)) {
      body += this.#code.slice(at, start) + text;
      at = end;
    }
    return { code: `${prefix}${body}${this.#code.slice(at)}\n});`, prefixLength: prefix.length };
  }

  /** Blanks a statement but keeps its end, which the statement before may rely on. */
  #blank(node: Node): void {
    this.#replace(node.start, node.end, (text) => spaces(text).replace(" ", ";"));
  }

  #replace(start: number, end: number, change: (text: string) => string): void {
    this.#edits.push({ start, end, text: change(this.#code.slice(start, end)) });
  }

  #attributes(attributes: readonly ImportAttribute[]): string {
    const pairs = attributes.map((attribute) => `${this.#text(attribute.key)}: ${this.#text(attribute.value)}`);
    return pairs.length === 0 ? "" : ` with { ${pairs.join(", ")} }`;
  }

  #text(node: Node): string {
    return this.#code.slice(node.start, node.end);
  }
}

/** As many spaces as there are characters; line breaks stay. */
function spaces(text: string): string {
  return text.replace(/[^\n\r\u2028\u2029]/g, " ");
}
