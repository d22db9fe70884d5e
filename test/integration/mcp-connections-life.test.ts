/** The life of a connection: states, attempts, waits, health, calls in number; and the catalogue that goes with it. */

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import type { Clock } from "../../src/mcp/clock.ts";
import { assertFailure, connected, isAlive, scripted, useConnections } from "../helpers/mcp-connections.ts";
import { eventually } from "../unit/support/eventually.ts";
import { useTempFolder } from "../unit/support/temp-folder.ts";

/** Time that passes when the test says so. */
class ManualClock implements Clock {
  readonly waits: { readonly delayMs: number; readonly action: () => void }[] = [];
  time = 1_000_000;

  now(): number {
    return this.time;
  }

  after(delayMs: number, action: () => void): () => void {
    const wait = { delayMs, action };
    this.waits.push(wait);
    return () => {
      const at = this.waits.indexOf(wait);
      if (at >= 0) this.waits.splice(at, 1);
    };
  }

  /** Lets the wait that began last come to its end. */
  async end(): Promise<number> {
    await eventually(() => this.waits.length > 0, "a wait");
    const { action, delayMs } = this.waits.pop()!;
    this.time += delayMs;
    action();
    return delayMs;
  }
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const schema = { type: "object" };

describe("MCP Integration: the life of a connection", () => {
  const connect = useConnections();
  const folder = useTempFolder();
  const never = new AbortController().signal;

  describe("attempts", () => {
    it("follow each other with waits that double up to a minute, of which chance takes a part", async () => {
      const clock = new ManualClock();
      const { connection } = connect(
        { kind: "stdio", command: "no-such-command", args: [], env: {}, cwd: undefined },
        {},
        { clock, random: () => 0.5 },
      );
      connection.start();
      const waits: number[] = [];
      for (let attempt = 0; attempt < 10; attempt += 1) waits.push(await clock.end());
      assert.deepEqual(waits, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    });

    it("begin from the shortest wait again after a connection that was stable, not after a short one", async () => {
      const clock = new ManualClock();
      const watched = connect(scripted(), {}, { clock, random: () => 0.5 });
      const waitAfter = async (lastedMs: number): Promise<number> => {
        await eventually(() => watched.connection.status().health !== undefined, "the first check of this connection");
        clock.time += lastedMs;
        await watched.failure("exit", { code: 1 });
        await eventually(() => watched.connection.status().nextRetryAt !== undefined, "the wait");
        return clock.end();
      };
      watched.connection.start();
      assert.deepEqual([await waitAfter(1000), await waitAfter(1000), await waitAfter(60_000)], [250, 500, 250]);
    });

    it("never run two at once, whatever is asked for meanwhile: one process at a time", async () => {
      const log = path.join(folder(), "starts");
      const watched = connect(scripted({ ignoreTerm: true, log }));
      const { connection } = watched;
      const pids = async (): Promise<number[]> => (await readFile(log, "utf8").catch(() => "")).split("\n").filter(Boolean).map(Number);
      let most = 0;
      const look = setInterval(() => {
        void pids().then((all) => (most = Math.max(most, all.filter(isAlive).length)));
      }, 5);
      connection.start();
      connection.start();
      await Promise.all([connection.reconnect(), connection.reconnect()]);
      for (let round = 0; round < 3; round += 1)
        await Promise.all([connection.reconnect(), connection.reconnect(), connection.reconnect()]);
      await watched.call("echo");
      const closing = connection.close();
      await connection.reconnect();
      await Promise.all([closing, connection.close()]);
      clearInterval(look);
      assert.equal((await pids()).length, 4);
      assert.equal(most, 1);
      assert.deepEqual((await pids()).filter(isAlive), []);
    });

    it("are given up by close, which waits for none of them", async () => {
      const { connection } = connect(scripted({ initialize: "never" }));
      connection.start();
      const usable = connection.usable(never, 60_000);
      await connection.close();
      assert.equal(await usable, false);
      assert.equal(connection.state, "down");
    });

    it("are not made for a server that is disabled, or whose configuration has a problem", async () => {
      const disabled = connect(scripted(), { enabled: false });
      const broken = connect(scripted(), { transport: undefined, problem: "mcp-servers.json: automem: AUTOMEM_KEY is not set" });
      for (const { connection } of [disabled, broken]) {
        connection.start();
        await connection.reconnect();
        assert.equal(await connection.usable(never, 60_000), false);
      }
      assert.deepEqual([disabled.connection.state, broken.connection.state], ["disabled", "down"]);
      assert.match(broken.connection.lastError ?? "", /AUTOMEM_KEY/);
      assertFailure(await disabled.failure("echo"), "TOOL_UNAVAILABLE", /disabled/);
    });
  });

  describe("usable", () => {
    it("waits for the first attempt, as long as its caller does", async () => {
      const { connection } = connect(scripted({ initialize: "never" }));
      assert.equal(await connection.usable(never, 60_000), false, "before the start");
      connection.start();
      assert.equal(await connection.usable(never, 20), false);
      const abort = new AbortController();
      const usable = connection.usable(abort.signal, 60_000);
      abort.abort();
      assert.equal(await usable, false);
    });

    it("does not wait for a server that is down", async () => {
      const clock = new ManualClock();
      const { connection } = connect(scripted({ needs: "NOTHING" }), {}, { clock });
      await connection.reconnect();
      assert.equal(await connection.usable(never, 60_000), false);
    });
  });

  describe("the catalogue", () => {
    it("has the tools of all pages, without those that are described badly, each with its reason", async () => {
      const pages = [
        [
          {
            name: "good",
            description: `Says\u0000 hello\u202e\u001b[2J${"x".repeat(5000)}`,
            inputSchema: schema,
            annotations: { readOnlyHint: true, destructiveHint: "no" },
          },
          { name: "good", inputSchema: schema },
          { name: "no\u0007name", inputSchema: schema },
          { name: "listed", inputSchema: [] },
        ],
        [
          { name: "text", inputSchema: { type: "string" } },
          { name: "odd", inputSchema: { type: "object", properties: { a: { type: "strnig" } } } },
          { name: "result", inputSchema: schema, outputSchema: { type: "object", properties: { a: 1 } } },
          { name: "deep", inputSchema: { ...JSON.parse('{"properties":{"a":'.repeat(70) + "{}" + "}}".repeat(70)) } },
          { name: "long", inputSchema: { description: "x".repeat(300_000) } },
          7,
        ],
        [
          { name: "__proto__", inputSchema: JSON.parse('{"type":"object","properties":{"__proto__":{"type":"string"}}}') },
          { name: "constructor", inputSchema: { type: "object", properties: { a: { pattern: "^(a+)+$", $ref: "http://127.0.0.1:1/x" } } } },
        ],
      ];
      const file = path.join(folder(), "pages.json");
      await writeFile(file, JSON.stringify(pages));
      const { connection } = await connected(connect(scripted({ pages: file })));
      const { hidden, incomplete, tools } = connection.catalogue!;
      assert.deepEqual([...tools.keys()], ["good", "__proto__", "constructor"]);
      const good = tools.get("good")!;
      assert.match(good.description, /^Says hello\[2Jx+…$/);
      assert.deepEqual([good.description.length, good.annotations], [4096, { readOnlyHint: true }]);
      assert.ok(Object.hasOwn(tools.get("__proto__")!.inputSchema["properties"] as object, "__proto__"));
      assert.deepEqual(
        hidden.map(({ name, reason }) => [name, reason.replace(/:.*/s, "")]),
        [
          ["good", "another tool of the server has the same name"],
          ["noname", "its name is none"],
          ["listed", "its inputSchema is no object"],
          ["text", 'its inputSchema is not of type "object"'],
          ["odd", "its inputSchema has a type that does not exist"],
          ["result", "its outputSchema has a schema that is none"],
          ["deep", "its inputSchema is nested more than 64 levels deep"],
          ["long", "its inputSchema has more than 262144 characters"],
          ["", "its name is none"],
        ],
      );
      assert.equal(incomplete, undefined);
    });

    it("is read in no time whatever patterns are in it", async () => {
      const evil = { type: "object", properties: { a: { type: "string", pattern: "^(a+)+$" } } };
      const watched = await connected(connect(scripted({ pages: [[{ name: "echo", inputSchema: evil, outputSchema: evil }]] })));
      const startedAt = performance.now();
      await watched.call("echo", { a: `${"a".repeat(40)}!` });
      assert.ok(performance.now() - startedAt < 2000);
    });

    it("is kept as far as it goes when its pages go round in a circle, and told of", async () => {
      const { connection } = await connected(
        connect(scripted({ pages: [[{ name: "a", inputSchema: schema }], [{ name: "b", inputSchema: schema }]], loop: true })),
      );
      assert.deepEqual([...connection.catalogue!.tools.keys()], ["a", "b"]);
      assert.equal(connection.state, "degraded");
      assert.match(connection.status().reason ?? "", /go round in a circle/);
    });

    it("is read again when the server says so, once for a thousand notices", async () => {
      const catalogues: string[][] = [];
      const watched = await connected(connect(scripted(), {}, { onCatalogue: ({ tools }) => catalogues.push([...tools.keys()]) }));
      await watched.call("setTools", { names: ["echo", "more"], notices: 1000 });
      await eventually(() => catalogues.length === 2, "the next reading");
      assert.deepEqual(catalogues, [["echo"], ["echo", "more"]]);
      assert.deepEqual((await watched.call("lists")).value, { count: 2 });
    });

    it("is kept while the server is down", async () => {
      const watched = await connected(connect(scripted(), {}, { clock: new ManualClock() }));
      await watched.failure("exit", { code: 1 });
      await eventually(() => watched.connection.state === "down", "its end");
      assert.deepEqual([...watched.connection.catalogue!.tools.keys()], ["echo"]);
    });
  });

  it("a server that shakes hands and does not list its tools is degraded, and started anew until it does", async () => {
    const log = path.join(folder(), "starts");
    const watched = connect(scripted({ list: "error", log }));
    await watched.connection.reconnect();
    assert.equal(watched.connection.state, "degraded");
    assert.match(watched.connection.lastError ?? "", /^connected, but its tools cannot be listed: .*the backend is not there/);
    assertFailure(await watched.failure("echo"), "TOOL_UNAVAILABLE");
    await eventually(() => watched.connection.status().retries >= 3, "further attempts");
    assert.ok(new Set((await readFile(log, "utf8")).trim().split("\n")).size >= 3);
  });

  describe("health", () => {
    let service: Server;
    let answer: { status: number; body: string; location?: string };
    let url: string;
    beforeEach(async () => {
      service = createServer((_request, response) => {
        response.writeHead(answer.status, answer.location === undefined ? {} : { location: answer.location }).end(answer.body);
      });
      await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", resolve));
      url = `http://127.0.0.1:${(service.address() as AddressInfo).port}/health`;
    });
    afterEach(() => new Promise((resolve) => service.close(resolve)));

    it("by an address: what is there and unwell takes calls; what is not there takes none, and is looked at again sooner", async () => {
      const clock = new ManualClock();
      answer = { status: 200, body: '{"status":"degraded","qdrant":"down"}' };
      const watched = await connected(connect(scripted(), { healthCheck: { url } }, { clock, random: () => 0.5 }));
      const { connection } = watched;
      assert.equal(connection.state, "degraded");
      assert.match(connection.status().reason ?? "", /"qdrant":"down"/);
      await watched.call("echo");
      for (const [next, state, reason] of [
        [{ status: 503, body: "" }, "down", /HTTP 503/],
        [{ status: 307, body: "", location: "http://127.0.0.1:1/" }, "down", /redirect/],
        [{ status: 200, body: '{"status":"healthy"}' }, "connected", undefined],
      ] as const) {
        answer = next;
        const { checkedAt } = connection.status().health!;
        assert.equal(await clock.end(), 5000);
        await eventually(() => connection.status().health?.checkedAt !== checkedAt, "the next check");
        assert.equal(connection.state, state);
        if (reason === undefined) assert.equal(connection.status().reason, undefined);
        else {
          assert.match(connection.status().reason ?? "", reason);
          assertFailure(await watched.failure("echo"), "TOOL_UNAVAILABLE");
        }
      }
      await watched.call("echo");
      assert.equal(await clock.end(), 30_000);
      assert.equal(connection.status().connections, 1);
    });

    it("by a tool, unless that changes something", async () => {
      const pages = [
        ["echo", "unwell", "setTools"].map((name) => ({ name, inputSchema: schema, annotations: { readOnlyHint: name !== "setTools" } })),
      ];
      const well = await connected(connect(scripted({ pages }), { healthCheck: { tool: "echo" } }));
      await eventually(() => well.connection.status().health?.ok === true, "the check");
      const unwell = connect(scripted({ pages }), { healthCheck: { tool: "unwell" } });
      await unwell.connection.reconnect();
      assert.equal(unwell.connection.state, "down");
      const writes = await connected(connect(scripted({ pages }), { healthCheck: { tool: "setTools" } }));
      await eventually(() => writes.connection.state === "degraded", "the check");
      assert.match(writes.connection.status().reason ?? "", /is not called: the server says that it changes something/);
      const { received } = (await writes.call("received")).value as { received: { method: string; params: { name: string } }[] };
      assert.deepEqual(
        received.flatMap(({ method, params }) => (method === "tools/call" ? [params.name] : [])),
        ["received"],
      );
    });
  });

  describe("calls", () => {
    it("give structured content, else the text as JSON, else the text, else the blocks", async () => {
      const watched = await connected(connect(scripted()));
      const texts = (...all: string[]): object => ({ content: all.map((text) => ({ type: "text", text })) });
      const image = { type: "image", data: "aGk=", mimeType: "image/png" };
      for (const [result, value] of [
        [{ structuredContent: { a: 0 }, content: [{ type: "text", text: "b" }] }, { a: 0 }],
        [texts('{"a":[false,""]}'), { a: [false, ""] }],
        [texts("42"), 42],
        [texts("0042"), "0042"],
        [texts("12345678901234567890"), "12345678901234567890"],
        [texts("a", "b"), "a\nb"],
        [texts("{not json"), "{not json"],
        [texts("[".repeat(100_000)), "[".repeat(100_000)],
        [{ content: [image] }, [image]],
        [{ content: [] }, []],
      ])
        assert.deepEqual((await watched.call("raw", { result })).value, value);
      const hostile = (await watched.call("raw", { result: texts('{"__proto__":{"polluted":1}}') })).value as object;
      assert.ok(Object.hasOwn(hostile, "__proto__") && !("polluted" in {}));
      const nested = JSON.parse(`${"[".repeat(200)}${"]".repeat(200)}`) as unknown;
      assertFailure(await watched.failure("raw", { result: { structuredContent: { nested } } }), "RESULT_TOO_LARGE", /nested/);
      assertFailure(await watched.failure("raw", { result: { nothing: true } }), "SERVER_ERROR", /no result of a tool/);
    });

    it("tell a tool's own failure from the server's, without its secrets", async () => {
      const watched = await connected(connect(scripted(), { secrets: ["hunter22"] }));
      const result = { isError: true, content: [{ type: "text", text: '{"error":"no access with hunter22"}' }] };
      assert.deepEqual(await watched.call("raw", { result }).then(({ isError, value }) => ({ isError, value })), {
        isError: true,
        value: { error: "no access with [redacted]" },
      });
      const failure = await watched.failure("error", { error: { code: -32_000, message: "bad hunter22\u0007", data: ["hunter22"] } });
      assertFailure(failure, "SERVER_ERROR", /bad \[redacted\]\\u\{7\}$/);
      assert.deepEqual(failure.data, { code: -32_000, message: "bad [redacted]\\u{7}", data: ["[redacted]"] });
    });

    it("are refused a result that is larger than the server's limit, with its size", async () => {
      const watched = await connected(connect(scripted(), { maxResultBytes: 100 }));
      await watched.call("echo", { a: "x".repeat(92) });
      const failure = await watched.failure("echo", { a: "x".repeat(93) });
      assertFailure(failure, "RESULT_TOO_LARGE", /101 bytes.*maxResultBytes of 100/);
      assert.deepEqual(failure.data, { bytes: 101, maxResultBytes: 100 });
    });

    it("that are late or cancelled are told apart, told to the server, and harm none when their answer comes", async () => {
      const watched = await connected(connect(scripted()));
      assertFailure(await watched.failure("slow", { ms: 200 }, { timeoutMs: 50 }), "TIMEOUT", /within 50 ms/);
      const abort = new AbortController();
      const pending = watched.failure("slow", { ms: 200 }, { signal: abort.signal });
      abort.abort();
      assertFailure(await pending, "CANCELLED", /may have run/);
      assertFailure(await watched.failure("echo", {}, { signal: abort.signal }), "CANCELLED", /has not run/);
      await watched.call("slow", { ms: 300 });
      const { received } = (await watched.call("received")).value as { received: { method: string; params: { reason?: string } }[] };
      assert.deepEqual(
        received.flatMap(({ method, params }) => (method === "notifications/cancelled" ? [params.reason] : [])),
        ["Error: no answer came in time", "Error: the caller cancelled"],
      );
      assert.equal(watched.connection.status().connections, 1);
    });

    it("are limited in all, however much progress there is", async () => {
      const watched = await connected(connect(scripted()));
      const pending = watched.failure("silent", {}, { timeoutMs: 300, onProgress: () => undefined });
      const begun = performance.now();
      const { received } = (await watched.call("received")).value as {
        received: { method: string; params?: { _meta?: { progressToken: number } } }[];
      };
      const progressToken = received.find(({ params }) => params?._meta !== undefined)!.params!._meta!.progressToken;
      const line = JSON.stringify({ jsonrpc: "2.0", method: "notifications/progress", params: { progressToken, progress: 1 } });
      const timer = setInterval(() => void watched.failure("lines", { lines: [line] }, { timeoutMs: 20 }), 25);
      assertFailure(await pending, "TIMEOUT");
      clearInterval(timer);
      assert.ok(performance.now() - begun < 2000);
    });

    it("leave nothing behind: listeners and heap are flat over thousands", async function () {
      this.timeout(60_000);
      const watched = await connected(connect(scripted()));
      const { signal } = new AbortController();
      const round = async (): Promise<number> => {
        for (let call = 0; call < 1000; call += 10)
          await Promise.all(
            Array.from({ length: 10 }, () => watched.call("echo", { text: "x".repeat(1000) }, { signal, onProgress: () => undefined })),
          );
        assert.equal(getEventListeners(signal, "abort").length, 0);
        collectGarbage();
        return process.memoryUsage().heapUsed;
      };
      await round();
      const before = await round();
      const after = await round();
      assert.ok(after - before < 500_000, `${after - before} bytes of heap after 1000 calls`);
    });
  });
});
