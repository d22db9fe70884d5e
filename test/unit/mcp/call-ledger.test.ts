import assert from "node:assert/strict";

import { pino } from "pino";

import { ToolFailure } from "../../../src/domain/tool-error.ts";
import { FairSemaphore } from "../../../src/lib/fair-semaphore.ts";
import { CallLedger } from "../../../src/mcp/call-ledger.ts";
import { Call } from "../../../src/mcp/call.ts";
import { MCPClientManager } from "../../../src/mcp/client-manager.ts";
import { catalogueOf, FakeConnection, replyOf, toolNamed } from "../support/fake-connection.ts";

interface Line {
  readonly level: number;
  readonly msg: string;
  readonly tool: string;
  readonly errorCode?: string;
  readonly setting?: string;
  readonly linesLeftOut?: number;
}

/** A manager over one server, and what it logs. */
function setUp(level: string): { manager: MCPClientManager; connection: FakeConnection; text: () => string; lines: () => Line[] } {
  const written: string[] = [];
  let connection!: FakeConnection;
  const manager = new MCPClientManager({
    logger: pino({ level }, { write: (line: string) => written.push(line) }),
    servers: new Map([["lab", { transport: undefined, tools: { allow: ["*"], deny: ["no"] } }]]),
    openConnection: (definition) => (connection = new FakeConnection(definition, catalogueOf(toolNamed("echo"), toolNamed("no")))),
  });
  return { manager, connection, text: () => written.join(""), lines: () => written.map((line) => JSON.parse(line) as Line) };
}

describe("call-ledger: the log", () => {
  it("has a line for what was refused or failed, and none for what went well but where it is asked for", async () => {
    for (const [level, count] of [
      ["info", 2],
      ["debug", 3],
    ] as const) {
      const { connection, lines, manager } = setUp(level);
      await manager.callTool("lab", "echo");
      await assert.rejects(manager.callTool("lab", "no"));
      connection.answer = () => replyOf("it failed", true);
      await assert.rejects(manager.callTool("lab", "echo"));
      assert.equal(lines().length, count);
      assert.deepEqual(
        lines()
          .slice(-2)
          .map(({ errorCode, msg, setting, tool }) => [msg, tool, errorCode, setting]),
        [
          ["tool call refused", "no", "TOOL_DENIED", "mcpServers.lab.tools.deny"],
          ["tool call failed", "echo", "TOOL_FAILED", undefined],
        ],
      );
    }
  });

  it("says nothing of arguments and results, nor what a name would write to a terminal", async () => {
    const { connection, manager, text } = setUp("debug");
    connection.answer = () => replyOf("private answer", true);
    await assert.rejects(manager.callTool("lab", "echo", { value: "private argument" }));
    await assert.rejects(manager.callTool("lab", "a\u001b[31m\nb\u202e"));
    assert.ok(!text().includes("private"), text());
    assert.ok(!/\\u001b|\u202e/.test(text()), text());
    assert.ok(text().includes("a\\\\u{1b}[31m"), text());
  });

  it("is not filled by a program that is refused again and again; what is left out is counted", () => {
    let time = 0;
    const written: Line[] = [];
    const logger = pino({ level: "info" }, { write: (line: string) => written.push(JSON.parse(line) as Line) });
    const ledger = new CallLedger({ logger, audit: undefined, auditArguments: false, now: () => time });
    const request = { server: "lab", tool: "no", arguments: { named: {} }, sizeBytes: 2 };
    const origin = { executionId: "exe_1", who: "ann", allowed: [], slots: new FairSemaphore(1) };
    const failure = new ToolFailure({ code: "TOOL_DENIED", server: "lab", tool: "no", message: "no" });
    const refuse = (): void => {
      ledger.enter(new Call(request, origin, { signal: new AbortController().signal }), { outcome: "denied", failure });
    };
    for (let count = 0; count < 500; count += 1) refuse();
    assert.equal(written.length, 50);
    time = 10_000;
    refuse();
    refuse();
    assert.deepEqual(
      written.slice(50).map(({ linesLeftOut }) => linesLeftOut),
      [450, undefined],
    );
  });
});
