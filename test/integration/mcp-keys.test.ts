/** The tools of a key, on a running service: what its programs may call, what it is shown, and what is told of a refusal. */

import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import path from "node:path";

import { hashKey } from "../../src/domain/caller.ts";
import type { Execution } from "../../src/domain/execution.ts";
import { memoryServer } from "../helpers/mcp-servers.ts";
import { eventually, makeTempFolder, TestService } from "../helpers/service.ts";

const KEYS = [
  { name: "all", tools: undefined },
  { name: "reader", tools: ["memory.read_graph"] },
  { name: "none", tools: [] },
] as const;
const authorize = (name: string): Record<string, string> => ({ authorization: `Bearer ${name}-0123456789` });

const PROGRAM = `
  const tried = async (call) => {
    try { await call(); return "ok"; } catch ({ code }) { return code; }
  };
  return {
    functions: typeof memory === "undefined" ? [] : Object.keys(memory),
    read: await tried(() => callTool("memory", "read_graph")),
    search: await tried(() => callTool("memory", "search_nodes", { query: "x" })),
  };`;

describe("MCP Integration: the tools of a key", function () {
  this.timeout(60_000);
  let service: TestService;
  let data: string;

  before(async () => {
    data = await makeTempFolder();
    service = await TestService.start({
      mcpServers: { memory: memoryServer(path.join(data, "memory.jsonl")) },
      prepare: (workspace) => {
        const keys = KEYS.map(({ name, tools }) => ({ name, sha256: hashKey(`${name}-0123456789`), scopes: ["execute"], tools }));
        return writeFile(path.join(workspace, "..", "config", "keys.json"), JSON.stringify(keys), { mode: 0o600 });
      },
    });
    await eventually("the server is connected", async () => (await listed("all")).length > 1, 20_000);
  });
  after(async () => {
    await service.close();
    await rm(data, { recursive: true, force: true });
  });

  async function listed(key: string): Promise<string[]> {
    const { body } = await service.get<{ tools: { name: string }[] }>("/v1/tools", { headers: authorize(key) });
    return body.tools.map(({ name }) => name);
  }
  async function run(key: string, request: object = {}): Promise<Execution> {
    const { body, status } = await service.post({ code: PROGRAM, ...request }, { headers: authorize(key) });
    assert.equal(status, 200, JSON.stringify(body));
    return body;
  }

  it("are all of them where it has no list", async () => {
    const { denials, result } = await run("all");
    const { functions, ...calls } = result as { functions: string[]; read: string; search: string };
    assert.deepEqual([calls, denials], [{ read: "ok", search: "ok" }, []]);
    assert.deepEqual(functions.sort(), (await listed("all")).sort());
  });

  it("are those of its list: the rest is no function, is not shown, and is refused with the setting that names the key", async () => {
    assert.deepEqual(await listed("reader"), ["read_graph"]);
    const { denials, result, toolCalls } = await run("reader");
    assert.deepEqual(result, { functions: ["read_graph"], read: "ok", search: "TOOL_DENIED" });
    assert.deepEqual(
      toolCalls.map(({ outcome, tool }) => [tool, outcome]),
      [
        ["read_graph", "ok"],
        ["search_nodes", "denied"],
      ],
    );
    assert.deepEqual(
      denials.map(({ kind, what }) => [kind, what]),
      [["tool", "memory.search_nodes"]],
    );
    assert.match(denials[0]?.setting ?? "", /key/);
  });

  it("are not widened by a request, only narrowed; an empty list is none", async () => {
    assert.deepEqual((await run("reader", { tools: ["*"] })).result, { functions: ["read_graph"], read: "ok", search: "TOOL_DENIED" });
    for (const execution of [await run("reader", { tools: ["memory.search_nodes"] }), await run("none")])
      assert.deepEqual(execution.result, { functions: [], read: "TOOL_DENIED", search: "TOOL_DENIED" });
    assert.deepEqual(await listed("none"), []);
    const hidden = await service.get("/v1/servers/memory", { headers: authorize("none") });
    assert.equal(hidden.status, 404);
  });
});
