/** The package: packed, installed into an empty folder, and serving from there. */

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

import { packageRoot } from "../../src/lib/package-info.ts";
import { eventually, makeTempFolder } from "../helpers/service.ts";

const run = promisify(execFile);

describe("Package", function () {
  this.timeout(180_000);
  let folder: string;

  before(async () => {
    folder = await makeTempFolder();
    await run("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", folder], { cwd: packageRoot });
    const [archive] = (await readdir(folder)).filter((name) => name.endsWith(".tgz"));
    await mkdir(path.join(folder, "app"));
    await writeFile(path.join(folder, "app", "package.json"), '{"private": true}');
    await run(
      "npm",
      ["install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", path.join(folder, archive ?? "")],
      { cwd: path.join(folder, "app") },
    );
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it("serves an execution with the configuration that it ships", async () => {
    const command = path.join(folder, "app", "node_modules", ".bin", "code-mode");
    const env = { PATH: process.env["PATH"], HOME: folder, CODE_MODE_PORT: "0", CODE_MODE_STATE_DIR: path.join(folder, "state") };
    const child = spawn(command, ["serve"], { cwd: path.join(folder, "app"), env, stdio: ["ignore", "ignore", "pipe"] });
    let log = "";
    child.stderr.on("data", (chunk: Buffer) => (log += chunk.toString()));
    try {
      await eventually(
        "the service listens",
        () => {
          assert.equal(child.exitCode, null, log);
          return log.includes('"url":"');
        },
        30_000,
      );
      const response = await fetch(`${/"url":"([^"]+)"/.exec(log)?.[1] ?? ""}/v1/executions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ code: "enum A { B = 42 }\nreturn A.B;" }),
      });
      assert.equal(((await response.json()) as { result: unknown }).result, 42);
    } finally {
      child.kill("SIGTERM");
      await eventually("the service stops", () => child.exitCode !== null || child.signalCode !== null, 20_000);
    }
    assert.equal(child.exitCode, 0);
  });

  it("can be imported, with types", async () => {
    const program =
      'import { startApp, AppError, RuntimeManager } from "code-mode"; console.log(typeof startApp, AppError.name, RuntimeManager.name);';
    const { stdout } = await run(process.execPath, ["--input-type=module", "-e", program], { cwd: path.join(folder, "app") });
    assert.equal(stdout, "function AppError RuntimeManager\n");
    const manifest = JSON.parse(await readFile(path.join(folder, "app", "node_modules", "code-mode", "package.json"), "utf8")) as {
      exports: { ".": { types: string } };
    };
    assert.match(await readFile(path.join(folder, "app", "node_modules", "code-mode", manifest.exports["."].types), "utf8"), /startApp/);
  });

  it("gives the parts for tools to programs that embed it, which call tools of a real server", async () => {
    const program = `
      import { MCPClientManager, SecurityManager, ToolFailure } from "code-mode";
      const empty = new MCPClientManager({ fallbackToMock: true, securityEnabled: true, timeout: 30000 });
      empty.start();
      const unknown = await empty.callTool("memory", "read_graph").catch((error) => error instanceof ToolFailure && error.code);
      await empty.close();
      const transport = { kind: "stdio", command: process.execPath, args: [process.argv[1]], env: { MEMORY_FILE_PATH: process.argv[2] }, cwd: undefined };
      const manager = new MCPClientManager({ servers: new Map([["memory", { transport }]]) });
      manager.start();
      const graph = await manager.callTool("memory", "read_graph");
      const [{ state }] = manager.status();
      await manager.close();
      console.log(JSON.stringify({ unknown, graph, state, enabled: new SecurityManager().enabled }));
    `;
    const server = path.join(packageRoot, "node_modules/@modelcontextprotocol/server-memory/dist/index.js");
    const { stdout } = await run(process.execPath, ["--input-type=module", "-e", program, server, path.join(folder, "memory.jsonl")], {
      cwd: path.join(folder, "app"),
    });
    assert.deepEqual(JSON.parse(stdout), {
      unknown: "TOOL_NOT_FOUND",
      graph: { entities: [], relations: [] },
      state: "connected",
      enabled: true,
    });
  });

  it("holds no test, source or secret of the repository", async () => {
    const files = await readdir(path.join(folder, "app", "node_modules", "code-mode"), { recursive: true });
    const own = files.filter((file) => !file.startsWith("node_modules/"));
    for (const unwanted of [/^test/, /^\.git/, /\.env/, /tsbuildinfo/, /^scripts/])
      assert.ok(!own.some((file) => unwanted.test(file)), String(unwanted));
    for (const wanted of [
      "dist/main.js",
      "dist/sandbox-image/runner.cjs",
      "sandbox-image/node.json",
      "config/runtimes.json",
      "workspace/data",
      "LICENSE",
      "README.md",
    ]) {
      assert.ok(own.includes(wanted), wanted);
    }
  });
});
