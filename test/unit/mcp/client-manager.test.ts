import assert from "node:assert/strict";

import type { AuditEvent } from "../../../src/domain/audit-event.ts";
import { defineServer } from "../../../src/domain/mcp-server.ts";
import type { ServerSettings } from "../../../src/domain/mcp-server.ts";
import { ToolFailure } from "../../../src/domain/tool-error.ts";
import { MCPClientManager } from "../../../src/mcp/client-manager.ts";
import type { MCPClientManagerOptions } from "../../../src/mcp/client-manager.ts";
import type { Catalogue } from "../../../src/mcp/catalogue.ts";
import { eventually } from "../support/eventually.ts";
import { catalogueOf, FakeConnection, replyOf, toolNamed } from "../support/fake-connection.ts";

const STORE = toolNamed("store_memory", {
  inputSchema: {
    type: "object",
    properties: { content: { type: "string" }, tags: { type: "array" }, importance: { type: "number", minimum: 0, maximum: 1 } },
    required: ["content"],
  },
});
const TOOLS = catalogueOf(STORE, toolNamed("recall_memory", { annotations: { readOnlyHint: true } }), toolNamed("delete-memory"));
const AUTOMEM: Partial<ServerSettings> = {
  tools: { allow: ["*"], deny: ["delete-memory"] },
  aliases: { recall: "recall_memory" },
  arguments: { store_memory: ["content", "importance", "tags"], recall_memory: ["query", "limit"] },
  fallback: { mode: "mock", responses: { store_memory: { mock: true, stored: false }, recall_memory: { results: [], mock: false } } },
};

interface Setup {
  readonly manager: MCPClientManager;
  /** Every connection that was opened, by server, the latest last. */
  readonly opened: Map<string, FakeConnection[]>;
  readonly audited: AuditEvent[];
  readonly last: (name: string) => FakeConnection;
}

/** A manager over servers that are connected and have these tools; `undefined` for one that never was. */
function setUp(
  servers: Record<string, { settings?: Partial<ServerSettings>; catalogue?: Catalogue | undefined }>,
  options: MCPClientManagerOptions = {},
): Setup {
  const opened = new Map<string, FakeConnection[]>();
  const audited: AuditEvent[] = [];
  const manager = new MCPClientManager({
    servers: new Map(Object.entries(servers).map(([name, { settings }]) => [name, { transport: undefined, ...settings }])),
    audit: { record: (event) => audited.push(event) },
    openConnection: (definition) => {
      const connection = new FakeConnection(definition, servers[definition.name]?.catalogue);
      opened.set(definition.name, [...(opened.get(definition.name) ?? []), connection]);
      return connection;
    },
    ...options,
  });
  return { manager, opened, audited, last: (name) => opened.get(name)!.at(-1)! };
}
const automem = (options?: MCPClientManagerOptions): Setup => setUp({ automem: { settings: AUTOMEM, catalogue: TOOLS } }, options);

async function failureOf(promise: Promise<unknown>): Promise<ToolFailure> {
  try {
    assert.fail(`it came back with ${JSON.stringify(await promise)}`);
  } catch (error) {
    assert.ok(error instanceof ToolFailure, String(error));
    return error;
  }
}

describe("client-manager: alone", () => {
  it("works with the options of the integration plan, and has no servers until it is given some", async () => {
    const manager = new MCPClientManager({ fallbackToMock: true, securityEnabled: true, timeout: 5000 });
    manager.start();
    assert.deepEqual([manager.status(), manager.tools()], [[], []]);
    const failure = await failureOf(manager.callTool("automem", "recall", ["x"]));
    assert.deepEqual([failure.code, failure.server, failure.tool], ["TOOL_NOT_FOUND", "automem", "recall"]);
    await assert.rejects(manager.reconnect("automem"), { code: "NOT_FOUND", message: 'There is no server "automem". There are: none.' });
    await manager.settled(10);
    await manager.close();
    await manager.close();
  });

  it("gives a definition that says no time the manager's", async () => {
    const { last, manager } = automem({ timeout: 1234 });
    await manager.callTool("automem", "recall_memory", { query: "x" });
    assert.ok(last("automem").sent[0]!.timeoutMs! <= 1234);
    assert.ok(last("automem").sent[0]!.timeoutMs! > 1000);
    await manager.callTool("automem", "recall_memory", {}, { timeoutMs: 50 });
    assert.ok(last("automem").sent[1]!.timeoutMs! <= 50, "the shorter one counts");
    await manager.callTool("automem", "recall_memory", {}, { timeoutMs: 99_999 });
    assert.ok(last("automem").sent[2]!.timeoutMs! <= 1234);
  });
});

describe("client-manager: a call", () => {
  it("is the plan's, by name, alias, namespace and position", async () => {
    const { audited, last, manager } = automem();
    await manager.callTool("automem", "store_memory", ["Code execution test from sandbox", 0.7, ["testing", "sandbox", "mcp"]]);
    await manager.callTool("automem", "recall", ["sandbox test", 5]);
    await manager.callTool("automem", "store_memory", ["", 0, undefined]);
    assert.deepEqual(
      last("automem").sent.map(({ args, tool }) => [tool, args]),
      [
        ["store_memory", { content: "Code execution test from sandbox", importance: 0.7, tags: ["testing", "sandbox", "mcp"] }],
        ["recall_memory", { query: "sandbox test", limit: 5 }],
        ["store_memory", { content: "", importance: 0 }],
      ],
    );
    assert.deepEqual(
      audited.map((event) => (event.type === "tool.call" ? [event.tool, event.outcome, event.who, "arguments" in event] : [])),
      [
        ["store_memory", "ok", "none", false],
        ["recall_memory", "ok", "none", false],
        ["store_memory", "ok", "none", false],
      ],
    );
  });

  it("tells the audit log its arguments only where that is asked for", async () => {
    const { audited, manager } = automem({ auditArguments: true });
    await manager.callTool("automem", "recall", ["q", 5], { who: "ann" });
    const [event] = audited;
    assert.ok(event?.type === "tool.call");
    assert.deepEqual([event.arguments, event.who, event.requestBytes, event.resultBytes], [{ query: "q", limit: 5 }, "ann", 7, 23]);
  });

  for (const [title, server, tool, args, code, message] of [
    [
      "an unknown server",
      "autmem",
      "recall",
      [],
      "TOOL_NOT_FOUND",
      /There is no server "autmem"\. Did you mean "automem"\? Object\.keys\(tools\)/,
    ],
    [
      "an unknown tool",
      "automem",
      "recal",
      [],
      "TOOL_NOT_FOUND",
      /no tool "recal"\. Did you mean "recall" or "recall_memory"\? Object\.keys\(tools\.automem\)/,
    ],
    ["a name that objects have", "automem", "__proto__", [], "TOOL_NOT_FOUND", /no tool "__proto__"/],
    ["a server by a name that objects have", "constructor", "x", [], "TOOL_NOT_FOUND", /no server "constructor"/],
    ["a denied tool", "automem", "delete-memory", [], "TOOL_DENIED", /is denied by mcpServers\.automem\.tools\.deny/],
    ["a denied tool by its function", "automem", "delete_memory", [], "TOOL_DENIED", /is denied by/],
    ["a wrong type", "automem", "store_memory", [5], "INVALID_ARGUMENTS", /content must be string, and is 5/],
    [
      "too many arguments",
      "automem",
      "recall",
      [1, 2, 3],
      "INVALID_ARGUMENTS",
      /takes 2 arguments by position \(query, limit\), and got 3/,
    ],
    ["what is no JSON", "automem", "recall", { query: 1n }, "INVALID_ARGUMENTS", /cannot be sent as JSON/],
  ] as const) {
    it(`is refused, and not sent: ${title}`, async () => {
      const { last, manager } = automem();
      const failure = await failureOf(manager.callTool(server, tool, args));
      assert.equal(failure.code, code);
      assert.match(failure.message, message);
      assert.deepEqual(last("automem").sent, []);
    });
  }

  it("says why a tool is hidden", async () => {
    const catalogue = { ...TOOLS, hidden: [{ name: "odd", reason: "its inputSchema is no object" }] };
    const { manager } = setUp({ automem: { catalogue } });
    assert.match(
      (await failureOf(manager.callTool("automem", "odd"))).message,
      /"odd" of automem cannot be called: its inputSchema is no object/,
    );
  });

  it("that grows when it is written as JSON is measured as it is sent", async () => {
    const { manager } = setUp({ automem: { settings: { maxPayloadBytes: 200 }, catalogue: TOOLS } });
    const session = manager.open({ executionId: "exe_1", who: "ann", allowed: [], onCall: () => undefined });
    const sent = {
      server: "automem",
      tool: "recall_memory",
      arguments: { named: { a: Array.from({ length: 30 }, () => 1e20) } },
      sizeBytes: 160,
    };
    const answer = await session.call(sent, { signal: new AbortController().signal });
    assert.ok(!answer.ok && answer.error.code === "PAYLOAD_TOO_LARGE", JSON.stringify(answer));
    await session.close();
  });

  it("that the tool fails is an error with what the tool said", async () => {
    const { last, manager } = automem();
    last("automem").answer = () => replyOf({ error: "content_too_large", message: "at most 2000\u001b[31m characters" }, true);
    const failure = await failureOf(manager.callTool("automem", "recall"));
    assert.deepEqual(
      [failure.code, failure.message, failure.data],
      [
        "TOOL_FAILED",
        "automem.recall_memory failed: at most 2000\\u{1b}[31m characters",
        { error: "content_too_large", message: "at most 2000\u001b[31m characters" },
      ],
    );
  });

  it("that fails in the service says no more than that", async () => {
    const { last, manager } = automem();
    last("automem").answer = () => {
      throw new TypeError("secret inner workings of /srv");
    };
    const failure = await failureOf(manager.callTool("automem", "recall"));
    assert.equal(failure.code, "INTERNAL");
    assert.ok(!failure.message.includes("secret"));
  });

  it("starts the connection where that is left to it, and waits for a first one", async () => {
    const { last, manager } = automem({ connect: "onCall" });
    manager.start();
    assert.equal(last("automem").started, 0);
    const connection = last("automem");
    let connected: () => void = () => undefined;
    connection.attempt = new Promise((resolve) => {
      connected = resolve;
    });
    connection.state = "connecting";
    connection.catalogue = undefined;
    const call = manager.callTool("automem", "recall", ["x"]);
    await eventually(() => connection.started === 1, "the connection is started");
    connection.state = "connected";
    connection.catalogue = TOOLS;
    connected();
    assert.deepEqual(await call, { query: "x" });
  });

  it("is checked against the tools that the server has once it is connected, and its lists", async () => {
    const { last, manager } = setUp({ automem: { settings: { tools: { allow: "readOnly", deny: [] } } } });
    const connection = last("automem");
    const arrive = (): void => {
      connection.state = "connected";
      connection.catalogue = TOOLS;
    };
    connection.attempt = Promise.resolve().then(arrive);
    connection.state = "connecting";
    assert.equal((await failureOf(manager.callTool("automem", "delete-memory"))).code, "TOOL_DENIED");
    assert.deepEqual(connection.sent, []);
    assert.deepEqual(await manager.callTool("automem", "recall_memory"), {});
  });

  it("whose time is over while it waits for its turn was not sent, and says so", async () => {
    const { last, manager } = setUp({
      automem: { settings: { rateLimit: { requestsPerMinute: 100, maxConcurrent: 1 } }, catalogue: TOOLS },
    });
    let release: () => void = () => undefined;
    last("automem").answer = () =>
      new Promise((resolve) => {
        release = () => {
          resolve(replyOf("done"));
        };
      });
    const first = manager.callTool("automem", "recall_memory");
    await eventually(() => last("automem").sent.length === 1, "the first is sent");
    const failure = await failureOf(manager.callTool("automem", "recall_memory", {}, { timeoutMs: 20 }));
    assert.deepEqual([failure.code, failure.data], ["TIMEOUT", { sent: false }]);
    const stop = new AbortController();
    const second = failureOf(manager.callTool("automem", "recall_memory", {}, { signal: stop.signal }));
    stop.abort();
    assert.deepEqual([(await second).code, (await second).data], ["CANCELLED", { sent: false }]);
    assert.equal(last("automem").sent.length, 1);
    release();
    assert.equal(await first, "done");
  });
});

describe("client-manager: a server that is down", () => {
  const DOWN = { automem: { settings: AUTOMEM } };

  it("has its configured answer given, marked as a mock whatever is configured, and counted", async () => {
    const { audited, manager } = setUp(DOWN);
    assert.deepEqual(await manager.callTool("automem", "store_memory", ["text", 0.7, ["tag"]]), { mock: true, stored: false });
    assert.deepEqual(await manager.callTool("automem", "recall", ["q", 5]), { mock: true, results: [] });
    assert.deepEqual(
      audited.map((event) => event.type === "tool.call" && event.outcome),
      ["fallback", "fallback"],
    );
    const [status] = manager.status();
    assert.deepEqual([status!.calls.fallback, status!.calls.fallbackPercent, status!.calls.successRate], [2, 100, 0]);
  });

  it("gives each caller an answer of its own", async () => {
    const { manager } = setUp(DOWN);
    const first = (await manager.callTool("automem", "recall", ["q"])) as { results: unknown[] };
    first.results.push("changed");
    assert.deepEqual(await manager.callTool("automem", "recall", ["q"]), { mock: true, results: [] });
  });

  it("is a failure for a tool without an answer, without one by the configuration or the options, and when disabled", async () => {
    for (const [settings, options, tool] of [
      [AUTOMEM, {}, "update_memory"],
      [AUTOMEM, { fallbackToMock: false }, "recall"],
      [{ ...AUTOMEM, fallback: { ...AUTOMEM.fallback!, mode: "error" } }, {}, "recall"],
      [{ ...AUTOMEM, enabled: false }, {}, "recall"],
      [AUTOMEM, {}, "toString"],
    ] as const) {
      const { last, manager } = setUp({ automem: { settings } }, options);
      last("automem").lastError = "spawn /srv/secret ENOENT";
      const failure = await failureOf(manager.callTool("automem", tool, []));
      assert.equal(failure.code, "TOOL_UNAVAILABLE");
      assert.ok(!failure.message.includes("/srv"), "why is for operators");
    }
  });

  it("still has mistakes refused, and what the lists keep away", async () => {
    const { manager } = setUp(DOWN);
    assert.equal((await failureOf(manager.callTool("automem", "recall", [1, 2, 3]))).code, "INVALID_ARGUMENTS");
    assert.equal((await failureOf(manager.callTool("automem", "delete-memory"))).code, "TOOL_DENIED");
    const known = automem();
    known.last("automem").state = "down";
    assert.equal((await failureOf(known.manager.callTool("automem", "store_memory", [5]))).code, "INVALID_ARGUMENTS");
  });

  it("is never stood in for when the call may have been sent", async () => {
    const { last, manager } = automem();
    for (const code of ["CONNECTION_LOST", "TIMEOUT", "SERVER_ERROR", "RESULT_TOO_LARGE"] as const) {
      last("automem").answer = () => {
        throw new ToolFailure({ code, server: "automem", tool: "store_memory", message: "as the connection says" });
      };
      assert.equal((await failureOf(manager.callTool("automem", "store_memory", ["x"]))).code, code);
    }
    last("automem").answer = () => {
      throw new ToolFailure({ code: "TOOL_UNAVAILABLE", server: "automem", tool: "store_memory", message: "not sent" });
    };
    assert.deepEqual(await manager.callTool("automem", "store_memory", ["x"]), { mock: true, stored: false }, "nothing was sent here");
  });

  it("is asked again as soon as it is back", async () => {
    const { last, manager } = automem();
    last("automem").state = "down";
    assert.deepEqual(await manager.callTool("automem", "recall", ["x"]), { mock: true, results: [] });
    last("automem").state = "connected";
    assert.deepEqual(await manager.callTool("automem", "recall", ["x"]), { query: "x" });
  });

  it("has its words of programs counted together", async () => {
    const { manager } = setUp({ automem: {} });
    for (let index = 0; index < 50; index += 1) await failureOf(manager.callTool("automem", `made-up-${index}`));
    assert.deepEqual(Object.keys(manager.status()[0]!.calls.byTool), ["(unknown)"]);
  });
});

describe("client-manager: servers at run time", () => {
  it("are turned off and on, one connection after the other", async () => {
    const { last, manager, opened } = automem();
    manager.start();
    const first = last("automem");
    let ended: () => void = () => undefined;
    first.ending = new Promise((resolve) => {
      ended = resolve;
    });
    const disabling = manager.disable("automem");
    const enabling = manager.enable("automem");
    await eventually(() => first.closed, "the first is told to close");
    assert.equal(
      opened.get("automem")!.at(-1)!.started,
      opened.get("automem")!.length === 1 ? 1 : 0,
      "nothing is started before it is gone",
    );
    ended();
    await disabling;
    assert.equal((await enabling).state, "connected");
    const all = opened.get("automem")!;
    assert.deepEqual(
      all.map(({ closed, definition, started }) => [definition.enabled, closed, started > 0]),
      [
        [true, true, true],
        [false, true, false],
        [true, false, true],
      ],
    );
  });

  it("keep what an operator made of them over a reload that says nothing else of it", async () => {
    const { manager } = automem();
    await manager.disable("automem");
    const definition = defineServer("automem", { transport: undefined, ...AUTOMEM }, 30_000);
    await manager.replaceServers(new Map([["automem", definition]]));
    assert.equal(manager.status()[0]!.state, "disabled");
    await manager.replaceServers(new Map([["automem", { ...definition, enabled: false }]]));
    await manager.replaceServers(new Map([["automem", definition]]));
    assert.equal(manager.status()[0]!.state, "connected");
  });

  it("keep their connection when they stay the same, or only their lists change, which count at once", async () => {
    const { manager, opened } = automem();
    manager.start();
    const settings = { transport: undefined, ...AUTOMEM };
    await manager.replaceServers(new Map([["automem", settings]]));
    await manager.replaceServers(new Map([["automem", { ...settings, tools: { allow: ["store_*"], deny: [] }, aliases: {} }]]));
    assert.equal(opened.get("automem")!.length, 1);
    assert.equal((await failureOf(manager.callTool("automem", "recall_memory"))).code, "TOOL_DENIED");
    await manager.replaceServers(new Map([["automem", { ...settings, timeoutMs: 77 }]]));
    assert.equal(opened.get("automem")!.length, 2);
    assert.ok(opened.get("automem")![0]!.closed);
  });

  it("come and go", async () => {
    const { last, manager, opened } = setUp({ one: { catalogue: TOOLS }, two: { catalogue: TOOLS } });
    manager.start();
    const one = last("one");
    await manager.replaceServers(
      new Map([
        ["two", { transport: undefined }],
        ["three", { transport: undefined }],
      ]),
    );
    assert.ok(one.closed);
    assert.deepEqual(
      manager.status().map(({ name }) => name),
      ["two", "three"],
    );
    assert.equal(last("three").started > 0, true);
    assert.equal((await failureOf(manager.callTool("one", "recall_memory"))).code, "TOOL_NOT_FOUND");
    await manager.close();
    assert.ok([...opened.values()].flat().every(({ closed }) => closed));
    await manager.replaceServers(new Map([["four", { transport: undefined }]]));
    assert.equal(opened.has("four"), false, "nothing comes after the end");
  });

  it("are told with their tools, what keeps those away, and names that are taken", () => {
    const catalogue = {
      ...catalogueOf(toolNamed("a-b"), toolNamed("a.b"), toolNamed("delete")),
      hidden: [{ name: "odd", reason: "no schema" }],
    };
    const { manager } = setUp({
      "my server": { settings: { tools: { allow: ["a*"], deny: [] }, aliases: { x: "a.b", y: "gone" } }, catalogue },
      my_server: { catalogue },
      process: { catalogue },
    });
    const [status, , taken] = manager.status();
    assert.deepEqual([status!.namespace, taken!.namespace], [null, "process_"]);
    assert.deepEqual(status!.tools, [
      { name: "a-b", allowed: true },
      { name: "a.b", allowed: true },
      { name: "delete", allowed: false, setting: "mcpServers.my server.tools.allow" },
    ]);
    assert.deepEqual(status!.hidden, [
      { name: "odd", reason: "no schema" },
      { name: "y", reason: 'an alias of "gone", which the server does not have' },
    ]);
    assert.deepEqual(status!.collisions, [{ tool: "a.b", name: "a_b", takenBy: "a-b" }]);
    assert.deepEqual(
      manager
        .tools([["process.*"]])
        .map(({ allowed, functions, namespace, server, setting }) => [server, namespace, functions, allowed, setting]),
      [
        ["my server", null, [], false, "the key's tools"],
        ["my server", null, [], false, "the key's tools"],
        ["my server", null, [], false, "mcpServers.my server.tools.allow"],
        ["my_server", "my_server", ["a_b"], false, "the key's tools"],
        ["my_server", "my_server", [], false, "the key's tools"],
        ["my_server", "my_server", ["delete_"], false, "the key's tools"],
        ["process", "process_", ["a_b"], true, undefined],
        ["process", "process_", [], true, undefined],
        ["process", "process_", ["delete_"], true, undefined],
      ],
    );
    assert.doesNotThrow(() => JSON.stringify(manager.status()));
  });
});
