/** Tools as programs call them, in real sandboxes; the tools themselves are the test's own. */

import assert from "node:assert/strict";

import { TablePort, ToolSandboxes } from "../helpers/tool-sandboxes.ts";
import type { Tool } from "../helpers/tool-sandboxes.ts";

const given: Tool = ({ arguments: values }) => values;
describe("Tool bridge", () => {
  let sandboxes: ToolSandboxes;
  before(async () => {
    sandboxes = await ToolSandboxes.open();
  });
  after(() => sandboxes.close());

  const portOf = (functions: Readonly<Record<string, Tool>>): TablePort => new TablePort({ automem: functions });

  /** The result of a program that must complete. */
  async function resultOf(
    code: string,
    functions: Readonly<Record<string, Tool>> = { recall: given },
    request: object = {},
  ): Promise<unknown> {
    const execution = await sandboxes.run(code, portOf(functions), request);
    assert.equal(execution.status, "completed", JSON.stringify(execution.error));
    return execution.result;
  }

  it("calls", async () => {
    assert.deepEqual(await resultOf('return await automem.recall("q", 5)'), { positional: [["q"], [5]] });
  });
});
