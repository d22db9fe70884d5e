/** Connections to servers over HTTP: what becomes of calls whose answer cannot come, of sessions, and of redirects. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";

import type { ServerTransport } from "../../src/domain/mcp-server.ts";
import { answerJson, answerStream, ScriptedHttpServer } from "../fixtures/mcp/http-server.ts";
import { assertFailure, connected, useConnections } from "../helpers/mcp-connections.ts";
import type { Watched } from "../helpers/mcp-connections.ts";
import { eventually } from "../unit/support/eventually.ts";

describe("MCP Integration: servers over HTTP", () => {
  const connect = useConnections();
  let server: ScriptedHttpServer;
  const at = (more: Partial<Extract<ServerTransport, { kind: "http" | "sse" }>> = {}): ServerTransport => ({
    kind: "http",
    url: server.url,
    headers: { "X-API-Key": "the key" },
    ...more,
  });

  beforeEach(async () => {
    server = new ScriptedHttpServer();
    await server.open();
  });
  afterEach(() => server.close());

  /** How often the call reached the server: what is lost is not sent again. */
  const callsOf = (tool: string): number => server.seen.filter(({ message }) => message?.params?.name === tool).length;

  async function failsAtOnce(watched: Watched, tool: string): Promise<ReturnType<Watched["failure"]>> {
    const startedAt = performance.now();
    const failure = await watched.failure(tool);
    assert.ok(performance.now() - startedAt < 2000, "it waited");
    assert.equal(callsOf(tool), 1);
    return failure;
  }

  describe("a call whose answer cannot come is lost at once, sent once, and the others work", () => {
    const losses: Readonly<Record<string, Parameters<ScriptedHttpServer["tools"]["set"]>[1]>> = {
      "a 202 instead of an answer": (response) => response.writeHead(202).end(),
      "a stream that ends without the answer": (response) => {
        answerStream(response);
      },
      "a stream that breaks": (response) => {
        response.writeHead(200, { "content-type": "text/event-stream" }).write(": begun\n\n", () => response.destroy());
      },
      "a connection that breaks before the answer": (response) => response.destroy(),
      "an answer in JSON that breaks off": (response) => {
        response.writeHead(200, { "content-type": "application/json", "content-length": "100" }).write("{", () => response.destroy());
      },
      "an answer to another request": (response, { id }) => {
        answerJson(response, id! + 1000, {});
      },
      "a page for people": (response) => response.writeHead(200, { "content-type": "text/html" }).end("<p>log in</p>"),
      "a fault of a gateway": (response) => response.writeHead(502).end("bad gateway"),
    };
    for (const [what, responder] of Object.entries(losses))
      it(what, async () => {
        server.tools.set("lost", responder);
        const watched = await connected(connect(at()));
        assertFailure(await failsAtOnce(watched, "lost"), "CONNECTION_LOST", /may have run/);
        assert.deepEqual((await watched.call("echo", { a: 1 })).value, { a: 1 });
        assert.equal(watched.connection.status().connections, 1);
      });
  });

  it("a request that the server refuses to take is not sent, for all that programs need to know", async () => {
    for (const status of [401, 413, 429]) server.tools.set(`refused${status}`, (response) => response.writeHead(status).end("no"));
    const watched = await connected(connect(at()));
    for (const status of [401, 413, 429]) assertFailure(await failsAtOnce(watched, `refused${status}`), "TOOL_UNAVAILABLE");
  });

  it("an error of JSON-RPC is the answer, whatever the status", async () => {
    server.tools.set("wrong", (response, { id }) =>
      response
        .writeHead(403, { "content-type": "application/json" })
        .end(JSON.stringify({ jsonrpc: "2.0", id, error: { code: -32_602, message: "no such post the key", data: { id: 7 } } })),
    );
    const watched = await connected(connect(at(), { secrets: ["the key"] }));
    const failure = await failsAtOnce(watched, "wrong");
    assertFailure(failure, "SERVER_ERROR", /no such post \[redacted\]/);
    assert.deepEqual(failure.data, { code: -32_602, message: "no such post [redacted]", data: { id: 7 } });
  });

  it("an answer that is too long costs its call alone", async () => {
    server.tools.set("long", (response, { id }) => {
      answerJson(response, id, { content: [{ type: "text", text: "x".repeat(11_000_000) }] });
    });
    server.tools.set("longEvent", (response) => {
      answerStream(response, "x".repeat(11_000_000));
    });
    server.tools.set("deep", (response, { id }) =>
      response
        .writeHead(200, { "content-type": "application/json" })
        .end(`{"jsonrpc":"2.0","id":${id},"result":{"a":${"[".repeat(1e5)}${"]".repeat(1e5)}}}`),
    );
    const watched = await connected(connect(at()));
    for (const tool of ["long", "longEvent", "deep"]) assertFailure(await failsAtOnce(watched, tool), "RESULT_TOO_LARGE", /has run/);
    assert.deepEqual((await watched.call("echo", { a: 1 })).value, { a: 1 });
  });

  describe("sessions", () => {
    for (const status of [404, 400])
      it(`that are forgotten and refused with ${status} are begun anew; the call is not repeated`, async () => {
        server.staleStatus = status;
        const watched = await connected(connect(at()));
        server.sessions.clear();
        assertFailure(await watched.failure("echo", { n: 1 }), "TOOL_UNAVAILABLE", /has not run/);
        await eventually(() => watched.connection.status().connections === 2 && watched.connection.state === "connected", "a new session");
        assert.deepEqual((await watched.call("echo", { n: 2 })).value, { n: 2 });
        assert.deepEqual(
          server.seen.flatMap(({ message }) => (message?.method === "tools/call" ? [message.params?.arguments] : [])),
          [{ n: 1 }, { n: 2 }],
        );
      });

    it("are ended with the connection, without waiting for a server that does not answer", async () => {
      const first = await connected(connect(at()));
      await first.connection.close();
      assert.equal(server.count("DELETE"), 1);
      assert.equal(server.sessions.size, 0);
      const second = await connected(connect(at()));
      server.methods.set("DELETE", () => undefined);
      const startedAt = performance.now();
      await second.connection.close();
      assert.ok(performance.now() - startedAt < 4000);
    });
  });

  describe("a server that dies", () => {
    it("is noticed by the stream that listens, and connected to again", async () => {
      const watched = await connected(connect(at()));
      await eventually(() => server.listeners.size === 1, "the stream that listens");
      await server.close();
      await eventually(() => watched.states().includes("down"), "its end");
      assertFailure(await watched.failure("echo"), "TOOL_UNAVAILABLE");
      server.sessions.clear();
      await server.open();
      await eventually(() => watched.connection.state === "connected", "the next connection");
      await watched.call("echo");
    });

    it("is noticed by a call too, where nothing listens", async () => {
      server.methods.set("GET", (response) => response.writeHead(405).end());
      const watched = await connected(connect(at()));
      await eventually(() => watched.connection.status().health !== undefined, "its first ping");
      await server.close();
      // On a connection that was open: nobody knows what became of it.
      assertFailure(await watched.failure("echo"), "CONNECTION_LOST");
      await eventually(() => watched.connection.state === "down", "its end");
      assert.match(watched.connection.lastError ?? "", /ECONNREFUSED/);
      assertFailure(await watched.failure("echo"), "TOOL_UNAVAILABLE");
    });
  });

  describe("a redirect to another origin", () => {
    let elsewhere: Server;
    const leaked: unknown[] = [];
    beforeEach(async () => {
      leaked.length = 0;
      elsewhere = createServer((request, response) => {
        leaked.push(request.headers["x-api-key"]);
        response.end("{}");
      });
      await new Promise<void>((resolve) => elsewhere.listen(0, "127.0.0.1", resolve));
      const { port } = elsewhere.address() as AddressInfo;
      server.tools.set("away", (response) => response.writeHead(307, { location: `http://127.0.0.1:${port}/steal?q=1` }).end());
      server.methods.set("tools/away", (response) => response.writeHead(307, { location: `http://127.0.0.1:${port}/steal` }).end());
    });
    afterEach(() => new Promise((resolve) => elsewhere.close(resolve)));

    it("is not followed: the call was not sent, and the credentials stay", async () => {
      const watched = await connected(connect(at()));
      assertFailure(await failsAtOnce(watched, "away"), "TOOL_UNAVAILABLE");
      assert.deepEqual(leaked, []);
      const lost = watched.logged.find(({ message }) => message.includes("was lost"));
      assert.match(String(lost?.["reason"]), /redirect \(307\) to http:\/\/127\.0\.0\.1:\d+\/steal, which is not followed/);
    });

    it("takes the credentials along with a plain fetch", async () => {
      await fetch(server.url, { method: "POST", headers: { "X-API-Key": "the key" }, body: JSON.stringify({ method: "tools/away" }) });
      assert.deepEqual(leaked, ["the key"]);
    });
  });

  it("configured headers go with every request, and cannot take the place of the protocol's", async () => {
    const watched = await connected(connect(at({ headers: { "X-API-Key": "the key", "Mcp-Session-Id": "forged" } })));
    await watched.call("echo");
    assert.ok(server.seen.every(({ headers }) => headers["x-api-key"] === "the key"));
    assert.equal(server.seen.find(({ message }) => message?.method === "tools/call")?.headers["mcp-session-id"], "session-1");
  });

  it("a call that is cancelled or out of time is let go, and the server is told", async () => {
    const requests: { closed: boolean }[] = [];
    server.tools.set("slow", (response) => {
      const request = { closed: false };
      requests.push(request);
      response.on("close", () => (request.closed = true));
    });
    const watched = await connected(connect(at()));
    assertFailure(await watched.failure("slow", {}, { timeoutMs: 100 }), "TIMEOUT");
    const abort = new AbortController();
    const pending = watched.failure("slow", {}, { signal: abort.signal });
    await eventually(() => requests.length === 2, "the second call");
    abort.abort();
    assertFailure(await pending, "CANCELLED");
    await eventually(() => requests.every(({ closed }) => closed), "the end of both requests");
    assert.equal(server.count("notifications/cancelled"), 2);
  });

  it("a server that does not want the credentials is not asked in the older way", async () => {
    server.methods.set("initialize", (response) => response.writeHead(401).end());
    const watched = connect(at());
    await watched.connection.reconnect();
    assert.match(watched.connection.lastError ?? "", /HTTP 401 \(the configured credentials are missing or not accepted\)/);
    assert.equal(server.count("GET"), 0);
  });

  it("a server that knows neither way says so of both", async () => {
    server.methods.set("initialize", (response) => response.writeHead(404).end());
    server.methods.set("GET", (response) => response.writeHead(404).end());
    const watched = connect(at());
    await watched.connection.reconnect();
    assert.match(watched.connection.lastError ?? "", /^streamable HTTP: .*HTTP 404.*; SSE: .*HTTP 404/);
  });

  it("an address for messages at another origin is not used", async () => {
    server.methods.set("GET", (response) =>
      response.writeHead(200, { "content-type": "text/event-stream" }).write("event: endpoint\ndata: http://127.0.0.2:1/messages\n\n"),
    );
    const watched = connect(at({ kind: "sse" }));
    await watched.connection.reconnect();
    assert.match(watched.connection.lastError ?? "", /not at its own origin/);
  });
});
