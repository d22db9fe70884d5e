/** `code-mode run` with the tools of mcp-servers.json: what the program may call, what is told of its calls, which servers are started. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import path from "node:path";

import { executionSchema } from "../../src/domain/execution.ts";
import { packageRoot } from "../../src/lib/package-info.ts";
import { labServer, memoryServer } from "../helpers/mcp-servers.ts";
import { makeTempFolder, writeSetUp } from "../helpers/service.ts";

describe("MCP Integration: run with tools", function () {
  this.timeout(60_000);
  let folder: string;
  let env: Record<string, string>;
  const started = (): string => path.join(folder, "was-started");

  before(async () => {
    folder = await makeTempFolder();
    const mcpServers = {
      memory: memoryServer(path.join(folder, "memory.jsonl")),
      lab: labServer(),
      uncalled: { command: process.execPath, args: ["-e", `require("fs").writeFileSync(${JSON.stringify(started())}, "")`] },
      gone: { command: path.join(folder, "no-such-program"), fallback: { responses: { recall: { mock: true, results: [] } } } },
    };
    env = { ...(await writeSetUp(folder, { mcpServers })), LOG_LEVEL: "fatal" };
  });
  after(() => rm(folder, { recursive: true, force: true }));

  async function run(code: string, ...args: readonly string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
    const child = spawn(process.execPath, [path.join(packageRoot, "dist", "main.js"), "run", "-", ...args], {
      cwd: folder,
      env: { PATH: process.env["PATH"], HOME: folder, ...env },
    });
    const text = { stdout: "", stderr: "" };
    for (const stream of ["stdout", "stderr"] as const) child[stream].on("data", (chunk: Buffer) => (text[stream] += chunk.toString()));
    child.stdin.end(code);
    const [exitCode] = (await once(child, "close")) as [number | null];
    return { code: exitCode, ...text };
  }

  it("calls them as a service would, and tells on stderr which failed or got a mock; only servers that are called are started", async () => {
    const { code, stderr, stdout } = await run(`
      const echoed = await lab.echo(0, false);
      const codes = [];
      for (const message of ["a", "b"]) await lab.fail(message).catch((error) => codes.push(error.code));
      return { echoed, codes, mock: await gone.recall(), graph: await memory.read_graph() };`);
    assert.equal(code, 0, stderr);
    assert.deepEqual(JSON.parse(stdout), {
      echoed: { value: 0, second: false },
      codes: ["TOOL_FAILED", "TOOL_FAILED"],
      mock: { mock: true, results: [] },
      graph: { entities: [], relations: [] },
    });
    assert.deepEqual(stderr.trimEnd().split("\n"), [
      "code-mode: tool lab.fail: TOOL_FAILED, 2 times",
      "code-mode: tool gone.recall: the server was down; the program got the configured answer, a mock",
    ]);
    assert.ok(!existsSync(started()), "a server that nobody called was started");
  });

  it("leaves the program the tools that --tool names, and tells with which setting it was refused another", async () => {
    const program = `
      const refused = await callTool("lab", "echo", { value: 1, second: 2 }).catch(({ code }) => code);
      return { lab: typeof lab, refused, graph: await memory.read_graph() };`;
    const { code, stderr, stdout } = await run(program, "--tool", "memory.read_graph", "--json");
    assert.equal(code, 0, stderr);
    const { denials, result, toolCalls } = executionSchema.parse(JSON.parse(stdout));
    assert.deepEqual(result, {
      lab: "undefined",
      refused: "TOOL_DENIED",
      graph: { entities: [], relations: [] },
    });
    assert.deepEqual(
      toolCalls.map(({ errorCode, outcome, server, tool }) => [server, tool, outcome, errorCode]),
      [
        ["lab", "echo", "denied", "TOOL_DENIED"],
        ["memory", "read_graph", "ok", undefined],
      ],
    );
    assert.deepEqual(
      denials.map(({ kind, what }) => [kind, what]),
      [["tool", "lab.echo"]],
    );
    assert.match(denials[0]?.setting ?? "", /request/);
  });
});
