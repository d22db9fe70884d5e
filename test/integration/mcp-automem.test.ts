/** The integration plan's example, and all that can come of calls to AutoMem: one service, its MCP server over stdio and over HTTP. */

import assert from "node:assert/strict";

import { AutoMemHttpFlavour } from "../fixtures/automem/http-flavour.ts";
import { AutoMemService } from "../fixtures/automem/service.ts";
import { autoMemHttp, autoMemStdio } from "../helpers/mcp-servers.ts";
import { TestService } from "../helpers/service.ts";

const SECRET = "am-7f3c9d1e-secret";
/** The one as the plan calls it, the other over HTTP. */
const NAMES = ["automem", "automem_http"] as const;

/** What a program gets of a call that fails. */
const CAUGHT = `const caught = async (call) => {
  try { return { value: await call() }; } catch (error) {
    const { code, data, message, name, server, tool } = error;
    return { name, code, server, tool, message, data };
  }
};
`;

interface Caught {
  readonly name: string;
  readonly code: string;
  readonly server: string;
  readonly tool: string;
  readonly message: string;
  readonly data?: unknown;
  readonly value?: unknown;
}

describe("MCP Integration: AutoMem", () => {
  let automem: AutoMemService;
  let flavour: AutoMemHttpFlavour;
  let service: TestService;

  before(async () => {
    automem = await AutoMemService.start({ apiKey: SECRET });
    flavour = await AutoMemHttpFlavour.start({ apiUrl: automem.url, token: SECRET });
    service = await TestService.start({
      mcpServers: {
        automem: { ...autoMemStdio(automem.url, SECRET), tools: { deny: ["delete_memory"] } },
        automem_http: { ...autoMemHttp(flavour.url, SECRET), tools: { deny: ["delete_memory"] } },
        stranger: autoMemStdio(automem.url, "a key that nobody knows"),
      },
    });
  });
  beforeEach(() => {
    automem.trouble = {};
    automem.memories.clear();
  });
  after(async () => {
    await service.close();
    await flavour.close();
    await automem.close();
  });

  const caught = async (call: string): Promise<Caught> => (await service.result(`${CAUGHT} return caught(() => ${call});`)) as Caught;

  for (const name of NAMES) {
    it(`runs the plan's example as it is written: ${name}`, async () => {
      const execution = await service.run(
        `await automem.store_memory("Code execution test from sandbox", 0.7, ["testing", "sandbox", "mcp"])
         const found = await automem.recall("sandbox test", 5)
         return found`.replaceAll("automem.", `${name}.`),
      );
      assert.equal(execution.status, "completed", JSON.stringify(execution));
      const [memory, ...others] = [...automem.memories.values()];
      assert.deepEqual(others, []);
      assert.deepEqual(
        [memory?.content, memory?.importance, memory?.tags],
        ["Code execution test from sandbox", 0.7, ["testing", "sandbox", "mcp"]],
      );
      const { count, results } = execution.result as { count: number; results: Record<string, unknown>[] };
      assert.deepEqual([count, results[0]?.["content"], results[0]?.["final_score"]], [1, "Code execution test from sandbox", 1]);
      assert.deepEqual(
        execution.toolCalls.map(({ outcome, server, tool }) => [server, tool, outcome]),
        [
          [name, "store_memory", "ok"],
          [name, "recall_memory", "ok"],
        ],
      );
      assert.ok(execution.toolCalls.every(({ durationMs }) => durationMs > 0 && durationMs < 10_000));
      assert.deepEqual([execution.degraded, execution.denials], [false, []]);
    });

    it(`passes on 0, false, empty text and empty lists as they are: ${name}`, async () => {
      await service.result(
        `await ${name}.store_memory("zero", 0, []);
         await ${name}.store_memory({ content: "nothing", importance: 0, metadata: { no: false, none: null, empty: "", zero: 0 } });`,
      );
      const [zero, nothing] = [...automem.memories.values()];
      assert.deepEqual([zero?.importance, zero?.tags], [0, []]);
      assert.deepEqual([nothing?.importance, nothing?.metadata], [0, { no: false, none: null, empty: "", zero: 0 }]);
    });

    it(`takes the same call by every name: ${name}`, async () => {
      await service.result(`await ${name}.store_memory("by every name")`);
      const results = await service.result(
        `return Promise.all([
           ${name}.recall("name", 5), ${name}.recall({ query: "name", limit: 5 }), ${name}.recall_memory("name"),
           tools.${name}.recall("name", 5), callTool("${name}", "recall_memory", { query: "name" }), callTool("${name}", "recall", { query: "name" }),
         ])`,
      );
      assert.equal(new Set((results as object[]).map((result) => JSON.stringify(result))).size, 1);
      assert.equal((results as { count: number }[])[0]?.count, 1);
    });

    it(`carries honest text that looks like an attack, untouched: ${name}`, async () => {
      const texts = [
        "<script>alert(document.cookie)</script> <img src=x onerror=alert(1)>",
        "'; DROP TABLE memories; -- and \" OR 1=1",
        "data:text/html;base64,PGI+ javascript:void(0) file:///etc/passwd",
        "${process.env.HOME} {{7*7}} $(id) `id` %s %n ../../etc/passwd",
        "emoji 👩‍🚀🇳🇴, combining e\u0301, RTL \u202Eabc\u202C, zero\u200Bwidth, \uFEFFmark",
        "line one\nline two\r\n\ttabbed \\ backslash \u2028 separator",
        '{"__proto__": {"polluted": true}, "constructor": {"prototype": {}}}',
      ];
      await service.result(
        `for (const text of JSON.parse(require("node:fs").readFileSync(0, "utf8"))) await ${name}.store_memory(text, 0.5, [text]);`,
        { stdin: JSON.stringify(texts) },
      );
      assert.deepEqual(
        [...automem.memories.values()].map(({ content, tags }) => [content, ...tags]),
        texts.map((text) => [text, text]),
      );
      const back = await service.result(
        `const { results } = await ${name}.recall({ limit: 10 }); return results.map(({ content }) => content);`,
      );
      assert.deepEqual(new Set(back as string[]), new Set(texts));
    });

    it(`makes what the tool reports an error with its data: ${name}`, async () => {
      const { code, data, server, tool } = await caught(`${name}.store_memory("x".repeat(2001))`);
      assert.deepEqual([code, server, tool], ["TOOL_FAILED", name, "store_memory"]);
      assert.match(JSON.stringify(data), /content_too_large/);
      assert.equal(automem.memories.size, 0);
    });

    it(`fails as the tool does when AutoMem itself is away, and calls no store a success: ${name}`, async () => {
      automem.trouble = { reset: "before" };
      const stored = await caught(`${name}.store_memory("lost")`);
      assert.deepEqual([stored.name, stored.code, stored.value], ["ToolError", "TOOL_FAILED", undefined]);
      assert.match(stored.message, /fetch failed/);
      const recalled = await caught(`${name}.recall("lost")`);
      assert.equal(recalled.code, "SERVER_ERROR");
      assert.match(JSON.stringify(recalled.data), /-32603/);
      const health = await service.result(`return ${name}.check_database_health()`);
      assert.equal((health as { status: string }).status, "error");
      automem.trouble = {};
      await service.result(`return ${name}.store_memory("kept")`);
      assert.equal(automem.memories.size, 1);
    });
  }

  it("refuses what the tool's schema refuses, before it is sent", async () => {
    const calls = [
      'automem.store_memory("x", 1.01)',
      'automem.store_memory("x", "0.7")',
      "automem.store_memory({ content: 7 })",
      'automem.store_memory({ content: "x", type: "Rumour" })',
      'automem.recall("x", 0)',
      'automem.recall("x", 2.5)',
      "automem.update_memory({ importance: 1 })",
    ];
    const failures = (await service.result(
      `${CAUGHT} return [${calls.map((call) => `await caught(() => ${call})`).join(", ")}];`,
    )) as Caught[];
    assert.deepEqual(
      failures.map(({ code }) => code),
      calls.map(() => "INVALID_ARGUMENTS"),
    );
    assert.match(failures[0]?.message ?? "", /importance/);
    assert.equal(automem.memories.size, 0);
  });

  it("refuses arguments of more than a megabyte, and does not send them", async () => {
    const sentBefore = automem.requests.length;
    const { code, message } = await caught('automem.store_memory({ content: "x", metadata: { blob: "x".repeat(2 ** 20) } })');
    assert.equal(code, "PAYLOAD_TOO_LARGE");
    assert.match(message, /at most 1048576/);
    assert.equal(automem.requests.length, sentBefore);
    const almost = await service.result('await automem.store_memory({ content: "x", metadata: { blob: "x".repeat(2 ** 20 - 1000) } })');
    assert.equal(almost, null);
    assert.equal(automem.memories.size, 1);
  });

  it("denies what the list denies, under every name, and says which setting does", async () => {
    await service.result('await automem.store_memory("stays")');
    const [id] = automem.memories.keys();
    const execution = await service.run(
      `${CAUGHT} const args = { memory_id: ${JSON.stringify(id)} };
       return [await caught(() => callTool("automem", "delete_memory", args)), await caught(() => callTool("automem_http", "delete_memory", args)),
         typeof automem.delete_memory];`,
    );
    const [first, second] = execution.result as Caught[];
    assert.deepEqual([first?.code, second?.code], ["TOOL_DENIED", "TOOL_DENIED"]);
    assert.match(first?.message ?? "", /deny/);
    assert.equal(automem.memories.size, 1);
    assert.deepEqual(
      execution.denials.map(({ kind, what }) => [kind, what]),
      [
        ["tool", "automem.delete_memory"],
        ["tool", "automem_http.delete_memory"],
      ],
    );
    assert.equal(execution.denials[0]?.setting, "mcpServers.automem.tools.deny");
    assert.deepEqual(
      execution.toolCalls.map(({ errorCode, outcome }) => [outcome, errorCode]),
      [
        ["denied", "TOOL_DENIED"],
        ["denied", "TOOL_DENIED"],
      ],
    );
  });

  it("shows a request the tools that it asks for, and no others", async () => {
    const code = `${CAUGHT} return [typeof automem, typeof globalThis.automem_http, (await caught(() => automem.recall("x"))).code,
      (await caught(() => callTool("automem", "store_memory", { content: "x" }))).code,
      (await caught(() => callTool("automem_http", "recall_memory", { query: "x" }))).code];`;
    const narrowed = await service.result(code, { tools: ["automem.recall*"] });
    assert.deepEqual(narrowed, ["object", "undefined", null, "TOOL_DENIED", "TOOL_DENIED"]);
    assert.equal(automem.memories.size, 0);
    const none = await service.result("return [typeof globalThis.automem, typeof globalThis.automem_http]", { tools: [] });
    assert.deepEqual(none, ["undefined", "undefined"]);
  });

  it("names what is alike when there is no such tool or server", async () => {
    const tool = await caught('callTool("automem", "store_memories", {})');
    assert.equal(tool.code, "TOOL_NOT_FOUND");
    assert.match(tool.message, /store_memory/);
    const server = await caught('callTool("automen", "recall", {})');
    assert.equal(server.code, "TOOL_NOT_FOUND");
    assert.match(server.message, /automem/);
  });

  it("tells of a wrong key what the server tells, and the key to nobody", async () => {
    const { code, message } = await caught('callTool("stranger", "store_memory", { content: "x" })');
    assert.equal(code, "TOOL_FAILED");
    assert.match(message, /Unauthorized/);
    const seen = await service.run(
      `${CAUGHT} const fs = require("node:fs"); const failures = [];
       for (const call of [() => automem.store_memory("x".repeat(3000)), () => automem_http.recall({ limit: -1 }), () => callTool("stranger", "recall", {})])
         failures.push(await caught(call));
       const files = ["/proc/self/environ", "/proc/1/environ", "/proc/self/cmdline"].map((file) => { try { return fs.readFileSync(file, "latin1"); } catch (error) { return error.code; } });
       return { failures, files, env: process.env, globals: Object.getOwnPropertyNames(globalThis).map((name) => String(globalThis[name])) };`,
    );
    assert.equal(seen.status, "completed", JSON.stringify(seen));
    const shown = JSON.stringify(seen);
    for (const hidden of [SECRET, "a key that nobody knows", automem.url, flavour.url]) assert.ok(!shown.includes(hidden), hidden);
    const log = service.logLines.join("\n");
    for (const secret of [SECRET, "a key that nobody knows"]) assert.ok(!log.includes(secret), secret);
  });
});
