/** `/v1/servers` and `/v1/tools`: what a key gets to see of servers and tools, and commands to servers. */

import assert from "node:assert/strict";

import { z } from "zod";

import { serverStatusSchema, toolDescriptionSchema } from "../../../src/domain/server-status.ts";
import type { ServerStatus } from "../../../src/domain/server-status.ts";
import { serverSummarySchema } from "../../../src/http/servers-routes.ts";
import { listedToolSchema } from "../../../src/http/tools-routes.ts";
import { eventually } from "../support/eventually.ts";
import { errorOf, HttpService } from "../support/http-service.ts";
import type { Answer, TestKey } from "../support/http-service.ts";
import { FakeServers, serverStatusOf, toolOf } from "../support/tool-servers.ts";

const KEYS: readonly TestKey[] = [
  { name: "all", key: "all-0123456789abcdef", scopes: ["execute"] },
  { name: "reader", key: "reader-0123456789abcdef", scopes: ["execute"], tools: ["memory.read*", "old.*"] },
  { name: "alias", key: "alias-0123456789abcdef", scopes: ["execute"], tools: ["memory.look"] },
  { name: "none", key: "none-0123456789abcdef", scopes: ["execute"], tools: [] },
  { name: "admin", key: "admin-0123456789abcdef", scopes: ["admin"], tools: ["memory.read*"] },
];
const as = (name: string): Record<string, string> => ({ Authorization: `Bearer ${name}-0123456789abcdef` });

const SERVERS = [
  serverStatusOf("memory", {
    hidden: [{ name: "read_broken", reason: "its schema is none" }],
    collisions: [{ tool: "wipe.all", name: "wipe_all", takenBy: "wipe-all" }],
  }),
  serverStatusOf("Help Desk v1.2", { state: "degraded", reason: "slow" }),
  serverStatusOf("old", { state: "down", reason: "OLD_TOKEN is not set" }),
];
const TOOLS = [
  toolOf("memory", "read_graph", { aliases: ["look"] }),
  toolOf("memory", "delete.graph", { allowed: false, setting: "mcpServers.memory.tools.deny" }),
  toolOf("memory", "create", {
    description: "\u001b[2J <script>\u2028",
    inputSchema: { properties: JSON.parse('{"__proto__": {"const": "\\u202e"}}') as object },
  }),
  toolOf("Help Desk v1.2", "list tickets/open"),
];

describe("http servers: what a key sees", () => {
  let service: HttpService;
  before(async () => {
    service = await HttpService.start({ keys: KEYS, tools: new FakeServers(SERVERS, TOOLS) });
  });
  after(() => service.close());
  const get = (path: string, key: string): Promise<Answer> => service.send(path, { headers: as(key) });
  const listServers = async (key: string): Promise<z.infer<typeof serverSummarySchema>[]> =>
    z.strictObject({ servers: z.array(serverSummarySchema.strict()) }).parse((await get("/v1/servers", key)).json).servers;
  const listTools = async (key: string, query = ""): Promise<string[]> =>
    z
      .strictObject({ tools: z.array(listedToolSchema.strict()) })
      .parse((await get(`/v1/tools${query}`, key)).json)
      .tools.map(({ name }) => name);
  const server = async (key: string, name: string): Promise<ServerStatus> => {
    const answer = await get(`/v1/servers/${name}`, key);
    assert.equal(answer.status, 200, answer.text);
    return serverStatusSchema.strict().parse(answer.json);
  };

  it("are all servers for one without a list, each with its state and why", async () => {
    assert.deepEqual(
      (await listServers("all")).map(({ name, reason, state }) => [name, state, reason]),
      [
        ["memory", "connected", undefined],
        ["Help Desk v1.2", "degraded", "slow"],
        ["old", "down", "OLD_TOKEN is not set"],
      ],
    );
    const { calls, tools } = await server("all", "memory");
    assert.deepEqual(Object.keys(calls.byTool), ["read_graph", "delete.graph", "create"]);
    assert.deepEqual(
      tools.map(({ allowed }) => allowed),
      [true, false, true],
    );
  });

  it("are the tools that its list allows, and the servers that these may be of; the rest does not exist", async () => {
    assert.deepEqual(await listTools("all"), ["read_graph", "create", "list tickets/open"]);
    for (const [key, tools, servers] of [
      ["reader", ["read_graph"], ["memory", "old"]],
      ["alias", ["read_graph"], ["memory"]],
      ["none", [], []],
    ] as const) {
      assert.deepEqual(await listTools(key), tools, key);
      assert.deepEqual(
        (await listServers(key)).map(({ name }) => name),
        servers,
        key,
      );
    }
    const seen = await server("reader", "memory");
    assert.deepEqual(
      [seen.tools.map(({ name }) => name), seen.hidden.map(({ name }) => name), seen.collisions, Object.keys(seen.calls.byTool)],
      [["read_graph"], ["read_broken"], [], ["read_graph"]],
    );
    for (const path of ["/v1/servers/Help%20Desk%20v1.2", "/v1/tools/memory/create", "/v1/tools?server=Help_Desk_v1_2"]) {
      const hidden = errorOf(await get(path, "reader"), 404, "NOT_FOUND").message;
      assert.doesNotMatch(hidden, /Did you mean/, path);
      assert.equal((await get(path, "all")).status, 200, path);
    }
  });

  it("is everything of the servers for an admin, who operates them, and of the tools what its own list allows", async () => {
    assert.equal((await listServers("admin")).length, 3);
    assert.equal((await server("admin", "memory")).tools.length, 3);
    assert.deepEqual(await listTools("admin"), ["read_graph"]);
  });

  it("shows in the details of health as well", async () => {
    for (const [key, names] of [
      ["all", ["memory", "Help Desk v1.2", "old"]],
      ["alias", ["memory"]],
    ] as const) {
      const { servers, status } = (await get("/health", key)).json as { servers: { name: string }[]; status: string };
      assert.deepEqual([status, servers.map(({ name }) => name)], ["degraded", names]);
    }
    const ready = await service.send("/readyz");
    assert.deepEqual([ready.status, ready.json, (await service.send("/health")).status], [200, { status: "ok" }, 200]);
  });

  it("finds servers and tools by every name that they have, whatever characters it is made of", async () => {
    for (const name of ["Help%20Desk%20v1.2", "Help_Desk_v1_2"]) {
      assert.equal((await server("all", name)).name, "Help Desk v1.2");
      for (const tool of ["list%20tickets%2Fopen", "list_tickets_open"]) {
        const { json, status } = await get(`/v1/tools/${name}/${tool}`, "all");
        assert.deepEqual([status, toolDescriptionSchema.strict().parse(json).name], [200, "list tickets/open"]);
      }
    }
    for (const tool of ["read_graph", "look"]) assert.equal((await get(`/v1/tools/memory/${tool}`, "all")).status, 200, tool);
    const denied = toolDescriptionSchema.parse((await get("/v1/tools/memory/delete_graph", "all")).json);
    assert.deepEqual([denied.allowed, denied.setting], [false, "mcpServers.memory.tools.deny"]);
    assert.deepEqual(await listTools("all", "?server=Help_Desk_v1_2"), ["list tickets/open"]);
  });

  for (const [path, status, code, message] of [
    ["/v1/servers/memroy", 404, "NOT_FOUND", /^There is no server "memroy"\. Did you mean "memory"\?$/],
    ["/v1/servers/__proto__", 404, "NOT_FOUND", /^There is no server "__proto__"\.$/],
    [
      "/v1/tools/memory/read_grahp",
      404,
      "NOT_FOUND",
      /^There is no tool "read_grahp" of the server "memory"\. Did you mean "read_graph"\?$/,
    ],
    ["/v1/tools/old/x", 404, "NOT_FOUND", /it is down and has told of no tools yet: OLD_TOKEN is not set\.$/],
    ["/v1/tools/none/x", 404, "NOT_FOUND", /^There is no server "none"/],
    ["/v1/tools?server=none", 404, "NOT_FOUND", /^There is no server "none"/],
    ["/v1/tools?servers=memory", 400, "INVALID_REQUEST", /servers/],
    ["/v1/servers?state=down", 400, "INVALID_REQUEST", /state/],
    ["/v1/servers/%ff", 400, "INVALID_REQUEST", /no valid URL path/],
    ["/v1/servers/memory/restart", 404, "NOT_FOUND", /There is nothing at/],
  ] as const) {
    it(`${path} is ${code}, which says what to change`, async () => {
      assert.match(errorOf(await get(path, "all"), status, code).message, message);
    });
  }

  it("other methods are refused with those that there are", async () => {
    for (const [method, path, allow] of [
      ["POST", "/v1/servers", "GET"],
      ["DELETE", "/v1/servers/memory", "GET"],
      ["GET", "/v1/servers/memory/reconnect", "POST"],
      ["POST", "/v1/tools", "GET"],
      ["PUT", "/v1/tools/memory/create", "GET"],
    ] as const) {
      const answer = await service.send(path, { method, headers: as("all") });
      errorOf(answer, 405, "METHOD_NOT_ALLOWED");
      assert.equal(answer.headers.allow, allow, path);
    }
  });

  it("what servers say of themselves is JSON and nothing else", async () => {
    const answer = await get("/v1/tools", "all");
    assert.match(answer.headers["content-type"]!, /^application\/json/);
    assert.equal(answer.headers["x-content-type-options"], "nosniff");
    const { tools } = answer.json as { tools: { name: string; description: string; inputSchema: object }[] };
    const tool = tools.find(({ name }) => name === "create")!;
    assert.deepEqual([tool.description, tool.inputSchema], [TOOLS[2]!.description, TOOLS[2]!.inputSchema]);
    assert.doesNotMatch(answer.text, /\p{Cc}/u);
  });
});

describe("http servers: commands", () => {
  let service: HttpService;
  let servers: FakeServers;
  beforeEach(async () => {
    servers = new FakeServers(SERVERS, TOOLS);
    service = await HttpService.start({ keys: KEYS, tools: servers });
  });
  afterEach(() => service.close());
  const command = (name: string, verb: string, key = "admin"): Promise<Answer> =>
    service.send(`/v1/servers/${name}/${verb}`, { method: "POST", headers: as(key) });

  it("answer with how the server is then, and are kept with who gave them", async () => {
    for (const [verb, state] of [
      ["disable", "disabled"],
      ["enable", "connected"],
      ["reconnect", "connected"],
    ] as const) {
      const answer = await command("Help_Desk_v1_2", verb);
      assert.deepEqual([answer.status, serverStatusSchema.strict().parse(answer.json).state], [200, state], verb);
    }
    assert.deepEqual(
      service.audited,
      ["disable", "enable", "reconnect"].map((verb) => ({ type: "server.command", who: "admin", server: "Help Desk v1.2", command: verb })),
    );
  });

  it("answer after waitMs at the latest, and go on", async () => {
    let open = (): void => undefined;
    servers.gate = new Promise((resolve) => (open = resolve));
    const answer = await command("old", "enable?waitMs=20");
    assert.deepEqual([answer.status, (answer.json as ServerStatus).state], [200, "down"]);
    open();
    await eventually(() => servers.status().every(({ state }) => state !== "down"), "it is enabled");
    errorOf(await command("old", "enable?waitMs=60001"), 400, "INVALID_REQUEST");
  });

  it("are for admins; what is refused does nothing", async () => {
    errorOf(await command("memory", "disable", "all"), 403, "FORBIDDEN");
    errorOf(await command("memroy", "disable"), 404, "NOT_FOUND");
    assert.deepEqual(
      service.audited.map((event) => [event.type, "who" in event ? event.who : undefined]),
      [["request.refused", "all"]],
    );
    assert.deepEqual(
      servers.status().map(({ state }) => state),
      ["connected", "degraded", "down"],
    );
  });
});
