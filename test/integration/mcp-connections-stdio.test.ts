/** Connections to servers that are processes: what the process, or what it writes, can do to them. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import path from "node:path";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

import type { ServerTransport } from "../../src/domain/mcp-server.ts";
import type { ToolProgress } from "../../src/domain/tool-call.ts";
import { assertFailure, connected, definition, isAlive, scripted, useConnections } from "../helpers/mcp-connections.ts";
import type { Watched } from "../helpers/mcp-connections.ts";
import { eventually } from "../unit/support/eventually.ts";
import { useTempFolder } from "../unit/support/temp-folder.ts";

const pidFrom = async (watched: Watched, tool = "pid"): Promise<number> => ((await watched.call(tool)).value as { pid: number }).pid;

/** A shell in front of the server that waits for it, as `npx` does. */
const behindShell = (): ServerTransport => {
  const { args, command, ...rest } = scripted() as Extract<ServerTransport, { kind: "stdio" }>;
  return { ...rest, command: "/bin/sh", args: ["-c", '"$0" "$@"; exit $?', command, ...args] };
};

describe("MCP Integration: processes of servers", function () {
  this.slow(3000);
  const connect = useConnections();
  const folder = useTempFolder();

  describe("the process", () => {
    it("gets the few variables of every child and its own, none of the service's", async () => {
      process.env["CODE_MODE_TEST_KEY"] = "of the service";
      try {
        const server = await connected(connect(scripted({}, { env: { API_KEY: "its own" }, cwd: folder() })));
        const { value } = await server.call("env");
        const { API_KEY, CODE_MODE_TEST_KEY, HOME, PATH } = value as NodeJS.ProcessEnv;
        assert.deepEqual(
          { API_KEY, CODE_MODE_TEST_KEY, HOME, PATH },
          {
            API_KEY: "its own",
            CODE_MODE_TEST_KEY: undefined,
            HOME: process.env["HOME"],
            PATH: process.env["PATH"],
          },
        );
        assert.equal(((await server.call("pid")).value as { cwd: string }).cwd, folder());
      } finally {
        delete process.env["CODE_MODE_TEST_KEY"];
      }
    });

    it("is ended with all that it started, also behind a shell and deaf to SIGTERM", async () => {
      const server = await connected(connect(behindShell()));
      const pids = [await pidFrom(server), await pidFrom(server, "grandchild")];
      assert.deepEqual(pids.map(isAlive), [true, true]);
      await server.connection.close();
      assert.deepEqual(pids.map(isAlive), [false, false]);
    });

    it("would leave them behind with the SDK's own transport", async () => {
      const client = new Client({ name: "test", version: "1" });
      const { args, command } = behindShell() as Extract<ServerTransport, { kind: "stdio" }>;
      await client.connect(new StdioClientTransport({ command, args: [...args], stderr: "ignore" }));
      const { structuredContent } = await client.callTool({ name: "grandchild", arguments: {} });
      const { pid } = structuredContent as { pid: number };
      try {
        await client.close();
        assert.ok(isAlive(pid));
      } finally {
        process.kill(pid, "SIGKILL");
      }
    });

    it("is dead when the connection is closed, whatever it thinks of SIGTERM", async () => {
      const server = await connected(connect(scripted({ ignoreTerm: true })));
      const pid = await pidFrom(server);
      await server.connection.close();
      assert.ok(!isAlive(pid));
    });

    it("is ended when it closes its output and lives on, and another is started", async () => {
      const server = await connected(connect(scripted({ ignoreTerm: true })));
      const pid = await pidFrom(server);
      assertFailure(await server.failure("closeOutput"), "CONNECTION_LOST");
      await eventually(() => server.connection.state === "connected", "the next connection");
      assert.ok(!isAlive(pid));
      assert.notEqual(await pidFrom(server), pid);
      assert.match(server.connection.lastError ?? "", /closed its output/);
    });

    it("that is killed in a call loses that call at once, and the next ones work", async () => {
      const server = await connected(connect(scripted()));
      const pending = server.failure("silent");
      process.kill(await pidFrom(server), "SIGKILL");
      assertFailure(await pending, "CONNECTION_LOST", /may have run/);
      assertFailure(await server.failure("echo"), "TOOL_UNAVAILABLE", /down/);
      await eventually(() => server.connection.state === "connected", "the next connection");
      assert.deepEqual((await server.call("echo", { a: 0 })).value, { a: 0 });
      assert.deepEqual(server.states().slice(0, 4), ["connecting", "connected", "down", "connecting"]);
      assert.match(server.changes[2]!.reason ?? "", /was ended by SIGKILL/);
    });

    it("that exits without its credentials is down, with what it said", async () => {
      const server = connect(scripted({ needs: "HELPSCOUT_APP_ID" }));
      await server.connection.reconnect();
      assert.equal(server.connection.state, "down");
      assert.match(server.connection.lastError ?? "", /exited with code 2; its last words: missing credentials: set HELPSCOUT_APP_ID/);
      const { nextRetryAt, retries } = server.connection.status();
      assert.ok(retries === 1 && nextRetryAt !== undefined);
    });

    it("whose command is not there is down, with what to do", async () => {
      const server = connect({ kind: "stdio", command: "no-such-command", args: [], env: {}, cwd: undefined });
      await server.connection.reconnect();
      assert.equal(server.connection.state, "down");
      assert.match(server.connection.lastError ?? "", /^command not found: no-such-command; install it/);
    });

    it("that never answers the handshake is given up, and dead", async () => {
      const log = path.join(folder(), "starts");
      const server = connect(scripted({ initialize: "never", ignoreTerm: true, log }), {}, { connectTimeoutMs: 500 });
      await server.connection.reconnect();
      assert.match(server.connection.lastError ?? "", /no connection within 500 ms/);
      const [pid] = (await readFile(log, "utf8")).split("\n");
      assert.ok(!isAlive(Number(pid)));
    });

    it("that does not read its input is cut off before it fills our memory", async () => {
      const server = await connected(connect(scripted()));
      await server.call("echo");
      const pending = server.failure("stopReading");
      const text = "x".repeat(900_000);
      const failures = await Promise.all(Array.from({ length: 30 }, () => server.failure("echo", { text })));
      assertFailure(await pending, "CONNECTION_LOST");
      assert.deepEqual(new Set(failures.map(({ code }) => code)), new Set(["CONNECTION_LOST", "TOOL_UNAVAILABLE"]));
      assert.match(server.connection.lastError ?? "", /does not read its input/);
    });
  });

  describe("what it writes", () => {
    it("may be noise between messages, which is told once", async () => {
      const server = await connected(connect(scripted({ noisy: true })));
      assert.deepEqual((await server.call("echo", { still: "here" })).value, { still: "here" });
      assert.equal(server.logged.filter(({ message }) => message.includes("no messages")).length, 1);
    });

    for (const place of ["start", "end"])
      it(`may be an answer that is too long, with its id at its ${place}: that call alone fails`, async () => {
        const server = await connected(connect(scripted()));
        const other = server.call("slow", { ms: 300 });
        assertFailure(await server.failure("huge", { bytes: 11_000_000, place }), "RESULT_TOO_LARGE", /has run/);
        assert.deepEqual((await other).value, { slow: true });
        assert.equal(server.connection.status().connections, 1);
      });

    it("may be an answer that is too long and nobody's: the connection fails, and the next works", async () => {
      const server = await connected(connect(scripted()));
      assertFailure(await server.failure("huge", { bytes: 11_000_000, place: "within" }), "CONNECTION_LOST");
      await eventually(() => server.connection.state === "connected", "the next connection");
      assert.match(server.connection.lastError ?? "", /more than 10485760 bytes long/);
      await server.call("echo");
    });

    it("may be a line without an end: it is cut off, with memory bounded", async () => {
      const server = await connected(connect(scripted()));
      const before = process.memoryUsage().arrayBuffers;
      assertFailure(await server.failure("endless"), "CONNECTION_LOST");
      assert.match(server.connection.lastError ?? "", /a line that does not end within/);
      assert.ok(process.memoryUsage().arrayBuffers - before < 40_000_000);
    });

    it("may be nested too deep: that call alone fails", async () => {
      const server = await connected(connect(scripted()));
      assertFailure(await server.failure("deep", { levels: 100_000 }), "RESULT_TOO_LARGE");
      assert.deepEqual((await server.call("echo", { ok: true })).value, { ok: true });
      assert.equal(server.connection.status().connections, 1);
    });

    for (const [what, tool, args] of [
      ["notifications", "notifications", { method: "notifications/message" }],
      ["answers to nobody", "strays", {}],
    ] as const)
      it(`may be a flood of ${what}: a few thousand are nothing, more cut it off`, async () => {
        const server = await connected(connect(scripted()));
        await server.call(tool, { ...args, count: 3000 });
        assertFailure(await server.failure(tool, { ...args, count: 20_000 }), "CONNECTION_LOST");
        assert.match(server.connection.lastError ?? "", /more messages than it was asked for/);
      });

    it("may ask for a model, folders or input: there are none", async () => {
      const server = await connected(connect(scripted()));
      for (const method of ["sampling/createMessage", "roots/list", "elicitation/create"]) {
        const { value } = await server.call("ask", { method, params: {} });
        assert.deepEqual((value as { error: { code: number } }).error.code, -32_601, method);
      }
      const { received } = (await server.call("received")).value as { received: { method?: string; params?: object }[] };
      assert.deepEqual((received.find(({ method }) => method === "initialize")?.params as { capabilities: object }).capabilities, {});
    });

    it("reaches the caller in order: all progress, then the answer", async () => {
      const server = await connected(connect(scripted()));
      const seen: ToolProgress[] = [];
      await server.call("progress", { count: 5 }, { onProgress: (progress) => seen.push(progress) });
      assert.deepEqual(
        seen.map(({ message, progress, total }) => [progress, total, message]),
        [1, 2, 3, 4, 5].map((step) => [step, 5, "step"]),
      );
    });
  });

  describe("what it writes to its error output", () => {
    it("is logged by line, without control characters and secrets, whatever the chunks", async () => {
      const secret = "s3cret/with+signs";
      const server = await connected(connect(scripted({}, { env: { TOKEN: secret } }), { secrets: [secret, "abc"] }));
      const chunks = [
        `token ${secret.slice(0, 5)}`,
        `${secret.slice(5)} end\n`,
        "\u001b[2Jforged\u0007 abc\n",
        `url ${encodeURIComponent(secret)} b64 ${Buffer.from(`user:${secret}`).toString("base64")} json ${JSON.stringify({ secret })}\n`,
        "x".repeat(50_000),
        "\nafter\n",
      ];
      await server.call("stderr", { chunks });
      const lines = (): string[] => server.logged.flatMap(({ stderr }) => (typeof stderr === "string" ? [stderr] : []));
      await eventually(() => lines().includes("after"), "the last line");
      const [token, control, forms, long] = lines();
      assert.equal(token, "token [redacted] end");
      assert.equal(control, "\\u{1b}[2Jforged\\u{7} abc");
      assert.match(forms!, /^url \[redacted\] b64 \S*\[redacted\]\S* json \{"secret":"\[redacted\]"\}$/);
      assert.equal(long!.length, 2000);
      assert.ok(server.logged.every((line) => !JSON.stringify(line).includes("s3cret") && line["server"] !== undefined));
    });

    it("may be a flood: the first lines are logged, the others counted, the last ones known", async () => {
      const server = await connected(connect(scripted()));
      await server.call("stderrFlood", { lines: 5000 });
      process.kill(await pidFrom(server), "SIGKILL");
      await eventually(() => server.changes.some(({ to }) => to === "down"), "the end");
      const lines = server.logged.filter(({ stderr }) => stderr !== undefined);
      assert.equal(lines.length, 50);
      assert.match(server.connection.lastError ?? "", /line 4999 of a flood$/);
      await eventually(() => server.logged.some(({ dropped }) => dropped === 4950), "the count of the others");
    });
  });

  it("ends when the service itself is killed: its input ends", async () => {
    const program = `
      const { ServerConnection } = await import(${JSON.stringify(new URL("../../src/mcp/server-connection.ts", import.meta.url).href)});
      const connection = new ServerConnection({ definition: ${JSON.stringify(definition(scripted()))} });
      await connection.reconnect();
      const { value } = await connection.call("pid", {}, { signal: new AbortController().signal });
      console.log(value.pid);`;
    const service = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [printed] = (await once(service.stdout, "data")) as [Buffer];
    const pid = Number(printed.toString());
    assert.ok(isAlive(pid));
    service.kill("SIGKILL");
    await eventually(() => !isAlive(pid), "the end of the server");
  });
});
