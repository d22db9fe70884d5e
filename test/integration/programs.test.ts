/** The language, the result and the end of programs: every case of the fixtures, through the API. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";

import { RUNNER_PROGRAMS } from "../fixtures/runner-programs.ts";
import type { RunnerProgram } from "../fixtures/runner-programs.ts";
import { TestService } from "../helpers/service.ts";

const PERMISSIONS = { fileSystem: { write: ["./temp"] } };

/** Each combination of language and guard rails is a runtime of its own. */
const runtimeOf = ({ language = "typescript", policy = {} }: RunnerProgram): object => ({
  language,
  permissions: PERMISSIONS,
  allowedModules: policy.allowedModules ?? ["*"],
  deniedOperations: policy.deniedOperations ?? [],
});

const nameOf = (program: RunnerProgram): string =>
  `r-${createHash("sha256")
    .update(JSON.stringify(runtimeOf(program)))
    .digest("hex")
    .slice(0, 16)}`;

describe("Programs", () => {
  let service: TestService;

  before(async () => {
    service = await TestService.start({
      runtimes: Object.fromEntries(RUNNER_PROGRAMS.map((program) => [nameOf(program), runtimeOf(program)])),
    });
  });
  after(() => service.close());

  for (const program of RUNNER_PROGRAMS) {
    it(program.title, async () => {
      const { code, expect, request } = program;
      const execution = await service.run(code, { runtime: nameOf(program), ...request });
      const seen = JSON.stringify(execution);
      const exitCode = expect.exitCode ?? (expect.error === undefined ? 0 : 1);
      assert.equal(execution.exitCode, exitCode, seen);
      assert.equal(execution.status, exitCode === 0 && expect.error === undefined ? "completed" : "failed", seen);
      if ("result" in expect) assert.deepEqual(execution.result, expect.result);
      if (expect.stdout !== undefined) assert.equal(execution.stdout, expect.stdout);
      if (expect.stderr !== undefined) assert.equal(execution.stderr, expect.stderr);
      if (expect.files !== undefined) {
        assert.deepEqual(
          Object.fromEntries(execution.files.map((file) => [file.path, "content" in file ? file.content : file.error])),
          expect.files,
        );
      }
      if (expect.error === undefined) {
        assert.equal(execution.error, null, seen);
        return;
      }
      const { error } = execution;
      assert.ok(error !== null, seen);
      const { message, name, notInStack = [], stack = [] } = expect.error;
      if (name !== undefined) assert.equal(error.name, name);
      if (message !== undefined) assertHolds(error.message, message);
      for (const part of stack) assertHolds(error.stack, part);
      for (const part of notInStack) assert.ok(!error.stack.includes(part), error.stack);
    });
  }
});

function assertHolds(text: string, part: string | RegExp): void {
  if (typeof part === "string") assert.ok(text.includes(part), `${JSON.stringify(part)} is not in ${JSON.stringify(text)}`);
  else assert.match(text, part);
}
