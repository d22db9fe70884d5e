/** Connections to real servers of the field, over each transport. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import path from "node:path";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

import type { ServerTransport } from "../../src/domain/mcp-server.ts";
import type { ToolProgress } from "../../src/domain/tool-call.ts";
import { packageRoot } from "../../src/lib/package-info.ts";
import { assertFailure, connected, scripted, useConnections } from "../helpers/mcp-connections.ts";
import type { Watched } from "../helpers/mcp-connections.ts";
import { eventually } from "../unit/support/eventually.ts";
import { useTempFolder } from "../unit/support/temp-folder.ts";

const program = (name: string): string => path.join(packageRoot, "node_modules/@modelcontextprotocol", name, "dist/index.js");
const stdio = (name: string, args: string[] = [], env: Record<string, string> = {}): ServerTransport => ({
  kind: "stdio",
  command: process.execPath,
  args: [program(name), ...args],
  env,
  cwd: undefined,
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

describe("MCP Integration: real servers", function () {
  this.slow(4000);
  const connect = useConnections();
  const folder = useTempFolder();
  let child: ChildProcess | undefined;
  afterEach(async () => {
    if (child?.exitCode === null && child.signalCode === null) {
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    child = undefined;
  });

  /** Resolves when it listens. */
  async function startEverything(mode: "streamableHttp" | "sse", port: number): Promise<ChildProcess> {
    const started = spawn(process.execPath, [program("server-everything"), mode], {
      env: { ...process.env, PORT: String(port) },
      stdio: ["ignore", "ignore", "pipe"],
    });
    child = started;
    // Its first lines come before it listens.
    for await (const chunk of started.stderr.iterator({ destroyOnReturn: false })) if (String(chunk).includes("port")) break;
    started.stderr.resume();
    return started;
  }

  async function speaksWith(watched: Watched): Promise<void> {
    const { connection } = await connected(watched);
    assert.deepEqual([connection.catalogue?.tools.size, connection.catalogue?.hidden], [13, []]);
    assert.equal(connection.status().serverInfo?.name, "mcp-servers/everything");
    assert.equal((await watched.call("echo", { message: "\u00e4\u2028\u{1f600}" })).value, "Echo: \u00e4\u2028\u{1f600}");
    assert.deepEqual(Object.keys((await watched.call("get-structured-content", { location: "Chicago" })).value as object).sort(), [
      "conditions",
      "humidity",
      "temperature",
    ]);
    const seen: ToolProgress[] = [];
    await watched.call("trigger-long-running-operation", { duration: 0.2, steps: 4 }, { onProgress: (progress) => seen.push(progress) });
    assert.deepEqual(
      seen.map(({ progress, total }) => [progress, total]),
      [1, 2, 3, 4].map((step) => [step, 4]),
    );
    const wrong = await watched.call("get-sum", { a: "no number" });
    assert.ok(wrong.isError && String(wrong.value).includes("expected number"), JSON.stringify(wrong));
    const many = await Promise.all(Array.from({ length: 100 }, (_, index) => watched.call("get-sum", { a: index, b: 0 })));
    assert.ok(many.every(({ value }, index) => String(value).includes(String(index))));
  }

  it("everything, over stdio", () => speaksWith(connect(stdio("server-everything", ["stdio"]))));

  it("everything, over streamable HTTP; killed in a call, and started anew with other sessions", async () => {
    const port = await freePort();
    const first = await startEverything("streamableHttp", port);
    const watched = connect({ kind: "http", url: `http://127.0.0.1:${port}/mcp`, headers: {} });
    await speaksWith(watched);
    assert.equal(watched.connection.status().transport, "http");
    const pending = watched.failure("trigger-long-running-operation", { duration: 30, steps: 100 });
    await watched.call("echo", { message: "behind it" });
    const exit = once(first, "exit");
    first.kill("SIGKILL");
    assertFailure(await pending, "CONNECTION_LOST");
    await exit;
    await startEverything("streamableHttp", port);
    await eventually(() => watched.connection.state === "connected", "the next connection");
    assert.equal((await watched.call("echo", { message: "again" })).value, "Echo: again");
  });

  for (const kind of ["http", "sse"] as const)
    it(`everything, over SSE, configured as ${kind}; its stream ends with it`, async () => {
      const port = await freePort();
      const started = await startEverything("sse", port);
      const watched = connect({ kind, url: `http://127.0.0.1:${port}/sse`, headers: {} });
      await speaksWith(watched);
      assert.equal(watched.connection.status().transport, "sse");
      const pending = watched.failure("trigger-long-running-operation", { duration: 30, steps: 100 });
      await watched.call("echo", { message: "behind it" });
      started.kill("SIGKILL");
      assertFailure(await pending, "CONNECTION_LOST");
    });

  it("filesystem and memory, over stdio", async () => {
    await writeFile(path.join(folder(), "a.txt"), "what is in the file");
    const files = await connected(connect(stdio("server-filesystem", [folder()])));
    assert.deepEqual((await files.call("read_text_file", { path: path.join(folder(), "a.txt") })).value, {
      content: "what is in the file",
    });
    assert.ok((await files.call("read_text_file", { path: "/etc/hostname" })).isError);
    const memory = await connected(connect(stdio("server-memory", [], { MEMORY_FILE_PATH: path.join(folder(), "memory.json") })));
    const entities = [{ name: "Ada", entityType: "person", observations: ["wrote programs"] }];
    await memory.call("create_entities", { entities });
    assert.deepEqual((await memory.call("search_nodes", { query: "programs" })).value, { entities, relations: [] });
  });

  it("a tool whose outputSchema is none is hidden alone, where the SDK's own list refuses all; results need not fit it", async () => {
    const pages = [
      [
        { name: "echo", inputSchema: { type: "object" }, outputSchema: { type: "object", required: ["never"] } },
        { name: "bad", inputSchema: { type: "object" }, outputSchema: { type: "object", properties: { a: { type: "strnig" } } } },
      ],
    ];
    const transport = scripted({ pages });
    const { args, command } = transport as Extract<ServerTransport, { kind: "stdio" }>;
    const client = new Client({ name: "test", version: "1" });
    await client.connect(new StdioClientTransport({ command, args: [...args], stderr: "ignore" }));
    await assert.rejects(client.listTools());
    await client.close();
    const watched = await connected(connect(transport));
    assert.deepEqual([...watched.connection.catalogue!.tools.keys()], ["echo"]);
    assert.deepEqual(
      watched.connection.catalogue!.hidden.map(({ name }) => name),
      ["bad"],
    );
    assert.deepEqual((await watched.call("echo", { a: 1 })).value, { a: 1 });
  });
});
