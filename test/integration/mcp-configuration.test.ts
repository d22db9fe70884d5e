/** config/mcp-servers.json in a real service: what a start and a reload make of it, and what it says of servers that are down. */

import assert from "node:assert/strict";
import { copyFile } from "node:fs/promises";
import path from "node:path";

import type { ServerStatus } from "../../src/domain/server-status.ts";
import { packageRoot } from "../../src/lib/package-info.ts";
import { everythingServer, labServer, memoryServer } from "../helpers/mcp-servers.ts";
import { eventually, TestService } from "../helpers/service.ts";

const RUNTIMES = { node: {} };
/** Above what a server needs to start on a busy machine. */
const CONNECT_MS = 30_000;
/** A start that waited for a server would take longer. */
const START_MS = 15_000;

describe("MCP configuration", function () {
  this.timeout(90_000);
  let service: TestService | undefined;
  afterEach(async () => {
    await service?.close();
    service = undefined;
  });

  const start = async (options: Parameters<typeof TestService.start>[0]): Promise<TestService> =>
    (service = await TestService.start({ runtimes: RUNTIMES, ...options }));

  async function statuses(): Promise<Map<string, ServerStatus>> {
    const { body } = await service!.get<{ servers: ServerStatus[] }>("/v1/servers");
    return new Map(body.servers.map((status) => [status.name, status]));
  }
  const isIn = async (name: string, state: ServerStatus["state"]): Promise<boolean> => (await statuses()).get(name)?.state === state;
  const connected = (...names: string[]): Promise<void> =>
    eventually(
      `${names.join(", ")} connected`,
      async () => {
        const all = await statuses();
        return names.every((name) => all.get(name)?.state === "connected");
      },
      CONNECT_MS,
    );

  it("gives programs the tools of its servers", async () => {
    await start({ mcpServers: { everything: { ...everythingServer(), arguments: { echo: ["message"] } } } });
    await connected("everything");
    assert.equal(await service!.result('return await everything.echo("hello")'), "Echo: hello");
  });

  it("starts at once whatever is down, says of each server what is missing, and answers for it", async () => {
    const beganAt = performance.now();
    await start({
      mcpServers: {
        "no-program": { command: "a-program-that-is-not-there" },
        "no-variable": { command: "node", env: { KEY: "${A_KEY_THAT_IS_NOT_SET}" } },
        off: { command: "node", disabled: true },
        silent: { command: "sleep", args: ["60"] },
      },
    });
    assert.ok(performance.now() - beganAt < START_MS);
    await eventually("the missing program is noticed", () => isIn("no-program", "down"));
    const all = await statuses();
    assert.match(all.get("no-program")?.reason ?? "", /command not found: a-program-that-is-not-there/);
    assert.match(
      all.get("no-variable")?.reason ?? "",
      /^mcp-servers\.json: mcpServers\.no-variable\.env\.KEY: the variable A_KEY_THAT_IS_NOT_SET is not set/,
    );
    assert.deepEqual(
      [...all.values()].map(({ state }) => state),
      ["down", "down", "disabled", "connecting"],
    );
    const warnings = service!.logLines.map((line) => JSON.parse(line) as { level: number; msg: string }).filter(({ level }) => level >= 40);
    assert.ok(warnings.some(({ msg }) => msg.includes('the MCP server "no-variable" is down: mcp-servers.json: ')));
    const code = `try { await callTool("no-variable", "anything") } catch ({ code }) { return code }`;
    assert.equal(await service!.result(code), "TOOL_UNAVAILABLE");
  });

  it("starts with the file that ships, no variable set and none of its servers installed", async () => {
    const beganAt = performance.now();
    await start({
      prepare: (workspace) =>
        copyFile(path.join(packageRoot, "config", "mcp-servers.json"), path.join(workspace, "..", "config", "mcp-servers.json")),
    });
    assert.ok(performance.now() - beganAt < START_MS);
    const all = await statuses();
    assert.deepEqual([...all.keys()], ["automem", "serena", "helpscout", "wordpress"]);
    for (const [name, variable] of [
      ["serena", "SERENA_PROJECT"],
      ["helpscout", "HELPSCOUT_APP_ID"],
      ["wordpress", "WP_API_URL"],
    ] as const) {
      assert.equal(all.get(name)?.state, "disabled");
      assert.match(all.get(name)?.reason ?? "", new RegExp(`the variable ${variable} is not set`));
    }
    const automem = all.get("automem")?.state ?? "";
    assert.ok(["connecting", "connected", "degraded", "down"].includes(automem), automem);
    assert.equal(await service!.result("return 6 * 7"), 42);
  });

  it("warns of servers that programs would know by the same name", async () => {
    await start({ mcpServers: { "a b": { command: "node", enabled: false }, "a-b": { command: "node", enabled: false } } });
    assert.match(
      service!.logLines.join(""),
      /the MCP server \\"a-b\\" has the same name as another one in programs: only callTool reaches it/,
    );
  });

  it("warns loudly when the checks are off, and of folders that servers share with programs", async () => {
    let shared = "";
    await start({
      env: { MCP_SECURITY_ENABLED: "false" },
      runtimes: { node: { permissions: { fileSystem: { read: ["./data"] } } } },
      prepare: (workspace) => {
        shared = path.join(workspace, "data", "memory.json");
        return Promise.resolve();
      },
      mcpServers: { everything: everythingServer() },
    });
    const log = service!.logLines.join("");
    assert.match(log, /MCP_SECURITY_ENABLED=false: calls of MCP tools are neither limited in number nor checked/);
    assert.doesNotMatch(log, /what programs can read/);
    await service!.writeMcpServers({ memory: memoryServer(shared) });
    assert.deepEqual(await service!.reload(), { ok: true });
    assert.match(
      service!.logLines.join(""),
      /mcpServers\.memory\.env\.MEMORY_FILE_PATH: the server is given what programs can read \(runtimes\.node\.permissions\.fileSystem\.read: data\)/,
    );
  });

  describe("that is reloaded", () => {
    it("connects what is new, closes what is gone, connects anew what changed, and leaves the others alone", async () => {
      await start({ mcpServers: { stays: everythingServer(), goes: labServer(), changes: labServer("one") } });
      await connected("stays", "goes", "changes");
      const before = await statuses();
      await service!.writeMcpServers({ stays: everythingServer(), changes: labServer("two"), comes: labServer() });
      assert.deepEqual(await service!.reload(), { ok: true });
      await connected("stays", "changes", "comes");
      const after = await statuses();
      assert.deepEqual([...after.keys()], ["stays", "changes", "comes"]);
      assert.equal(after.get("stays")?.connectedAt, before.get("stays")?.connectedAt);
      assert.notEqual(after.get("changes")?.connectedAt, before.get("changes")?.connectedAt);
    });

    it("changes nothing when the file cannot be used, and says why; no file means no servers", async () => {
      await start({ mcpServers: { everything: everythingServer() } });
      await connected("everything");
      const before = await statuses();
      for (const [text, problem] of [
        ["{", /:1:\d+: expected "," or "}"/],
        [
          '{"mcpServers": {"everything": {"command": "node", "Env": {"KEY": "a-secret"}}}}',
          /mcpServers\.everything\.Env: is no known setting; write env$/,
        ],
      ] as const) {
        await service!.writeMcpServers(text);
        const outcome = await service!.reload();
        assert.ok(!outcome.ok);
        assert.match(outcome.problems.join(), problem);
        assert.equal((await statuses()).get("everything")?.connectedAt, before.get("everything")?.connectedAt);
      }
      assert.ok(!service!.logLines.join("").includes("a-secret"));
      await service!.writeMcpServers({});
      assert.deepEqual(await service!.reload(), { ok: true });
      assert.deepEqual([...(await statuses()).keys()], []);
    });

    it("does not touch a call that is under way, of a server that stays", async () => {
      const lab = labServer();
      await start({ mcpServers: { lab } });
      await connected("lab");
      const call = service!.result("return await lab.wait({ ms: 2000 })");
      const seen = "return (await lab.seen()).started";
      await eventually("the call has reached its server", async () => (await service!.result(seen)) === 1);
      await service!.writeMcpServers({ lab: { ...lab, tools: { deny: ["echo"] } }, more: labServer() });
      assert.deepEqual(await service!.reload(), { ok: true });
      const code = "try { await lab.echo({ value: 1 }) } catch ({ code }) { return code }";
      assert.equal(await service!.result(code), "TOOL_DENIED");
      assert.equal(await call, "waited");
    });
  });
});
