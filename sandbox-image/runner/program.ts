/** Runs one program: gets ready for it, puts its files in place, compiles it and hands it over to its execution. */

import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";

import type { ExecuteParams } from "../../src/bridge/protocol.ts";
import type { Connection, IncomingMessage } from "./connection.ts";
import { Ending } from "./ending.ts";
import { ErrorReporter } from "./error-report.ts";
import { Execution } from "./execution.ts";
import type { TypeScript } from "./full-compiler.ts";
import { Language } from "./language.ts";
import type { CompiledProgram } from "./language.ts";
import { OutputPipes } from "./output-pipes.ts";
import { RefusalWatch } from "./refusal-watch.ts";
import { restoreBuiltIns } from "./restore-built-ins.ts";
import { serializeValue } from "./serialize.ts";
import { ToolClient } from "./tools/tool-client.ts";
import { writeWorkspaceFiles } from "./workspace-files.ts";

const WARM_UP_ROUNDS = 3;

/** Until all that has arrived is handled. */
const nextTurn = promisify(setImmediate);

export interface ProgramDeps {
  readonly connection: Connection;
  /** Absolute path. */
  readonly workspace: string;
  /** Where runner.cjs and typescript.cjs lie. */
  readonly runnerDirectory: string;
}

export class Program {
  readonly #deps: ProgramDeps;
  readonly #language: Language;
  readonly #output = new OutputPipes();
  #hasStarted = false;
  #tools: ToolClient | undefined;

  constructor(deps: ProgramDeps) {
    this.#deps = deps;
    const load = createRequire(path.join(deps.runnerDirectory, "runner.cjs"));
    this.#language = new Language({
      loadTypeScript: () => {
        process.setSourceMapsEnabled(true);
        return load(path.join(deps.runnerDirectory, "typescript.cjs")) as typeof TypeScript;
      },
    });
  }

  /**
   * Goes through the steps of a run, so that V8 has compiled them when a program comes. Gives way to what arrives in between, and stops
   * when that is the program.
   */
  async warmUp(): Promise<void> {
    const { workspace, runnerDirectory } = this.#deps;
    for (let round = 0; round < WARM_UP_ROUNDS; round += 1) {
      for (const code of WARM_UP_PROGRAMS) {
        await nextTurn();
        if (this.#hasStarted) return;
        this.#language.compileProgram(code, "typescript", "main.ts");
      }
      const reporter = new ErrorReporter({ workspace, runnerDirectory });
      serializeValue({ list: [round, "text"] }, { maxBytes: 1024, describeError: (error) => reporter.report(error) });
      restoreBuiltIns();
    }
    createRequire(pathToFileURL(path.join(workspace, "main.ts")));
    await import(`data:text/javascript,// ${process.version}`);
  }

  /** To be called once. */
  run(params: ExecuteParams): void {
    const { connection, workspace, runnerDirectory } = this.#deps;
    const reporter = new ErrorReporter({ workspace, runnerDirectory });
    const watch = new RefusalWatch({ workspace, writable: params.writable });
    const ending = new Ending({ connection, workspace, reporter, watch, unblockOutput: () => this.#output.unblock() });
    const tools = new ToolClient({ connection, describeError: (error) => reporter.report(error) });
    const file = params.language === "typescript" ? "main.ts" : "main.js";

    this.#hasStarted = true;
    this.#tools = tools;
    connection.keepAlive(false);
    ending.install();
    let compiled: CompiledProgram;
    try {
      if (params.denyCodeGeneration) requireDeniedCodeGeneration();
      writeWorkspaceFiles(workspace, params.files);
      compiled = this.#language.compileProgram(params.code, params.language, file);
    } catch (error) {
      return ending.fail(error);
    }
    reporter.shiftFirstLine(file, compiled.firstLineShift);
    const mainFile = path.join(workspace, file);
    void new Execution({ params, compiled, ending, reporter, language: this.#language, tools, watch, mainFile }).run();
  }

  /** Takes what the service sends while the program runs. */
  receive(message: IncomingMessage): void {
    this.#tools?.receive(message);
  }
}

/**
 * V8 reads its switch against code from strings when it starts, so that it cannot be thrown here. It covers `eval`, `Function` and its
 * relatives in this realm and in workers; it does not cover `node:vm` and imports of `data:` URLs.
 */
function requireDeniedCodeGeneration(): void {
  let ran: unknown;
  try {
    // eslint-disable-next-line @typescript-eslint/no-implied-eval, @typescript-eslint/no-unsafe-call -- the probe
    ran = new Function("return true")();
  } catch {
    return;
  }
  if (ran === true) throw new Error("Code from strings is to be denied, but Node runs without --disallow-code-generation-from-strings.");
}

/** The usual mix of what programs hold. */
const WARM_UP_PROGRAMS = [
  "return 1;",
  `
import type { A } from "a";
import { readFile } from "node:fs/promises";
enum Color { Red, Green }
interface Point { readonly x: number; y?: string }
class Box<T> { constructor(private readonly value: T) {} get(): T { return this.value; } }
async function load(name: string): Promise<Point> { return { x: (await readFile(name)).length } satisfies Point; }
const list = [1, 2, 3].map((n: number): number => n ** 2).filter(Boolean) as number[];
try { for (const [key, value] of Object.entries(await load(\`a\${list}\`))) console.log(key!, value ?? 0); } catch (error: unknown) { throw error; }
if (list.length > 0) return { list, box: new Box(Color.Red).get() };
export default list;
`,
];
