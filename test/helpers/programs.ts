/**
 * The cases of test/fixtures/runner-programs.ts through the API: one test each, on the lines of Node that are asked for.
 *
 * Called inside a `describe`.
 */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";

import type { Execution } from "../../src/domain/execution.ts";
import { RUNNER_PROGRAMS } from "../fixtures/runner-programs.ts";
import type { RunnerProgram } from "../fixtures/runner-programs.ts";
import { buildImagesFor, IMAGE_TIMEOUT_MS } from "./images.ts";
import { TestService } from "./service.ts";

export const NODE_LINES = ["22", "24", "26"] as const;
type NodeLine = (typeof NODE_LINES)[number];
const PERMISSIONS = { fileSystem: { write: ["./temp"] } };

/** Each combination of Node line, language and guard rails is a runtime of its own. */
const runtimeOf = ({ language = "typescript", policy = {} }: RunnerProgram, version: string): object => ({
  language,
  version,
  permissions: PERMISSIONS,
  allowedModules: policy.allowedModules ?? ["*"],
  deniedOperations: policy.deniedOperations ?? [],
});

const nameOf = (program: RunnerProgram, version: string): string =>
  `node${version}-${createHash("sha256")
    .update(JSON.stringify(runtimeOf(program, version)))
    .digest("hex")
    .slice(0, 16)}`;

function holdsOn({ sinceNode = 0, untilNode = Infinity }: RunnerProgram, line: NodeLine): boolean {
  return sinceNode <= Number(line) && Number(line) <= untilNode;
}

/** Declares a test for each program, and one for the lines themselves. */
export function runPrograms(linesOf: (program: RunnerProgram, index: number) => readonly NodeLine[]): void {
  let service: TestService;
  const cases = RUNNER_PROGRAMS.map((program, index) => ({
    program,
    lines: linesOf(program, index).filter((line) => holdsOn(program, line)),
  }));

  before(async function () {
    this.timeout(IMAGE_TIMEOUT_MS);
    const runtimes = Object.fromEntries(
      NODE_LINES.flatMap((version) => RUNNER_PROGRAMS.map((program) => [nameOf(program, version), runtimeOf(program, version)] as const)),
    );
    await buildImagesFor(runtimes);
    service = await TestService.start({ runtimes });
  });
  after(() => service.close());

  for (const { lines, program } of cases) {
    it(program.title, async () => {
      assert.ok(lines.length > 0);
      const executions = await Promise.all(
        lines.map((line) => service.run(program.code, { runtime: nameOf(program, line), ...program.request })),
      );
      for (const [index, execution] of executions.entries()) assertExpected(program, execution, `Node ${lines[index]}`);
    });
  }

  it("run on the line of Node that their runtime names", async () => {
    const [program] = RUNNER_PROGRAMS;
    assert.ok(program !== undefined);
    const majors = await Promise.all(
      NODE_LINES.map((version) => service.result("return process.versions.node.split('.')[0]", { runtime: nameOf(program, version) })),
    );
    assert.deepEqual(majors, NODE_LINES);
  });
}

function assertExpected({ expect }: RunnerProgram, execution: Execution, where: string): void {
  const seen = `${where}: ${JSON.stringify(execution)}`;
  const exitCode = expect.exitCode ?? (expect.error === undefined ? 0 : 1);
  assert.equal(execution.exitCode, exitCode, seen);
  assert.equal(execution.status, exitCode === 0 && expect.error === undefined ? "completed" : "failed", seen);
  if ("result" in expect) assert.deepEqual(execution.result, expect.result, seen);
  if (expect.stdout !== undefined) assert.equal(execution.stdout, expect.stdout, seen);
  if (expect.stderr !== undefined) assert.equal(execution.stderr, expect.stderr, seen);
  if (expect.files !== undefined) {
    assert.deepEqual(
      Object.fromEntries(execution.files.map((file) => [file.path, "content" in file ? file.content : file.error])),
      expect.files,
      seen,
    );
  }
  if (expect.error === undefined) {
    assert.equal(execution.error, null, seen);
    return;
  }
  const { error } = execution;
  assert.ok(error !== null, seen);
  const { message, name, notInStack = [], stack = [] } = expect.error;
  if (name !== undefined) assert.equal(error.name, name, seen);
  if (message !== undefined) assertHolds(error.message, message, where);
  for (const part of stack) assertHolds(error.stack, part, where);
  for (const part of notInStack) assert.ok(!error.stack.includes(part), seen);
}

function assertHolds(text: string, part: string | RegExp, where: string): void {
  const holds = typeof part === "string" ? text.includes(part) : part.test(text);
  assert.ok(holds, `${where}: ${String(part)} is not in ${JSON.stringify(text)}`);
}
