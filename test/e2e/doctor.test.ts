/** `code-mode doctor` as a command: what it prints and how it exits, for an operator, a script and a stranger. */

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import type { ExecFileOptions } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

import { reportSchema } from "../../src/doctor/report.ts";
import { packageRoot, packageVersion } from "../../src/lib/package-info.ts";
import { LABEL } from "../../src/sandbox/docker/labels.ts";
import { everythingServer } from "../helpers/mcp-servers.ts";
import { docker, eventually, makeTempFolder, writeSetUp } from "../helpers/service.ts";

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

describe("Doctor command", function () {
  this.timeout(60_000);
  let folder: string;
  let env: Record<string, string>;

  before(async () => {
    folder = await makeTempFolder();
    env = await writeSetUp(folder);
  });
  after(() => rm(folder, { recursive: true, force: true }));

  async function ownContainers(): Promise<number> {
    const containers = await docker.listContainers({ all: true, filters: { label: [LABEL.instance] } });
    return containers.filter(({ Labels: labels }) => labels[LABEL.runDirectory]?.startsWith(folder)).length;
  }

  async function doctor(args: readonly string[], more: Record<string, string> = {}, options: ExecFileOptions = {}): Promise<Ended> {
    const command = [path.join(packageRoot, "dist", "main.js"), ...args];
    const all = { cwd: folder, timeout: 50_000, ...options, env: { PATH: process.env["PATH"], HOME: folder, ...env, ...more } };
    const ended = await promisify(execFile)(process.execPath, command, all).then(
      ({ stderr, stdout }) => ({ code: 0, stdout: String(stdout), stderr: String(stderr) }),
      (error: unknown) => error as Ended,
    );
    assert.doesNotMatch(ended.stdout + ended.stderr, /\n\s+at /, "a stack trace");
    return ended;
  }

  it("exits with 0 where all is well, prints no colour into a pipe, and leaves no container", async () => {
    const { code, stderr, stdout } = await doctor(["doctor"]);
    assert.equal(code, 0, stdout);
    assert.equal(stderr, "");
    assert.match(
      stdout,
      /^host\n {2}✓ Node\.js .*\nengine\n.*\nimages\n.*\nconfiguration\n.*\nsandbox\n {2}✓ .*\n\n\d+ ok, .*, 0 failures\n$/s,
    );
    assert.ok(!stdout.includes("\u001b"));
    assert.equal(await ownContainers(), 0);
  });

  it("takes its container along when it is interrupted", async () => {
    const child = spawn(process.execPath, [path.join(packageRoot, "dist", "main.js"), "doctor"], {
      env: { PATH: process.env["PATH"], HOME: folder, ...env },
      stdio: "ignore",
    });
    const ended = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
    await eventually("it holds a container", async () => (await ownContainers()) > 0 || child.exitCode !== null, 30_000);
    child.kill("SIGINT");
    const [code, signal] = await ended;
    // 0 when it was over before the signal came.
    assert.ok(signal === null && [0, 130].includes(code ?? -1), `${code} ${signal}`);
    assert.equal(await ownContainers(), 0);
    assert.deepEqual(await readdir(path.join(folder, "state")), []);
  });

  it("prints one JSON object for scripts", async () => {
    const { code, stdout } = await doctor(["doctor", "--json", "--no-canary"]);
    const report = reportSchema.parse(JSON.parse(stdout));
    assert.equal(report.version, packageVersion());
    assert.equal(code, report.summary["fail"] === 0 ? 0 : 1);
    assert.equal(
      report.checks.length,
      Object.values(report.summary).reduce((sum, count) => sum + count, 0),
    );
  });

  it("exits with 1 when something fails, and with --strict when something warns", async () => {
    assert.equal((await doctor(["doctor", "--no-canary"], { DOCKER_HOST: "unix:///nowhere.sock" })).code, 1);
    const warned = { CODE_MODE_MAX_RUNNING: "10000" };
    assert.equal((await doctor(["doctor", "--no-canary"], warned)).code, 0);
    assert.equal((await doctor(["doctor", "--no-canary", "--strict"], warned)).code, 1);
  });

  it("tries the MCP servers when it is asked to, and exits with 1 when an enabled one is down", async () => {
    const file = path.join(folder, "config", "mcp-servers.json");
    try {
      await writeFile(file, JSON.stringify({ mcpServers: { everything: everythingServer() } }));
      const well = await doctor(["doctor", "--no-canary", "--servers"]);
      assert.equal(well.code, 0, well.stdout);
      assert.match(
        well.stdout,
        /\nservers\n {2}✓ MCP servers +1 of 1 enabled server is connected\n +everything \(.*\): connected, 13 tools: 13 for programs/,
      );
      await writeFile(file, JSON.stringify({ mcpServers: { gone: { command: "a-program-that-is-not-there" } } }));
      assert.equal((await doctor(["doctor", "--no-canary"])).code, 0);
      const down = await doctor(["doctor", "--no-canary", "--servers"]);
      assert.equal(down.code, 1);
      assert.match(down.stdout, /✗ MCP servers .*\n +gone: down: command not found: a-program-that-is-not-there/);
    } finally {
      await rm(file);
    }
  });

  it("exits with 2 for wrong usage, as every command does, and with 0 for help and version", async () => {
    for (const args of [["doctor", "--nonsense"], ["doctor", "extra"], ["image", "bake"], ["nonsense"]]) {
      const { code, stderr } = await doctor(args);
      assert.equal(code, 2, args.join(" "));
      assert.match(stderr, /^error: .*\n\nUsage: /s);
    }
    for (const args of [["doctor", "--help"], ["--version"]]) assert.equal((await doctor(args)).code, 0);
  });

  it("works in an empty folder, with nothing set, without an engine", async () => {
    const empty = path.join(folder, "empty");
    await mkdir(empty);
    const unset = Object.fromEntries(Object.keys(env).map((name) => [name, ""]));
    const { code, stdout } = await doctor(["doctor"], { ...unset, DOCKER_HOST: "unix:///nowhere.sock" }, { cwd: empty });
    assert.equal(code, 1);
    assert.match(stdout, /✗ Answers .*no such socket/);
    assert.match(stdout, /✓ runtimes\.json .*config\/runtimes\.json: node/);
  });

  it("tells a user who may not use the engine, nor write the state folder, so", async function () {
    if (process.getuid?.() !== 0) return;
    const stranger = { uid: 47_311, gid: 47_311 };
    const { code, stdout } = await doctor(
      ["doctor"],
      { CODE_MODE_CONFIG_DIR: "", CODE_MODE_STATE_DIR: "/root/state" },
      { ...stranger, cwd: "/" },
    );
    assert.equal(code, 1);
    assert.match(stdout, /✗ Answers .*this user may not use it\n +→ .*usermod -aG docker/);
    assert.match(stdout, /✗ State folder .*\(EACCES\)/);
    assert.match(stdout, /· Disk, state folder .*not checked/);
  });
});
