/** The doctor on a real engine: a set-up that is fine, and one thing wrong at a time. */

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import type { AddressInfo, Server } from "node:net";
import path from "node:path";
import { promisify } from "node:util";

import type Docker from "dockerode";

import { diagnose } from "../../src/doctor/doctor.ts";
import type { DiagnoseOptions } from "../../src/doctor/doctor.ts";
import { renderReport } from "../../src/doctor/render.ts";
import { exitCodeOf, reportSchema } from "../../src/doctor/report.ts";
import type { Report } from "../../src/doctor/report.ts";
import { packageRoot } from "../../src/lib/package-info.ts";
import { LABEL } from "../../src/sandbox/docker/labels.ts";
import { LAYERS } from "../../src/sandbox/layers.ts";
import { everythingServer } from "../helpers/mcp-servers.ts";
import { docker, eventually, makeTempFolder, TestService, writeSetUp } from "../helpers/service.ts";
import type { ServiceOptions } from "../helpers/service.ts";

type CheckOfReport = Report["checks"][number];

const textOf = ({ details = [], found, remedy = "" }: CheckOfReport): string => [found, ...details, remedy].join(" ");

describe("Doctor", function () {
  this.timeout(60_000);
  let folder: string;
  let server: Server | undefined;

  beforeEach(async () => {
    folder = await makeTempFolder();
  });
  afterEach(async () => {
    await new Promise((resolve) => (server === undefined ? resolve(undefined) : server.close(resolve)));
    server = undefined;
    for (const { Id: id } of await ownContainers()) await docker.getContainer(id).remove({ force: true, v: true });
    await rm(folder, { recursive: true, force: true });
  });

  async function ownContainers(): Promise<Docker.ContainerInfo[]> {
    const containers = await docker.listContainers({ all: true, filters: { label: [LABEL.instance] } });
    return containers.filter(({ Labels: labels }) => labels[LABEL.runDirectory]?.startsWith(folder));
  }

  /** Looks at a set-up of its own, and asserts that nothing is left of that. */
  async function look(setUp: ServiceOptions = {}, more: Partial<DiagnoseOptions> = {}): Promise<Report> {
    const env = await writeSetUp(folder, setUp);
    const report = await diagnose({ env, cwd: folder, packageRoot, canary: false, ...more });
    assert.deepEqual(await ownContainers(), []);
    if (setUp.env?.["CODE_MODE_STATE_DIR"] === undefined) assert.deepEqual(await readdir(path.join(folder, "state")), []);
    return reportSchema.parse(JSON.parse(JSON.stringify(report)));
  }

  const checkOf = ({ checks }: Report, id: string): CheckOfReport =>
    checks.find((check) => check.id === id) ?? assert.fail(`no check ${id}`);
  const failuresOf = ({ checks }: Report): string[] => checks.filter(({ status }) => status === "fail").map(({ id }) => id);

  it("finds nothing that fails where all is well, and proves the layers", async () => {
    const report = await look({}, { canary: true });
    assert.deepEqual(failuresOf(report), [], JSON.stringify(report.checks, undefined, 1));
    assert.equal(exitCodeOf(report, false), 0);
    assert.match(checkOf(report, "sandbox.canary").found, new RegExp(`^Node 24: all ${LAYERS.length} layers in force`));
    assert.equal(checkOf(report, "images.current").status, "ok");
    assert.match(renderReport(report, { colour: false }), /\n\d+ ok, \d+ notes?, \d+ warnings?, 0 failures\n$/);
  });

  it("names the engine's parts, and each open hole once, with the versions that mend it", async () => {
    const { advisories = [], found } = checkOf(await look(), "engine.known-holes");
    const { Components: components, Version: version } = await docker.version();
    assert.match(found, new RegExp(version.replaceAll(/[.+]/g, "\\$&")));
    for (const { component, fixed, version: reported } of advisories) {
      assert.ok(fixed.length > 0);
      assert.equal(reported, component === "Engine" ? version : components.find(({ Name: name }) => name === component)?.Version);
    }
    assert.equal(new Set(advisories.map(({ id }) => id)).size, advisories.length);
  });

  it("connects to the enabled MCP servers when it is asked to, says what each has, and leaves none", async () => {
    const mcpServers = {
      everything: { ...everythingServer(), env: { MARK: folder }, tools: { deny: ["get-env"] } },
      off: { command: "a-program-that-is-not-there", enabled: false },
    };
    const report = await look({ mcpServers }, { servers: true });
    const { details = [], found, status } = checkOf(report, "servers.connections");
    assert.deepEqual([status, found], ["ok", "1 of 1 enabled server is connected"]);
    assert.match(details.join("\n"), /^everything \(mcp-servers\/everything .*\): connected, 13 tools: 12 for programs, 1 denied\n/);
    assert.ok(details.includes("everything: denied: get-env"));
    assert.ok(details.includes("off: disabled: it is not enabled"), details.join("\n"));
    assert.match(renderReport(report, { colour: false }), /\nservers\n {2}✓ MCP servers/);
    assert.deepEqual(await processesWith(`MARK=${folder}`), []);
    assert.ok(
      (await processesWith(`PATH=${process.env["PATH"]}`)).includes(String(process.pid)),
      "processes are found by their environment",
    );
  });

  it("fails for an enabled MCP server that is down, says why, and shows no secret", async () => {
    const mcpServers = {
      gone: { command: "a-program-that-is-not-there" },
      careless: { command: "sh", args: ["-c", "echo $TOKEN is wrong >&2; exit 3"], env: { TOKEN: "a-secret-of-mine" } },
      lacking: { command: "node", env: { KEY: "${A_KEY_THAT_IS_NOT_SET}" } },
    };
    const report = await look({ mcpServers }, { servers: true });
    assert.deepEqual(failuresOf(report), ["servers.connections"]);
    const said = textOf(checkOf(report, "servers.connections"));
    assert.match(said, /^0 of 3 enabled servers are connected /);
    assert.match(said, /gone: down: command not found: a-program-that-is-not-there/);
    assert.match(said, /careless: down: .*code 3.*\[redacted\] is wrong/);
    assert.match(said, /lacking: down: mcp-servers\.json: mcpServers\.lacking\.env\.KEY: the variable A_KEY_THAT_IS_NOT_SET is not set/);
    assert.ok(!JSON.stringify(report).includes("a-secret-of-mine"));
    assert.equal(checkOf(report, "configuration.servers").status, "warn");
  });

  it("warns of an MCP server that is connected while what is behind it is not well", async () => {
    const behind = createHttpServer((_request, response) => response.end('{"status": "degraded"}')).listen(0, "127.0.0.1");
    await once(behind, "listening");
    try {
      const { port } = behind.address() as AddressInfo;
      const mcpServers = { everything: { ...everythingServer(), healthCheck: { url: `http://127.0.0.1:${port}/health` } } };
      const report = await look({ mcpServers }, { servers: true });
      assert.equal(checkOf(report, "servers.connections").status, "warn");
      assert.match(textOf(checkOf(report, "servers.connections")), /everything \(.*\): degraded: .*health/);
    } finally {
      behind.closeAllConnections();
      behind.close();
    }
  });

  it("is left out on request: the canary, and the MCP servers without one", async () => {
    const { checks } = await look({ mcpServers: { gone: { command: "a-program-that-is-not-there" } } });
    assert.ok(checks.every(({ id }) => !id.startsWith("sandbox.") && !id.startsWith("servers.")));
  });

  const only = (read: readonly string[]): Record<string, object> => ({ node: { permissions: { fileSystem: { read } } } });
  for (const [what, setUp, id, said] of [
    ["no engine", { env: { DOCKER_HOST: "unix:///nowhere/docker.sock" } }, "engine.answers", /no such socket.*Start the engine/],
    ["an address that is none", { env: { DOCKER_HOST: "nonsense" } }, "engine.answers", /DOCKER_HOST: expected/],
    ["nobody on a port", { env: { DOCKER_HOST: "tcp://127.0.0.1:1" } }, "engine.answers", /refused/],
    ["a variable that is no number", { env: { CODE_MODE_PORT: "x" } }, "configuration.environment", /CODE_MODE_PORT/],
    ["a misspelt variable", { env: { CODE_MODE_PROT: "1" } }, "configuration.environment", /CODE_MODE_PROT/],
    ["a strange setting", { runtimes: { node: { timeout: "soon", colour: 1 } } }, "configuration.runtimes", /timeout.*colour/],
    [
      "a runtime that cannot run",
      { runtimes: { node: { permissions: { network: { allowedHosts: ["example.com"] } } } } },
      "configuration.available",
      /allowedHosts: the network gateway/,
    ],
    [
      "a setting of an MCP server that is misspelt",
      { mcpServers: { automem: { command: "npx", Env: { KEY: "a-secret" } } } },
      "configuration.servers",
      /mcpServers\.automem\.Env: is no known setting; write env/,
    ],
    ["a readable path that is not there", { runtimes: only(["./nothing"]) }, "configuration.workspace", /nothing.*does not exist/],
    ["a FIFO in a readable path", { runtimes: only(["./data"]), prepare: addFifo }, "configuration.workspace", /a FIFO/],
    ["no workspace", { env: { CODE_MODE_WORKSPACE_ROOT: "/nowhere" } }, "configuration.workspace", /\/nowhere is no folder/],
    [
      "a file in the way of the state folder",
      { env: { CODE_MODE_STATE_DIR: "/etc/passwd/x" } },
      "configuration.state",
      /passwd is no folder/,
    ],
    ["a state folder that is too long", { env: { CODE_MODE_STATE_DIR: `/${"x".repeat(99)}` } }, "configuration.state", /too long/],
    ["strangers without a key", { env: { CODE_MODE_HOST: "0.0.0.0" } }, "configuration.listening", /CODE_MODE_API_KEYS/],
    ["an engine runtime that is not there", { runtimes: { node: { engineRuntime: "none-such" } } }, "engine.runtimes", /none-such/],
  ] as const satisfies readonly (readonly [string, ServiceOptions, string, RegExp])[]) {
    it(`fails, and says what to mend: ${what}`, async () => {
      const report = await look(setUp);
      assert.deepEqual(failuresOf(report), [id]);
      assert.match(textOf(checkOf(report, id)), said);
      assert.equal(exitCodeOf(report, false), 1);
    });
  }

  for (const [what, answer, said] of [
    ["does not speak HTTP", "hello\n", /does not speak HTTP/],
    ["is no engine", "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}", /is no Docker engine/],
    ["is broken", "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", /answers with HTTP 500/],
  ] as const) {
    it(`fails, and says so, when what answers at the engine's address ${what}`, async () => {
      const socket = path.join(folder, "engine.sock");
      server = createServer((client) => void client.on("data", () => client.end(answer)).on("error", () => undefined)).listen(socket);
      await once(server, "listening");
      const report = await look({ env: { DOCKER_HOST: `unix://${socket}` } }, { canary: true });
      assert.deepEqual(failuresOf(report), ["engine.answers"]);
      assert.match(textOf(checkOf(report, "engine.answers")), said);
    });
  }

  it("lists each problem of a broken file, and still looks at the rest", async () => {
    const env = await writeSetUp(folder);
    await writeFile(path.join(folder, "config", "runtimes.json"), "{");
    const report = await diagnose({ env, cwd: folder, packageRoot, canary: true });
    assert.deepEqual(failuresOf(report), ["configuration.runtimes"]);
    assert.match(checkOf(report, "configuration.runtimes").found, /runtimes\.json:1:\d+: expected/);
    for (const id of ["configuration.available", "images.current", "sandbox.canary"])
      assert.match(checkOf(report, id).found, /^not checked: runtimes\.json cannot be used/);
    assert.equal(checkOf(report, "engine.seccomp").status, "ok");
  });

  it("fails without the sandbox image, says how to build it, and starts no sandbox", async () => {
    const report = await look({}, { imagePrefix: "code-mode-test-none", canary: true });
    assert.deepEqual(failuresOf(report), ["images.current"]);
    assert.match(textOf(checkOf(report, "images.current")), /Node 24: missing.*code-mode image build/);
    assert.match(checkOf(report, "sandbox.canary").found, /^not checked/);
  });

  it("says why the canary does not start", async () => {
    const report = await look({ runtimes: { node: { engineRuntime: "none-such" } } }, { canary: true });
    assert.deepEqual(failuresOf(report), ["engine.runtimes", "sandbox.canary"]);
    assert.match(textOf(checkOf(report, "sandbox.canary")), /Node 24 with none-such: .*could not start/);
  });

  it("tells a service that is there already from another program on its port", async () => {
    server = createServer((socket) => socket.resume().end("hello\n")).listen(0, "127.0.0.1");
    await once(server, "listening");
    const report = await look({ env: { CODE_MODE_PORT: String((server.address() as AddressInfo).port) } });
    assert.deepEqual(failuresOf(report), ["configuration.listening"]);
    assert.match(textOf(checkOf(report, "configuration.listening")), /another program.*CODE_MODE_PORT/);

    const service = await TestService.start();
    try {
      const beside = await look({ env: { CODE_MODE_PORT: new URL(service.url).port } });
      assert.deepEqual(failuresOf(beside), []);
      assert.match(checkOf(beside, "configuration.listening").found, /a Code Mode .* listens on .* already/);
      assert.equal(await service.result("return 42"), 42);
    } finally {
      await service.close();
    }
  });

  it("makes the state folder for the canary where there is none, and takes it away again", async () => {
    const state = path.join(folder, "a", "b");
    const report = await look({ env: { CODE_MODE_STATE_DIR: state } }, { canary: true });
    assert.deepEqual(failuresOf(report), []);
    await assert.rejects(stat(path.join(folder, "a")), { code: "ENOENT" });
  });

  it("reclaims nothing, neither of a dead instance nor of a living one that shares its state folder", async () => {
    const env = await writeSetUp(folder);
    const states: string[][] = [];
    for (const end of ["SIGKILL", undefined] as const) {
      const child = spawn(process.execPath, [path.join(packageRoot, "dist", "main.js"), "serve"], {
        env: { PATH: process.env["PATH"], ...env },
        stdio: ["ignore", "ignore", "pipe"],
      });
      try {
        let log = "";
        child.stderr.on("data", (chunk: Buffer) => (log += chunk.toString()));
        await eventually("the service listens", () => log.includes('"url":"'), 20_000);
        if (end !== undefined) {
          child.kill(end);
          await once(child, "exit");
        }
        states.push((await ownContainers()).map(({ Id: id }) => id).toSorted());
        assert.ok(states.at(-1)!.length > 0);
        const report = await diagnose({ env, cwd: folder, packageRoot, canary: true });
        assert.deepEqual(failuresOf(report), []);
        assert.deepEqual((await ownContainers()).map(({ Id: id }) => id).toSorted(), states.at(-1));
        assert.equal((await readdir(path.join(folder, "state", "run"))).length, 1);
      } finally {
        child.kill("SIGTERM");
        if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
      }
    }
  });
});

/** Processes that have this in their environment. */
async function processesWith(variable: string): Promise<string[]> {
  const ids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const environments = await Promise.all(
    ids.map(async (id) => [id, await readFile(`/proc/${id}/environ`, "utf8").catch(() => "")] as const),
  );
  return environments.filter(([, text]) => text.split("\0").includes(variable)).map(([id]) => id);
}

/** Puts a FIFO where programs read. */
async function addFifo(workspace: string): Promise<void> {
  await promisify(execFile)("mkfifo", [path.join(workspace, "data", "fifo")]);
}

describe("Known holes at the start", () => {
  it("are one warning, that names what is open and points to the doctor; and they stand in /health", async () => {
    const service = await TestService.start();
    try {
      const warnings = service.logLines
        .map((line) => JSON.parse(line) as { level: number; msg: string })
        .filter(({ msg }) => msg.includes("known holes"));
      const env = await writeSetUp(service.folder);
      const report = await diagnose({ env, cwd: service.folder, packageRoot, canary: false });
      const { advisories = [] } = report.checks.find(({ id }) => id === "engine.known-holes") ?? {};
      assert.equal(warnings.length, advisories.length > 0 ? 1 : 0);
      for (const { id } of advisories) assert.ok(warnings[0]?.msg.includes(id));
      const { body } = await service.get<{ knownHoles: { id: string }[] }>("/health");
      assert.deepEqual(body.knownHoles.map(({ id }) => id).sort(), advisories.map(({ id }) => id).sort());
      if (warnings[0] !== undefined) assert.deepEqual([warnings[0].level, warnings[0].msg.endsWith("`code-mode doctor`")], [40, true]);
    } finally {
      await service.close();
    }
  });
});
