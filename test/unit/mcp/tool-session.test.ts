import assert from "node:assert/strict";
import { setMaxListeners } from "node:events";

import type { AuditEvent } from "../../../src/domain/audit-event.ts";
import type { ServerSettings } from "../../../src/domain/mcp-server.ts";
import type { ToolAnswer, ToolCallRecord } from "../../../src/domain/tool-call.ts";
import type { ToolErrorCode } from "../../../src/domain/tool-error.ts";
import type { ToolOrder, ToolSession } from "../../../src/execution/tool-access.ts";
import { MCPClientManager } from "../../../src/mcp/client-manager.ts";
import type { Catalogue } from "../../../src/mcp/catalogue.ts";
import { eventually } from "../support/eventually.ts";
import { catalogueOf, FakeConnection, replyOf, toolNamed } from "../support/fake-connection.ts";

const TOOLS = catalogueOf(toolNamed("echo"), toolNamed("get-sum"), toolNamed("delete_all"));
const OPEN: Partial<ServerSettings> = { rateLimit: { requestsPerMinute: 1_000_000, maxConcurrent: 1000 } };
const NEVER = new AbortController().signal;
setMaxListeners(0, NEVER);

interface Setup {
  readonly manager: MCPClientManager;
  readonly connection: (name: string) => FakeConnection;
  readonly audited: AuditEvent[];
  readonly seen: ToolCallRecord[];
  readonly open: (order?: Partial<ToolOrder>) => ToolSession;
}

function setUp(
  servers: Record<string, { settings?: Partial<ServerSettings>; catalogue?: Catalogue }> = { lab: { catalogue: TOOLS } },
): Setup {
  const connections = new Map<string, FakeConnection>();
  const audited: AuditEvent[] = [];
  const seen: ToolCallRecord[] = [];
  const manager = new MCPClientManager({
    servers: new Map(Object.entries(servers).map(([name, { settings }]) => [name, { transport: undefined, ...OPEN, ...settings }])),
    audit: { record: (event) => audited.push(event) },
    openConnection: (definition) => {
      const connection = new FakeConnection(definition, servers[definition.name]?.catalogue);
      connections.set(definition.name, connection);
      return connection;
    },
  });
  const open = (order: Partial<ToolOrder> = {}): ToolSession =>
    manager.open({ executionId: "exe_1", who: "ann", allowed: [undefined, undefined], onCall: (call) => seen.push(call), ...order });
  return { manager, connection: (name) => connections.get(name)!, audited, seen, open };
}

const call = (
  session: ToolSession,
  server: string,
  tool: string,
  named: Record<string, unknown> = {},
  signal = NEVER,
): Promise<ToolAnswer> => session.call({ server, tool, arguments: { named }, sizeBytes: JSON.stringify(named).length }, { signal });
const codeOf = (answer: ToolAnswer): ToolErrorCode | "ok" => (answer.ok ? "ok" : answer.error.code);

/** Has the server answer when the test says so. */
function held(connection: FakeConnection): { release: () => void } {
  const waiting: (() => void)[] = [];
  connection.answer = ({ args }) =>
    new Promise((resolve) => {
      waiting.push(() => {
        resolve(replyOf(args));
      });
    });
  return {
    release: () => {
      for (const one of waiting.splice(0)) one();
    },
  };
}

describe("tool-session: what a program finds", () => {
  const THREE = {
    lab: { catalogue: TOOLS, settings: { tools: { allow: ["*"], deny: ["delete_*"] } } },
    other: { catalogue: TOOLS },
    new: {},
  } as const;

  for (const [title, allowed, namespaces] of [
    [
      "is all that the servers' lists let through",
      [undefined, undefined],
      { lab: ["echo", "get_sum"], other: ["echo", "get_sum", "delete_all"], new_: [] },
    ],
    ["is narrowed by the key", [["lab.*"], undefined], { lab: ["echo", "get_sum"] }],
    ["is narrowed by the request", [undefined, ["*.get-sum"]], { lab: ["get_sum"], other: ["get_sum"], new_: [] }],
    ["is narrowed by both", [["lab.*", "other.echo"], ["*.echo"]], { lab: ["echo"], other: ["echo"] }],
    ["is nothing where the list is empty", [[], undefined], {}],
  ] as const) {
    it(title, () => {
      const session = setUp(THREE).open({ allowed });
      assert.deepEqual(Object.fromEntries(session.namespaces.map(({ functions, namespace }) => [namespace, functions])), namespaces);
    });
  }

  it("is refused when it is called all the same, with the setting", async () => {
    const { audited, connection, open } = setUp(THREE);
    const session = open({ allowed: [["lab.*"], ["lab.echo"]] });
    for (const [server, tool] of [
      ["lab", "delete_all"],
      ["lab", "get_sum"],
      ["other", "echo"],
      ["other", "echo"],
    ] as const)
      assert.equal(codeOf(await call(session, server, tool)), "TOOL_DENIED");
    assert.equal(codeOf(await call(session, "lab", "echo")), "ok");
    assert.deepEqual(session.denials, [
      { kind: "tool", what: "lab.delete_all", setting: "mcpServers.lab.tools.deny" },
      { kind: "tool", what: "lab.get-sum", setting: "the request's tools" },
      { kind: "tool", what: "other.echo", setting: "the key's tools", count: 2 },
    ]);
    assert.deepEqual(connection("other").sent, []);
    assert.equal(audited.filter((event) => event.type === "tool.call" && event.outcome === "denied").length, 4);
    await session.close();
  });
});

describe("tool-session: calls", () => {
  it("are listed in the order in which they end, told, and written down, each once", async () => {
    const { audited, open, seen } = setUp();
    const session = open();
    await call(session, "lab", "echo", { a: 1 });
    await call(session, "lab", "nothing");
    await session.close();
    assert.deepEqual(
      session.calls.map(({ durationMs, ...rest }) => (assert.ok(durationMs >= 0), rest)),
      [
        { server: "lab", tool: "echo", outcome: "ok" },
        { server: "lab", tool: "nothing", outcome: "error", errorCode: "TOOL_NOT_FOUND" },
      ],
    );
    assert.deepEqual(seen, session.calls);
    assert.deepEqual(
      audited.map((event) => event.type === "tool.call" && [event.executionId, event.who, event.requestBytes, event.resultBytes]),
      [
        ["exe_1", "ann", 7, 7],
        ["exe_1", "ann", 2, 0],
      ],
    );
  });

  it("are added up exactly beyond the first thousand, in a bounded list", async () => {
    const { open, seen } = setUp();
    const session = open();
    for (let index = 0; index < 1000; index += 1) await call(session, "lab", "echo");
    for (let index = 0; index < 20; index += 1) await call(session, "lab", "get_sum");
    for (let index = 0; index < 500; index += 1) await call(session, "lab", `made up ${index}`);
    const rest = session.calls.slice(1000);
    assert.equal(seen.length, 1000);
    assert.equal(rest[0]!.count, 20);
    assert.ok(rest.length <= 258, String(rest.length));
    assert.equal(
      rest.reduce((sum, { count }) => sum + count!, 0),
      520,
    );
    assert.deepEqual([rest.at(-1)!.server, rest.at(-1)!.tool, rest.at(-1)!.count], ["others", "others", 245]);
    await session.close();
  });

  it("have their refusals added up in a bounded list", async () => {
    const session = setUp({ lab: {} }).open({ allowed: [["other.*"]] });
    for (let index = 0; index < 300; index += 1) await call(session, "lab", `tool-${index % 200}`);
    assert.equal(session.denials.length, 129);
    assert.deepEqual(session.denials.at(-1), { kind: "tool", what: "others", setting: "the key's tools", count: 72 });
    assert.equal(
      session.denials.reduce((sum, { count = 1 }) => sum + count, 0),
      300,
    );
    await session.close();
  });

  it("are five hundred at once, of which sixty-four are under way", async () => {
    const { connection, open } = setUp();
    const { release } = held(connection("lab"));
    const session = open();
    const answers = Array.from({ length: 500 }, (_, index) => call(session, "lab", "echo", { index }));
    await eventually(() => connection("lab").sent.length === 64, "as many as may be are sent");
    let done = 0;
    for (const answer of answers) void answer.then(() => (done += 1));
    await eventually(() => (release(), done === 500), "all are answered");
    assert.deepEqual(
      (await Promise.all(answers)).map((answer) => answer.ok && answer.value),
      Array.from({ length: 500 }, (_, index) => ({ index })),
    );
    await session.close();
  });

  it("are refused beyond ten thousand that wait, or a mass of arguments", async () => {
    const { connection, open } = setUp();
    held(connection("lab"));
    const session = open();
    const waiting = Array.from({ length: 10_000 }, () => call(session, "lab", "echo"));
    const answer = await call(session, "lab", "echo");
    assert.ok(!answer.ok && answer.error.code === "TOO_MANY_CALLS" && answer.error.message.includes("10000 calls"), JSON.stringify(answer));
    await session.close();
    assert.ok((await Promise.all(waiting)).every((one) => codeOf(one) === "CANCELLED"));
    const heavy = open({ executionId: "exe_2" });
    const sizeBytes = 40 * 1024 * 1024;
    const request = { server: "lab", tool: "echo", arguments: { named: {} }, sizeBytes };
    const first = heavy.call(request, { signal: NEVER });
    assert.equal(codeOf(await heavy.call(request, { signal: NEVER })), "TOO_MANY_CALLS");
    assert.equal(codeOf(await first), "PAYLOAD_TOO_LARGE");
    await heavy.close();
  });

  it("of one program do not make another's single call wait for all of them", async () => {
    const { connection, open } = setUp({
      lab: { catalogue: TOOLS, settings: { rateLimit: { requestsPerMinute: 1000, maxConcurrent: 1 } } },
    });
    const { release } = held(connection("lab"));
    const crowd = open();
    const single = open({ executionId: "exe_2" });
    const many = Array.from({ length: 20 }, (_, index) => call(crowd, "lab", "echo", { index }));
    await eventually(() => connection("lab").sent.length === 1, "the first is sent");
    const one = call(single, "lab", "echo", { single: true });
    release();
    await eventually(() => connection("lab").sent.length === 2, "the next is sent");
    assert.deepEqual(connection("lab").sent[1]!.args, { single: true });
    release();
    assert.equal(codeOf(await one), "ok");
    await crowd.close();
    await Promise.all(many);
    await single.close();
  });
});

describe("tool-session: the end", () => {
  it("cancels what is under way and what waits; each is recorded before it is over", async () => {
    const { connection, open, seen } = setUp({
      lab: { catalogue: TOOLS, settings: { rateLimit: { requestsPerMinute: 100, maxConcurrent: 1 } } },
    });
    held(connection("lab"));
    const session = open();
    const calls = [call(session, "lab", "echo"), call(session, "lab", "echo"), call(session, "lab", "echo")];
    await eventually(() => connection("lab").sent.length === 1, "the first is sent");
    session.programEnded();
    const closing = session.close();
    assert.equal(session.close(), closing);
    await closing;
    assert.deepEqual(
      session.calls.map(({ afterEnd, errorCode }) => [errorCode, afterEnd]),
      Array.from({ length: 3 }, () => ["CANCELLED", true]),
    );
    assert.equal(seen.length, 3);
    assert.deepEqual((await Promise.all(calls)).map(codeOf), ["CANCELLED", "CANCELLED", "CANCELLED"]);
    assert.equal(codeOf(await call(session, "lab", "echo")), "CANCELLED");
    assert.equal(session.calls.length, 3, "what comes after it is refused, and no part of the execution");
  });

  it("does not cancel another's calls, nor mark those that ended before", async () => {
    const { connection, open } = setUp();
    const session = open();
    const other = open({ executionId: "exe_2" });
    await call(session, "lab", "echo");
    const { release } = held(connection("lab"));
    const late = call(other, "lab", "echo");
    await eventually(() => connection("lab").sent.length === 2, "it is sent");
    session.programEnded();
    await session.close();
    assert.equal(session.calls[0]!.afterEnd, undefined);
    release();
    assert.equal(codeOf(await late), "ok");
    await other.close();
  });

  it("has nothing left of the signals of two thousand calls", async () => {
    const { open } = setUp();
    const session = open();
    const { signal } = new AbortController();
    let listeners = 0;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners += 1;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners -= 1;
      remove(...args);
    };
    for (let index = 0; index < 2000; index += 1) await call(session, "lab", "echo", {}, signal);
    assert.equal(listeners, 0);
    await session.close();
  });

  it("is told of an answer that was a mock", async () => {
    const { connection, open } = setUp({
      lab: { catalogue: TOOLS, settings: { fallback: { mode: "mock", responses: { echo: { mock: true } } } } },
    });
    const session = open();
    await call(session, "lab", "echo");
    assert.equal(session.degraded, false);
    connection("lab").state = "down";
    assert.deepEqual(await call(session, "lab", "echo"), { ok: true, value: { mock: true } });
    assert.deepEqual([session.degraded, session.calls[1]!.outcome], [true, "fallback"]);
    connection("lab").state = "connected";
    assert.deepEqual(await call(session, "lab", "echo", { a: 1 }), { ok: true, value: { a: 1 } });
    await session.close();
  });
});
