/** `/v1/servers` and `/v1/tools` in front of real servers: what is told of them, and what becomes of commands. */

import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import path from "node:path";

import { z } from "zod";

import { parseMcpServers } from "../../src/config/mcp-servers-file.ts";
import { serverStatusSchema, toolDescriptionSchema } from "../../src/domain/server-status.ts";
import type { ServerStatus, ToolDescription } from "../../src/domain/server-status.ts";
import { ToolFailure } from "../../src/domain/tool-error.ts";
import { serverSummarySchema } from "../../src/http/servers-routes.ts";
import { listedToolSchema } from "../../src/http/tools-routes.ts";
import { MCPClientManager } from "../../src/mcp/client-manager.ts";
import { everythingServer, labServer, memoryServer } from "../helpers/mcp-servers.ts";
import { makeTempFolder } from "../helpers/service.ts";
import { HttpService } from "../unit/support/http-service.ts";
import type { Answer } from "../unit/support/http-service.ts";

describe("MCP Integration: the API of servers and tools", function () {
  this.timeout(30_000);
  let folder: string;
  let manager: MCPClientManager;
  let service: HttpService;

  before(async () => {
    folder = await makeTempFolder();
    const mcpServers = {
      memory: { ...memoryServer(path.join(folder, "memory.jsonl")), tools: { deny: ["delete_*"] }, aliases: { graph: "read_graph" } },
      every: { ...everythingServer(), enabled: false },
      lab: labServer(),
      gone: { command: path.join(folder, "no-such-program") },
    };
    const file = path.join(folder, "mcp-servers.json");
    const { servers } = parseMcpServers(JSON.stringify({ mcpServers }), file, { variable: () => undefined, timeoutMs: 5000 });
    const audit = { record: (event: (typeof service.audited)[number]) => void service.audited.push(event) };
    manager = new MCPClientManager({ servers, audit });
    service = await HttpService.start({ tools: manager });
    manager.start();
    await manager.settled(20_000);
  });
  after(async () => {
    await service.close();
    await manager.close();
    await rm(folder, { recursive: true, force: true });
  });

  const json = async (where: string): Promise<unknown> => {
    const answer = await service.send(where);
    assert.equal(answer.status, 200, answer.text);
    return answer.json;
  };
  const server = async (name: string): Promise<ServerStatus> => serverStatusSchema.strict().parse(await json(`/v1/servers/${name}`));
  const command = (name: string, verb: string): Promise<Answer> => service.send(`/v1/servers/${name}/${verb}`, { method: "POST" });
  const stateAfter = async (name: string, verb: string): Promise<string> => {
    const answer = await command(name, verb);
    assert.equal(answer.status, 200, answer.text);
    return serverStatusSchema.strict().parse(answer.json).state;
  };
  const failureOf = async (call: Promise<unknown>): Promise<string> => {
    const error: unknown = await call.then(
      () => assert.fail("it was answered"),
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof ToolFailure, String(error));
    return error.code;
  };

  it("tells of each how it is and why, in the form that is described", async () => {
    const { servers } = z.strictObject({ servers: z.array(serverSummarySchema.strict()) }).parse(await json("/v1/servers"));
    assert.deepEqual(
      servers.map(({ name, state, tools, transport }) => [name, state, transport, tools.length > 0]),
      [
        ["memory", "connected", "stdio", true],
        ["every", "disabled", "stdio", false],
        ["lab", "connected", "stdio", true],
        ["gone", "down", "stdio", false],
      ],
    );
    const gone = await server("gone");
    assert.match(gone.reason ?? "", /no-such-program/);
    assert.ok(gone.retries >= 1 && Date.parse(gone.nextRetryAt ?? "") > 0);
    const memory = await server("memory");
    assert.ok(memory.serverInfo?.name.includes("memory") === true && Date.parse(memory.connectedAt ?? "") > 0);
    const denied = memory.tools.filter(({ allowed }) => !allowed);
    assert.deepEqual(denied.map(({ name }) => name).sort(), ["delete_entities", "delete_observations", "delete_relations"]);
    for (const { setting } of denied) assert.match(setting ?? "", /memory\.tools\.deny/);
    assert.equal(((await json("/health")) as { status: string }).status, "degraded");
    assert.deepEqual(
      service.manager.getMCPStatus().map(({ name, state }) => [name, state]),
      servers.map(({ name, state }) => [name, state]),
    );
  });

  it("tells how each tool is called, and such a call is taken", async () => {
    const { tools } = z.strictObject({ tools: z.array(listedToolSchema.strict()) }).parse(await json("/v1/tools?server=memory"));
    assert.ok(tools.every(({ name }) => !name.startsWith("delete_")));
    const search = tools.find(({ name }) => name === "search_nodes");
    assert.equal(search?.signature, "search_nodes(query: string)");
    assert.deepEqual(search.inputSchema["required"], ["query"]);
    const graph: ToolDescription = toolDescriptionSchema.strict().parse(await json("/v1/tools/memory/graph"));
    assert.deepEqual([graph.name, graph.aliases, graph.allowed], ["read_graph", ["graph"], true]);
    assert.deepEqual(await manager.callTool("memory", "graph"), { entities: [], relations: [] });
  });

  it("counts calls by their outcome, for the server and for each of its tools", async () => {
    const before = (await server("lab")).calls;
    assert.equal(before.requests, 0);
    await manager.callTool("lab", "echo", { value: 0, second: "" });
    assert.equal(await failureOf(manager.callTool("lab", "fail", { message: "no" })), "TOOL_FAILED");
    assert.equal(await failureOf(manager.callTool("lab", "fail", { message: 5 })), "INVALID_ARGUMENTS");
    const { byTool, ...sums } = (await server("lab")).calls;
    assert.deepEqual([sums.requests, sums.ok, sums.error, sums.denied, sums.fallback], [3, 1, 1, 1, 0]);
    assert.deepEqual(sums.errors, { TOOL_FAILED: 1, INVALID_ARGUMENTS: 1 });
    assert.ok(sums.successRate === 0.5 && Math.abs((sums.denialRate ?? 0) - 1 / 3) < 0.01 && sums.fallbackPercent === 0);
    assert.equal(
      sums.latency.buckets.reduce((sum, { count }) => sum + count, 0),
      sums.latency.count,
    );
    assert.deepEqual([byTool["echo"]?.ok, byTool["fail"]?.requests], [1, 2]);
  });

  it("disables, enables and reconnects a server while the service runs, never twice at once, and keeps who did", async () => {
    service.audited.length = 0;
    assert.equal(await stateAfter("lab", "disable"), "disabled");
    assert.equal(await failureOf(manager.callTool("lab", "echo", { value: 1, second: 2 })), "TOOL_UNAVAILABLE");
    assert.equal(await stateAfter("lab", "enable"), "connected");
    const seen = (): Promise<unknown> => manager.callTool("lab", "seen");
    const { echoed } = (await seen()) as { echoed: number };
    assert.equal(echoed, 0, "it is another process");
    await manager.callTool("lab", "echo", { value: 1, second: 2 });
    const states = await Promise.all(Array.from({ length: 5 }, () => stateAfter("lab", "reconnect")));
    assert.deepEqual(new Set(states), new Set(["connected"]));
    assert.equal(((await seen()) as { echoed: number }).echoed, 0, "it is another process again");
    assert.equal(await stateAfter("gone", "reconnect"), "down");
    const commands = service.audited.flatMap((event) =>
      event.type === "server.command" ? [`${event.who} ${event.command} ${event.server}`] : [],
    );
    assert.deepEqual(commands.slice(0, 2), ["anonymous disable lab", "anonymous enable lab"]);
    assert.equal(commands.length, 8);
    const changes = service.audited.flatMap((event) => (event.type === "server.state" && event.server === "lab" ? [event.to] : []));
    const oneConnection = ["down", "connecting", "connected"];
    assert.deepEqual(changes, [...oneConnection, ...oneConnection], "the five commands were one");
  });

  it("enables one that the configuration has disabled", async () => {
    assert.equal(await stateAfter("every", "enable"), "connected");
    const names = async (): Promise<string[]> =>
      ((await json("/v1/tools?server=every")) as { tools: { name: string }[] }).tools.map(({ name }) => name);
    assert.ok((await names()).includes("echo"));
    assert.equal(await stateAfter("every", "disable"), "disabled");
    assert.deepEqual(await names(), []);
  });
});
