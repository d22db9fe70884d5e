/** `code-mode serve` as a process: how it takes signals, also as the first process of a container. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";

import { packageRoot } from "../../src/lib/package-info.ts";
import { docker, eventually, makeTempFolder, writeSetUp } from "../helpers/service.ts";
import { LABEL } from "../../src/sandbox/docker/labels.ts";

interface Service {
  readonly child: ChildProcess;
  readonly url: string;
  /** Of the service itself, which a wrapper may have started. */
  readonly pid: number;
  readonly ended: Promise<[number | null, NodeJS.Signals | null]>;
  log(): string;
}

describe("Serve command", function () {
  this.timeout(60_000);
  let folder: string;
  let env: Record<string, string>;
  const children: ChildProcess[] = [];

  beforeEach(async () => {
    folder = await makeTempFolder();
    env = await writeSetUp(folder, { runtimes: { first: {} } });
  });
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill("SIGKILL");
    const containers = await docker.listContainers({ all: true, filters: { label: [LABEL.instance] } });
    for (const { Id: id, Labels: labels } of containers)
      if (labels[LABEL.runDirectory]?.startsWith(folder) === true) await docker.getContainer(id).remove({ force: true, v: true });
    await rm(folder, { recursive: true, force: true });
  });

  async function serve(wrapper: readonly string[] = []): Promise<Service> {
    const [command, ...args] = [...wrapper, process.execPath, path.join(packageRoot, "dist", "main.js"), "serve"];
    const child = spawn(command, args, {
      env: { PATH: process.env["PATH"], HOME: folder, ...env },
      stdio: ["ignore", "ignore", "pipe"],
      // No terminal: that of whoever runs the tests is not this service's.
      detached: true,
    });
    children.push(child);
    let log = "";
    child.stderr.on("data", (chunk: Buffer) => (log += chunk.toString()));
    const ended = once(child, "close") as Service["ended"];
    await eventually(
      "it listens",
      () => {
        assert.equal(child.exitCode, null, log);
        return log.includes('"url":"');
      },
      30_000,
    );
    const [below] = (await readFile(`/proc/${child.pid ?? 0}/task/${child.pid ?? 0}/children`, "utf8"))
      .split(" ")
      .filter((pid) => pid !== "");
    const pid = wrapper.length === 0 ? (child.pid ?? 0) : Number(below);
    return { child, url: /"url":"([^"]+)"/.exec(log)?.[1] ?? "", pid, ended, log: () => log };
  }

  const writeRuntimes = (text: string): Promise<void> => writeFile(path.join(folder, "config", "runtimes.json"), text);

  async function names({ url }: Service): Promise<string[]> {
    const { runtimes } = (await (await fetch(`${url}/v1/runtimes`)).json()) as { runtimes: { name: string }[] };
    return runtimes.map(({ name }) => name);
  }

  async function runs({ url }: Service): Promise<boolean> {
    const headers = { "content-type": "application/json" };
    const response = await fetch(`${url}/v1/executions`, { method: "POST", headers, body: '{"code": "return 42"}' });
    return ((await response.json()) as { result?: unknown }).result === 42;
  }

  const count = (text: string, part: string): number => text.split(part).length - 1;

  it("reloads at SIGHUP, keeps what it has when the file is broken, and stands a hundred signals at once", async () => {
    const service = await serve();
    await writeRuntimes('{"runtimes": {"second": {}, "first": {}}}');
    process.kill(service.pid, "SIGHUP");
    await eventually("the new runtimes are there", async () => (await names(service))[0] === "second");

    await writeRuntimes('{"runtimes": {"second": {"timeout": "soon", "memoryLimit": 1}}}');
    process.kill(service.pid, "SIGHUP");
    await eventually("both problems are in the log", () => count(service.log(), "was not reloaded") === 2);
    assert.match(service.log(), /runtimes\.second\.timeout: is \\"soon\\"/);
    assert.deepEqual(await names(service), ["second", "first"]);

    await writeRuntimes('{"runtimes": {"third": {}}}');
    const before = count(service.log(), "the configuration was reloaded");
    for (let index = 0; index < 100; index += 1) process.kill(service.pid, "SIGHUP");
    await eventually("the last state is in force", async () => (await names(service))[0] === "third");
    assert.ok(await runs(service));
    const reloads = count(service.log(), "the configuration was reloaded") - before;
    assert.ok(reloads >= 1 && reloads < 20, `${reloads} reloads`);

    process.kill(service.pid, "SIGTERM");
    assert.deepEqual(await service.ended, [0, null]);
    assert.deepEqual(await readdir(path.join(folder, "state")), []);
  });

  it("takes the same signals as the first process of a container, and ends at once at a second SIGTERM", async () => {
    // Who is not root makes no process the first of its kind here; the signals are then the same as above.
    if (process.getuid?.() !== 0) return;
    const service = await serve(["unshare", "--pid", "--fork", "--kill-child"]);
    assert.match(await readFile(`/proc/${service.pid}/status`, "utf8"), /^NSpid:\s+\d+\s+1$/m);
    await writeRuntimes('{"runtimes": {"second": {}}}');
    process.kill(service.pid, "SIGHUP");
    await eventually("the new runtimes are there", async () => (await names(service))[0] === "second");

    const headers = { "content-type": "application/json" };
    const body = JSON.stringify({ code: "await new Promise((resolve) => setTimeout(resolve, 20_000));" });
    const running = fetch(`${service.url}/v1/executions`, { method: "POST", headers, body })
      .then((response) => response.text())
      .catch(() => "");
    await eventually("a program runs", async () => {
      const { executions } = (await (await fetch(`${service.url}/v1/executions?status=running`)).json()) as { executions: unknown[] };
      return executions.length === 1;
    });
    process.kill(service.pid, "SIGTERM");
    await eventually("it waits for what runs", () => service.log().includes("shutting down"));
    const before = performance.now();
    process.kill(service.pid, "SIGTERM");
    assert.deepEqual(await service.ended, [143, null]);
    assert.ok(performance.now() - before < 3000);
    await running;
  });

  it("can be stopped while it starts", async () => {
    const child = spawn(process.execPath, [path.join(packageRoot, "dist", "main.js"), "serve"], {
      env: { PATH: process.env["PATH"], HOME: folder, ...env },
      stdio: "ignore",
      detached: true,
    });
    children.push(child);
    const ended = once(child, "close");
    await eventually("it has begun", async () => (await readdir(path.join(folder, "state"))).length > 0, 30_000);
    child.kill("SIGTERM");
    assert.deepEqual(await ended, [0, null]);
    assert.deepEqual(await readdir(path.join(folder, "state")), []);
  });
});
