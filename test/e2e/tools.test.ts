/** `code-mode tools` as a command, with real servers: what is printed, how it exits, and that no server outlives it. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Readable } from "node:stream";

import { z } from "zod";

import { serverStatusSchema, toolDescriptionSchema } from "../../src/domain/server-status.ts";
import { packageRoot } from "../../src/lib/package-info.ts";
import { everythingServer, labServer, memoryServer } from "../helpers/mcp-servers.ts";
import { eventually, makeTempFolder } from "../helpers/service.ts";

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const SECRET = "lab-secret-0123456789";

describe("MCP Integration: tools command", function () {
  this.timeout(60_000);
  let folder: string;

  before(async () => {
    folder = await makeTempFolder();
    await mkdir(path.join(folder, "config"));
    const mcpServers = {
      memory: { ...memoryServer(path.join(folder, "memory.jsonl")), tools: { deny: ["delete_*"] }, aliases: { graph: "read_graph" } },
      lab: labServer("${LAB_SECRET}"),
      everything: { ...everythingServer(), enabled: false },
      gone: { command: path.join(folder, "no-such-program") },
      "needs.token": { type: "http", url: "http://127.0.0.1:9/mcp", headers: { Authorization: "Bearer ${MISSING_TOKEN}" } },
    };
    await writeFile(path.join(folder, "config", "mcp-servers.json"), JSON.stringify({ mcpServers }), { mode: 0o600 });
  });
  after(() => rm(folder, { recursive: true, force: true }));
  afterEach(async () => {
    await eventually("no server is left", async () => (await processesOf(folder)).length === 0);
  });

  function start(
    args: readonly string[],
    env: Record<string, string> = {},
  ): { child: ChildProcessByStdio<null, Readable, Readable>; ended: Promise<Ended> } {
    const child = spawn(process.execPath, [path.join(packageRoot, "dist", "main.js"), "tools", ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env["PATH"], HOME: folder, CODE_MODE_CONFIG_DIR: path.join(folder, "config"), LAB_SECRET: SECRET, ...env },
    });
    const text = { stdout: "", stderr: "" };
    for (const stream of ["stdout", "stderr"] as const) child[stream].on("data", (chunk: Buffer) => (text[stream] += chunk.toString()));
    const ended = once(child, "close").then(([code]): Ended => {
      assert.doesNotMatch(text.stdout + text.stderr, /\n\s+at /, "a stack trace");
      assert.ok(!`${text.stdout}${text.stderr}`.includes(SECRET), "a secret");
      return { code: code as number | null, ...text };
    });
    return { child, ended };
  }
  const tools = (...args: readonly string[]): Promise<Ended> => start(args).ended;

  it("lists the tools of a server with how each is called, what it does, and what keeps it from programs", async () => {
    const { code, stderr, stdout } = await tools("list", "--server", "memory");
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match(stdout, /^memory {2}connected, 9 tools\n/);
    assert.match(stdout, /\n {2}memory\.search_nodes\(query: string\)\n {6}\S/);
    assert.match(stdout, /\n {2}memory\.delete_entities\([^\n]*\)\n {6}denied by [^\n]*memory\.tools\.deny/);
    assert.doesNotMatch(stdout, /search_nodes[^\n]*\n {6}denied/);
  });

  it("lists all servers, and exits with 1 where one is down, with the reason; one that is disabled is not missed", async () => {
    const { code, stdout } = await tools("list", "--json");
    const found = z.object({ servers: z.array(serverStatusSchema), tools: z.array(toolDescriptionSchema) }).parse(JSON.parse(stdout));
    assert.deepEqual(
      [code, found.servers.map(({ name, state }) => [name, state])],
      [
        1,
        [
          ["memory", "connected"],
          ["lab", "connected"],
          ["everything", "disabled"],
          ["gone", "down"],
          ["needs.token", "down"],
        ],
      ],
    );
    const reasons = Object.fromEntries(found.servers.map(({ name, reason }) => [name, reason]));
    assert.match(reasons["gone"] ?? "", /no-such-program/);
    assert.match(reasons["needs.token"] ?? "", /mcp-servers\.json.*MISSING_TOKEN/);
    assert.equal(found.tools.find(({ name }) => name === "read_graph")?.aliases[0], "graph");
    assert.equal((await tools("list", "--server", "everything")).code, 0);
  });

  it("calls a tool by its name or alias, with arguments in each form, and prints what it gives as JSON", async () => {
    const entity = { name: "sandbox", entityType: "place", observations: ["", "0"] };
    const made = await tools("call", "memory.create_entities", "--arg", `entities=${JSON.stringify([entity])}`);
    assert.deepEqual([made.code, made.stderr], [0, ""]);
    const { code, stdout } = await tools("call", "memory.graph");
    assert.equal(code, 0);
    assert.deepEqual(JSON.parse(stdout), { entities: [entity], relations: [] });
    assert.equal(stdout.split("\n").length, 2, "one line");
    const forms = [["--arg", "value=0", "--arg", "second=a=b"], ['{"value":0,"second":"a=b"}'], ['[0,"a=b"]']];
    for (const { stdout: echoed } of await Promise.all(forms.map((args) => tools("call", "lab.echo", ...args))))
      assert.deepEqual(JSON.parse(echoed), { value: 0, second: "a=b" });
  });

  it("exits with 1 and the code of the ToolError where a call fails, with nothing on stdout", async () => {
    const failing = [
      [["memory.delete_entities", '{"entityNames":["x"]}'], /^code-mode: TOOL_DENIED: .*memory\.tools\.deny/],
      [["memory.search_nodes", '{"query":5}'], /^code-mode: INVALID_ARGUMENTS: .*query/],
      [["memory.read_grahp"], /^code-mode: TOOL_NOT_FOUND: .*read_graph/],
      [["lab.fail", "--arg", "message=broken"], /^code-mode: TOOL_FAILED: .*broken/],
      [["lab.wait", "--arg", "ms=60000", "--timeout", "100ms"], /^code-mode: TIMEOUT: /],
      [["gone.anything"], /^code-mode: TOOL_UNAVAILABLE: .*\ncode-mode: gone: .*no-such-program/],
      [["everything.echo"], /^code-mode: TOOL_UNAVAILABLE: .*disabled/],
      [["needs.token.x"], /^code-mode: TOOL_UNAVAILABLE: .*\ncode-mode: needs\.token: .*MISSING_TOKEN/],
    ] as const;
    await Promise.all(
      failing.map(async ([args, message]) => {
        const { code, stderr, stdout } = await tools("call", ...args);
        assert.deepEqual([code, stdout], [1, ""], stderr);
        assert.match(stderr, message);
      }),
    );
  });

  it("exits with 2 for what makes no sense, and starts nothing", async () => {
    const senseless = [
      [["call", "memroy.read_graph"], /did you mean memory/],
      [["call", "memory.read_graph", "5"], /expected the arguments as a JSON object/],
      [["call", "memory.read_graph", "{}", "--arg", "a=1"], /not both/],
      [["list", "--server", "memroy"], /--server memroy: .*memory/],
      [["call"], /missing required argument/],
    ] as const;
    await Promise.all(
      senseless.map(async ([args, message]) => {
        const { code, stderr, stdout } = await tools(...args);
        assert.deepEqual([code, stdout], [2, ""], stderr);
        assert.match(stderr, message);
      }),
    );
  });

  it("ends a call with Ctrl-C, and the server with it", async () => {
    const file = path.join(folder, "memory.jsonl");
    const { child, ended } = start(["call", "lab.wait", "--arg", "ms=60000"]);
    await eventually("the server runs", async () => (await processesOf(folder)).length > 1, 20_000);
    child.kill("SIGINT");
    const { code, stdout } = await ended;
    assert.deepEqual([code, stdout], [130, ""]);
    assert.ok((await readFile(file, "utf8")).includes("sandbox"), "what was stored stays");
  });

  it("says that there is no server where there is no file, and exits with 78 where it cannot be used", async () => {
    const other = path.join(folder, "other");
    await mkdir(other);
    const none = await start(["list"], { CODE_MODE_CONFIG_DIR: other }).ended;
    assert.deepEqual([none.code, none.stdout], [0, ""]);
    assert.match(none.stderr, /mcp-servers\.json has no server/);
    await writeFile(path.join(other, "mcp-servers.json"), '{"mcpServers": {"x": {"comand": "y"}}}', { mode: 0o600 });
    const broken = await start(["list"], { CODE_MODE_CONFIG_DIR: other }).ended;
    assert.deepEqual([broken.code, broken.stdout], [78, ""]);
    assert.match(broken.stderr, /comand/);
  });
});

/** The processes that were started for these tests, the command itself too: they inherit where the tests' files are. */
async function processesOf(folder: string): Promise<string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const own = await Promise.all(
    pids.map(async (pid) => {
      const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
      return environment.includes(`HOME=${folder}\0`) && (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")) !== "";
    }),
  );
  return pids.filter((_, index) => own[index]);
}
