/** The stand-in for AutoMem, seen by a client of the SDK's: whatever the other tests say about Code Mode rests on its behaving so. */

import assert from "node:assert/strict";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import type { CallToolResult } from "@modelcontextprotocol/sdk/types.js";

import { AutoMemHttpFlavour } from "../fixtures/automem/http-flavour.ts";
import { AutoMemService } from "../fixtures/automem/service.ts";
import { autoMemStdio } from "../helpers/mcp-servers.ts";

const KEY = "fixture-key";

describe("MCP Integration: AutoMem fixture", () => {
  let service: AutoMemService;
  let flavour: AutoMemHttpFlavour;
  let stdio: Client;
  let http: Client;

  async function connect(transport: Transport): Promise<Client> {
    const client = new Client({ name: "test", version: "1" });
    await client.connect(transport);
    return client;
  }

  function stdioTransport(environment: Record<string, string>): StdioClientTransport {
    const { args, command } = autoMemStdio("", "") as { command: string; args: string[] };
    return new StdioClientTransport({ command, args, env: environment, stderr: "ignore" });
  }

  const toMcp = (token: string): StreamableHTTPClientTransport =>
    new StreamableHTTPClientTransport(new URL(flavour.url), { requestInit: { headers: { Authorization: `Bearer ${token}` } } });

  async function call(client: Client, name: string, args: Record<string, unknown> = {}): Promise<CallToolResult> {
    return (await client.callTool({ name, arguments: args })) as CallToolResult;
  }

  before(async () => {
    service = await AutoMemService.start({ apiKey: KEY });
    flavour = await AutoMemHttpFlavour.start({ apiUrl: service.url, token: KEY });
    // The old names of the variables.
    stdio = await connect(stdioTransport({ AUTOMEM_ENDPOINT: service.url, AUTOMEM_API_TOKEN: KEY }));
    http = await connect(toMcp(KEY));
  });
  beforeEach(() => {
    service.trouble = {};
    service.memories.clear();
  });
  after(async () => {
    await stdio.close();
    await http.close();
    await flavour.close();
    await service.close();
  });

  const api = (path: string, init: RequestInit = {}): Promise<Response> =>
    fetch(`${service.url}${path}`, { ...init, headers: { authorization: `Bearer ${KEY}` } });
  const post = (path: string, body: object): Promise<Response> => api(path, { method: "POST", body: JSON.stringify(body) });

  it("lets in by each of three headers or parameters, and leaves /health open, with 200 when it is degraded", async () => {
    const statuses = await Promise.all(
      [
        fetch(`${service.url}/recall?api_key=${KEY}`),
        fetch(`${service.url}/recall`, { headers: { "x-api-key": KEY } }),
        api("/recall"),
        fetch(`${service.url}/recall`),
        fetch(`${service.url}/recall?api_key=wrong-key!!`),
      ].map(async (response) => (await response).status),
    );
    assert.deepEqual(statuses, [200, 200, 200, 401, 401]);
    service.trouble = { degraded: true, status: 503 };
    const health = await fetch(`${service.url}/health`);
    assert.deepEqual([health.status, ((await health.json()) as { status: string }).status], [200, "degraded"]);
    assert.deepEqual(await (await api("/recall")).json(), { status: "error", code: 503, message: "Database is unavailable" });
  });

  it("stores, finds, changes and deletes, twice what is sent twice, and refuses what is out of bounds", async () => {
    const first = await post("/memory", { content: "green tea", id: "mine", tags: ["drink"] });
    assert.equal(first.status, 201);
    await post("/memory", { content: "green tea", id: "mine" });
    const { count, results } = (await (await api("/recall?query=tea&limit=100")).json()) as { count: number; results: { id: string }[] };
    assert.deepEqual([count, results.some(({ id }) => id === "mine")], [2, false]);
    const { memory_id: id } = (await first.json()) as { memory_id: string };
    assert.equal((await api(`/memory/${id}`, { method: "PATCH", body: '{"importance":0}' })).status, 200);
    assert.equal(service.memories.get(id)?.importance, 0);
    assert.equal(((await (await api("/memory/by-tag?tags=drink")).json()) as { count: number }).count, 1);
    assert.equal((await post("/associate", { memory1_id: id, memory2_id: results[1]?.id ?? "" })).status, 201);
    assert.equal((await api(`/memory/${id}`, { method: "DELETE" })).status, 200);
    assert.equal((await api(`/memory/${id}`)).status, 404);
    const refused = [{ content: "x".repeat(2001) }, { content: "x", importance: 1.1 }, {}].map((body) => post("/memory", body));
    const memories = Array.from({ length: 501 }, () => ({ content: "x" }));
    const statuses = await Promise.all([...refused, post("/memory/batch", { memories })].map(async (response) => (await response).status));
    assert.deepEqual(statuses, [400, 400, 400, 400]);
  });

  it("has the same tools over both transports, with output schemas over stdio only", async () => {
    const [overStdio, overHttp] = [await stdio.listTools(), await http.listTools()];
    assert.deepEqual(
      overStdio.tools.map(({ name }) => name),
      ["store_memory", "recall_memory", "associate_memories", "update_memory", "delete_memory", "check_database_health"],
    );
    assert.deepEqual(
      overStdio.tools.map(({ outputSchema: _, ...tool }) => tool),
      overHttp.tools,
    );
    assert.ok(overStdio.tools.every(({ outputSchema }) => outputSchema !== undefined));
    await assert.rejects(connect(toMcp("wrong")), /401|Unauthorized|token/);
  });

  it("fails as the real one does, which differs by tool", async () => {
    const large = await call(stdio, "store_memory", { content: "x".repeat(2001) });
    assert.deepEqual([large.isError, large.structuredContent?.["error"]], [true, "content_too_large"]);
    const unknown = await call(stdio, "recall");
    assert.deepEqual([unknown.isError, unknown.content], [true, [{ type: "text", text: "Unknown tool: recall" }]]);
    service.trouble = { reset: "before" };
    const down = await call(stdio, "store_memory", { content: "x" });
    assert.deepEqual([down.isError, down.content], [true, [{ type: "text", text: "fetch failed" }]]);
    await assert.rejects(call(stdio, "recall_memory", { query: "x" }), { code: -32603 });
    assert.equal((await call(stdio, "check_database_health")).structuredContent?.["status"], "error");
  });

  it("stores four times what was stored before its connection was reset", async () => {
    service.trouble = { reset: "after" };
    const answer = await call(stdio, "store_memory", { content: "once?" });
    assert.equal(answer.isError, true);
    assert.equal(service.memories.size, 4);
  });
});
