import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

import type { ServerSettings } from "../../src/domain/mcp-server.ts";
import { packageRoot } from "../../src/lib/package-info.ts";
import { MCPClientManager } from "../../src/mcp/client-manager.ts";
import { eventually } from "../unit/support/eventually.ts";

const program = (name: string): string => path.join(packageRoot, "node_modules/@modelcontextprotocol", name, "dist/index.js");
const stdio = (name: string, env: Record<string, string> = {}, ...args: string[]): ServerSettings => ({
  transport: { kind: "stdio", command: process.execPath, args: [program(name), ...args], env, cwd: undefined },
  rateLimit: { requestsPerMinute: 1_000_000, maxConcurrent: 100 },
});

describe("MCP Integration: the manager with servers of others", () => {
  let manager: MCPClientManager;
  let folder: string;

  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "cmi-"));
    manager = new MCPClientManager({
      servers: new Map([
        [
          "every-thing",
          { ...stdio("server-everything", {}, "stdio"), aliases: { say: "echo" }, tools: { allow: ["*"], deny: ["get-env"] } },
        ],
        [
          "memory",
          {
            ...stdio("server-memory", { MEMORY_FILE_PATH: path.join(folder, "memory.json") }),
            tools: { allow: "readOnly", deny: [] },
          },
        ],
      ]),
    });
    manager.start();
    await manager.settled(30_000);
  });
  after(async () => {
    await manager.close();
    await rm(folder, { recursive: true, force: true });
  });

  it("lists their tools as programs call them", () => {
    const functions = new Map(manager.tools().map((tool) => [tool.name, tool]));
    assert.deepEqual(functions.get("get-sum")!.functions, ["get_sum"]);
    assert.equal(functions.get("get-sum")!.signature, "get_sum(a: number, b: number)");
    assert.deepEqual([functions.get("echo")!.functions, functions.get("echo")!.aliases], [["echo", "say"], ["say"]]);
    assert.deepEqual([functions.get("get-env")!.allowed, functions.get("get-env")!.setting], [false, "mcpServers.every-thing.tools.deny"]);
  });

  it("calls by mapped names, aliases and positions in the order of the schema", async () => {
    assert.equal(await manager.callTool("every_thing", "get_sum", [2, 0]), "The sum of 2 and 0 is 2.");
    assert.equal(await manager.callTool("every-thing", "say", [""]), "Echo: ");
    assert.deepEqual(await manager.callTool("every_thing", "get_structured_content", ["Chicago"]), {
      temperature: 36,
      conditions: "Light rain / drizzle",
      humidity: 82,
    });
  });

  it("refuses before it is sent what the tool itself would refuse", async () => {
    await assert.rejects(manager.callTool("every_thing", "get_structured_content", ["Rome"]), {
      code: "INVALID_ARGUMENTS",
      message:
        'every-thing.get-structured-content was not called: location must be one of "New York", "Chicago", "Los Angeles", and is "Rome".',
    });
    const unchecked = new MCPClientManager({ securityEnabled: false, servers: new Map([["e", stdio("server-everything", {}, "stdio")]]) });
    try {
      await assert.rejects(unchecked.callTool("e", "get_structured_content", ["Rome"]), { code: "TOOL_FAILED" });
    } finally {
      await unchecked.close();
    }
  });

  it("lets through what a server says only reads, and nothing else of it", async () => {
    assert.deepEqual(await manager.callTool("memory", "read_graph"), { entities: [], relations: [] });
    await assert.rejects(manager.callTool("memory", "create_entities", { entities: [] }), {
      code: "TOOL_DENIED",
      setting: "mcpServers.memory.tools.allow",
    });
  });

  it("answers five hundred calls of one program at once", async () => {
    const session = manager.open({ executionId: "exe_1", who: "ann", allowed: [], onCall: () => undefined });
    const answers = await Promise.all(
      Array.from({ length: 500 }, (_, index) =>
        session.call(
          { server: "every_thing", tool: "echo", arguments: { positional: [[`${index}`]] }, sizeBytes: 10 },
          { signal: new AbortController().signal },
        ),
      ),
    );
    assert.deepEqual(
      answers.map((answer) => answer.ok && answer.value),
      Array.from({ length: 500 }, (_, index) => `Echo: ${index}`),
    );
    await session.close();
    assert.equal(session.calls.length, 500);
  });
});

describe("MCP Integration: the manager with a server that dies and comes back", () => {
  let server: ChildProcess | undefined;
  const end = async (): Promise<void> => {
    const running = server;
    server = undefined;
    if (running?.exitCode !== null) return;
    running.kill("SIGKILL");
    await once(running, "exit");
  };
  after(end);

  async function freePort(): Promise<number> {
    const listener = createServer().listen(0, "127.0.0.1");
    await once(listener, "listening");
    const { port } = listener.address() as AddressInfo;
    await new Promise((resolve) => listener.close(resolve));
    return port;
  }

  it("gives the configured answer while it is gone, and the server's own as soon as it is back", async function () {
    this.timeout(60_000);
    const port = await freePort();
    const start = async (): Promise<void> => {
      server = spawn(process.execPath, [program("server-everything"), "streamableHttp"], {
        env: { PATH: process.env["PATH"], PORT: String(port) },
        stdio: ["ignore", "ignore", "pipe"],
      });
      await once(server.stderr!, "data");
      server.stderr!.resume();
    };
    await start();
    const manager = new MCPClientManager({
      servers: new Map([
        [
          "everything",
          {
            transport: { kind: "http", url: `http://127.0.0.1:${port}/mcp`, headers: {} },
            fallback: { mode: "mock", responses: { echo: { mock: true, said: null } } },
          },
        ],
      ]),
    });
    const session = manager.open({ executionId: "exe_1", who: "ann", allowed: [], onCall: () => undefined });
    const echo = (): ReturnType<typeof session.call> =>
      session.call(
        { server: "everything", tool: "echo", arguments: { named: { message: "x" } }, sizeBytes: 15 },
        { signal: new AbortController().signal },
      );
    const state = (): string => manager.status()[0]!.state;
    try {
      assert.deepEqual(await echo(), { ok: true, value: "Echo: x" });
      assert.equal(session.degraded, false);
      await end();
      await manager.reconnect("everything");
      assert.equal(state(), "down");
      assert.deepEqual(await echo(), { ok: true, value: { mock: true, said: null } });
      assert.equal(session.degraded, true);
      await assert.rejects(manager.callTool("everything", "get_sum", [1, 2]), { code: "TOOL_UNAVAILABLE" });
      await start();
      await manager.reconnect("everything");
      await eventually(() => state() === "connected", "it is connected again");
      assert.deepEqual(await echo(), { ok: true, value: "Echo: x" });
      assert.deepEqual(
        session.calls.map(({ outcome }) => outcome),
        ["ok", "fallback", "ok"],
      );
    } finally {
      await session.close();
      await manager.close();
    }
  });
});
