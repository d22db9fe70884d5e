/** The life of executions and of the service: admission, cancelling, shutdown, what a killed instance leaves, an engine that goes. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { chown, readdir, readFile, rm, stat } from "node:fs/promises";
import path from "node:path";

import { packageRoot } from "../../src/lib/package-info.ts";
import { LABEL } from "../../src/sandbox/docker/labels.ts";
import { EngineProxy } from "../helpers/proxy.ts";
import { docker, eventually, makeTempFolder, TestService, writeSetUp } from "../helpers/service.ts";
import type { ErrorBody } from "../helpers/service.ts";

const SLEEP = "await new Promise((resolve) => setTimeout(resolve, 60_000)); return 1;";

describe("Life cycle", () => {
  describe("admission", () => {
    let service: TestService;
    before(async () => {
      service = await TestService.start({ env: { CODE_MODE_MAX_RUNNING: "2", CODE_MODE_MAX_QUEUED: "4", CODE_MODE_MAX_STARTING: "1" } });
    });
    after(() => service.close());

    it("runs some, queues some, and refuses the rest with Retry-After", async () => {
      const code = "await new Promise((resolve) => setTimeout(resolve, 1000)); return 1;";
      const answers = await Promise.all(
        Array.from({ length: 10 }, () => service.post<ErrorBody & { status: string; usage: { queuedMs: number } }>({ code })),
      );
      const ran = answers.filter(({ status }) => status === 200);
      const refused = answers.filter(({ status }) => status === 429);
      assert.deepEqual([ran.length, refused.length], [6, 4]);
      for (const { body, headers } of refused) {
        assert.equal(body.error.code, "QUEUE_FULL");
        assert.match(headers.get("retry-after") ?? "", /^\d+$/);
      }
      assert.ok(ran.some(({ body }) => body.usage.queuedMs > 500));
    });

    it("serves 20 in a row at twice its width without losing one", async () => {
      let next = 0;
      const results: unknown[] = [];
      const worker = async (): Promise<void> => {
        while (next < 20) {
          const number = next++;
          results[number] = await service.result(`return ${number} * 2`);
        }
      };
      await Promise.all([worker(), worker(), worker(), worker()]);
      assert.deepEqual(
        results,
        Array.from({ length: 20 }, (_, number) => number * 2),
      );
    });
  });

  describe("cancelling", () => {
    let service: TestService;
    before(async () => {
      service = await TestService.start();
    });
    after(() => service.close());

    it("tells the id as soon as the program runs, and cancels by it", async () => {
      const response = await fetch(`${service.url}/v1/executions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ code: SLEEP }),
      });
      const id = response.headers.get("x-execution-id") ?? "";
      assert.equal(response.headers.get("location"), `/v1/executions/${id}`);
      assert.equal((await service.get<{ status: string }>(`/v1/executions/${id}`)).body.status, "running");
      const cancelled = await service.get<{ id: string }>(`/v1/executions/${id}`, { method: "DELETE" });
      assert.deepEqual([cancelled.status, cancelled.body.id], [202, id]);
      const execution = (await response.json()) as { status: string; signal: string };
      assert.deepEqual([execution.status, execution.signal], ["cancelled", "SIGKILL"]);
      assert.equal((await service.get(`/v1/executions/${id}`, { method: "DELETE" })).status, 200);
      assert.equal((await service.get<{ status: string }>(`/v1/executions/${id}`)).body.status, "cancelled");
    });

    it("cancels when the client disconnects, and leaves nothing", async () => {
      const gone = new AbortController();
      const response = await fetch(`${service.url}/v1/executions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ code: SLEEP }),
        signal: gone.signal,
      });
      const id = response.headers.get("x-execution-id") ?? "";
      gone.abort();
      await eventually(
        "the execution is cancelled",
        async () => (await service.get<{ status: string }>(`/v1/executions/${id}`)).body.status === "cancelled",
      );
      await eventually("its sandbox is gone", async () => (await service.sandboxes()).length === 0);
    });

    it("cancels when the client disconnects while its sandbox starts", async () => {
      for (const delayMs of [0, 20, 60, 100, 140]) {
        const gone = new AbortController();
        const request = service.post({ code: SLEEP }, { signal: gone.signal }).catch(() => undefined);
        await new Promise((resolve) => setTimeout(resolve, delayMs));
        gone.abort();
        await request;
      }
      await eventually("their sandboxes are gone", async () => (await service.sandboxes()).length === 0);
      await eventually("their folders are gone", async () => (await executionFolders(service.folder)).length === 0);
    });

    it("lists recent executions, newest first, and filters them by status", async () => {
      await service.run("throw new Error()");
      await service.run("return 1");
      const { body } = await service.get<{ executions: { id: string; status: string; createdAt: string }[] }>("/v1/executions?limit=2");
      assert.deepEqual(
        body.executions.map(({ status }) => status),
        ["completed", "failed"],
      );
      const failed = await service.get<{ executions: { status: string }[] }>("/v1/executions?status=failed");
      assert.ok(failed.body.executions.length > 0 && failed.body.executions.every(({ status }) => status === "failed"));
      assert.equal((await service.get("/v1/executions?status=odd")).status, 400);
    });
  });

  it("finishes what runs when it shuts down, cancels what takes too long, and accepts nothing more", async () => {
    const service = await TestService.start({ env: { CODE_MODE_SHUTDOWN_GRACE_MS: "1500" } });
    const short = service.run('await new Promise((resolve) => setTimeout(resolve, 700)); return "finished";');
    const long = service.run(SLEEP);
    await eventually("both run", async () => (await service.sandboxes()).length === 2);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const closing = service.close();
    const refused = await service.post<ErrorBody>({ code: "1" }).catch((error: unknown) => error);
    assert.ok(refused instanceof Error || (refused as { status: number }).status === 503);
    assert.equal((await short).result, "finished");
    assert.equal((await long).status, "cancelled");
    await closing;
  });

  describe("as a process", () => {
    let folder: string;
    const children: ChildProcess[] = [];

    beforeEach(async () => {
      folder = await makeTempFolder();
    });
    afterEach(async () => {
      for (const child of children.splice(0)) child.kill("SIGKILL");
      for (const container of await ownContainers(folder)) await docker.getContainer(container.Id).remove({ force: true, v: true });
      await rm(folder, { recursive: true, force: true });
    });

    async function serve(
      env: Record<string, string>,
      identity: { uid?: number; gid?: number } = {},
    ): Promise<{ child: ChildProcess; url: string }> {
      const child = spawn(process.execPath, [path.join(packageRoot, "dist", "main.js"), "serve"], {
        env: { PATH: process.env["PATH"], ...env },
        stdio: ["ignore", "ignore", "pipe"],
        ...identity,
      });
      children.push(child);
      let log = "";
      child.stderr.on("data", (chunk: Buffer) => (log += chunk.toString()));
      await eventually("the service listens", () => {
        if (child.exitCode !== null) throw new Error(`the service ended: ${log}`);
        return /"url":"([^"]+)"/.test(log);
      });
      return { child, url: /"url":"([^"]+)"/.exec(log)?.[1] ?? "" };
    }

    const post = (url: string, code: string): Promise<Response> =>
      fetch(`${url}/v1/executions`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ code }) });
    const runs = async (url: string): Promise<boolean> => {
      const response = await post(url, "return 42");
      return ((await response.json()) as { result?: unknown }).result === 42;
    };
    /** Kills a service whose sandbox runs, and so leaves it behind. */
    async function killWhileItRuns({ child, url }: { child: ChildProcess; url: string }): Promise<void> {
      void post(url, SLEEP).catch(() => undefined);
      await eventually("its sandbox runs", async () => (await ownContainers(folder, "sandbox")).length === 1);
      child.kill("SIGKILL");
      await eventually("the instance is dead", () => child.signalCode !== null);
    }

    it("reclaims what a killed instance left, and spares a living one", async () => {
      const env = await writeSetUp(folder);
      const killed = await serve(env);
      const living = await serve(env);
      await killWhileItRuns(killed);
      assert.equal((await ownContainers(folder)).length, 3, "a sandbox and two leases");

      const next = await serve(env);
      assert.equal((await ownContainers(folder, "sandbox")).length, 0);
      assert.equal((await ownContainers(folder, "uid-lease")).length, 2);
      assert.equal((await readdir(path.join(folder, "state", "run"))).length, 2);
      assert.ok(await runs(living.url));
      assert.ok(await runs(next.url));
      for (const { child } of [living, next]) {
        child.kill("SIGTERM");
        await eventually("it stops", () => child.exitCode === 0, 15_000);
      }
      assert.deepEqual(await ownContainers(folder), []);
      assert.deepEqual(await readdir(path.join(folder, "state")), []);
    });

    it("reclaims the mounts of a dead sandbox whose container was removed by hand", async () => {
      const env = await writeSetUp(folder);
      const killed = await serve(env);
      await killWhileItRuns(killed);
      for (const { Id: id } of await ownContainers(folder, "sandbox")) await docker.getContainer(id).remove({ force: true });
      assert.ok((await ownVolumes(folder)) > 0);
      const next = await serve(env);
      assert.equal(await ownVolumes(folder), 0);
      next.child.kill("SIGTERM");
      await eventually("it stops", () => next.child.exitCode === 0, 15_000);
    });

    it("runs as an unprivileged user in the engine's group", async function () {
      if (process.getuid?.() !== 0) {
        // Not root: then every other test shows it already.
        assert.ok(await docker.ping());
        return;
      }
      const env = await writeSetUp(folder);
      const { gid } = await stat("/var/run/docker.sock");
      const uid = 47_311;
      for (const name of ["", "state", "config", "workspace", "workspace/data", "workspace/config"])
        await chown(path.join(folder, name), uid, gid);
      const { child, url } = await serve({ ...env, HOME: folder }, { uid, gid });
      const status = await readFile(`/proc/${child.pid ?? 0}/status`, "utf8");
      assert.match(status, /CapEff:\s+0+\n/);
      assert.ok(await runs(url));
      child.kill("SIGTERM");
      await eventually("it stops", () => child.exitCode === 0, 15_000);
      assert.deepEqual(await ownContainers(folder), []);
    });

    it("names every problem of a broken set-up and exits, leaving nothing", async () => {
      const env = await writeSetUp(folder, { runtimes: { node: { timeout: "soon", permissions: { fileSystem: { read: ["../x"] } } } } });
      const { code, text } = await startAndFail({ ...env, CODE_MODE_PORT: "65536" });
      assert.equal(code, 78);
      assert.match(text, /CODE_MODE_PORT/);
      const second = await startAndFail(env);
      assert.match(second.text, /runtimes\.json: runtimes\.node\.timeout/);
    });

    it("does not start without a key on an address that others can reach", async () => {
      const env = await writeSetUp(folder);
      const { code, text } = await startAndFail({ ...env, CODE_MODE_HOST: "0.0.0.0" });
      assert.deepEqual([code, text.includes("CODE_MODE_API_KEYS")], [78, true]);
    });

    it("says that there is no engine, and what to do", async () => {
      const env = await writeSetUp(folder);
      const { code, text } = await startAndFail({ ...env, DOCKER_HOST: `unix://${folder}/nothing.sock` });
      assert.equal(code, 78);
      assert.match(text, /no container engine at unix:\/\/.*\/nothing\.sock: .*start it/);
    });

    it("does not start when a program could read what it must not", async () => {
      for (const [read, extra, word] of [
        ["./sub", { CODE_MODE_CONFIG_DIR: "workspace/sub/config" }, /must not read/],
        ["./sub", { CODE_MODE_STATE_DIR: "workspace/sub/state" }, /must not read/],
        ["./sub/config", { CODE_MODE_CONFIG_DIR: "workspace/sub/config" }, /must not read/],
        ["./sub", { CODE_MODE_STATE_DIR: "workspace/sub/made/at/the/start" }, /contains .*start, which/],
        ["./sub/state/below", { CODE_MODE_STATE_DIR: "workspace/sub/state" }, /lies in/],
        ["./missing", {}, /does not exist/],
        ["./climb", {}, /outside the workspace root/],
        ["./fifo", {}, /FIFO/],
      ] as const) {
        const env = await writeSetUp(folder, { runtimes: { node: { permissions: { fileSystem: { read: [read] } } } } });
        const script = `mkdir -p workspace/sub/state/below workspace/sub/config workspace/fifo; cp config/runtimes.json workspace/sub/config/; ln -sfn /etc workspace/climb; test -p workspace/fifo/f || mkfifo workspace/fifo/f`;
        await new Promise((resolve) => spawn("sh", ["-c", script], { cwd: folder }).on("close", resolve));
        const overrides = Object.fromEntries(Object.entries(extra).map(([name, value]) => [name, path.join(folder, value)]));
        const { code, text } = await startAndFail({ ...env, ...overrides });
        assert.equal(code, 78, text);
        assert.match(text, word);
      }
    });

    async function startAndFail(env: Record<string, string>): Promise<{ code: number | null; text: string }> {
      const child = spawn(process.execPath, [path.join(packageRoot, "dist", "main.js"), "serve"], {
        env: { PATH: process.env["PATH"], ...env },
        stdio: ["ignore", "ignore", "pipe"],
      });
      children.push(child);
      let text = "";
      child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
      const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
      assert.deepEqual(await ownContainers(folder), []);
      return { code, text };
    }
  });

  describe("an engine that goes away", () => {
    let folder: string;
    let proxy: EngineProxy;
    let service: TestService;

    before(async () => {
      folder = await makeTempFolder();
      proxy = new EngineProxy(folder);
      await proxy.open();
      service = await TestService.start({ env: { DOCKER_HOST: proxy.dockerHost } });
    });
    after(async () => {
      await proxy.close();
      await proxy.open();
      await service.close();
      await proxy.close();
      await rm(folder, { recursive: true, force: true });
    });

    it("makes requests fail clearly, and the next ones work when it is back", async () => {
      await proxy.close();
      const { body, headers, status } = await service.post<ErrorBody>({ code: "return 1" });
      assert.deepEqual([status, body.error.code], [503, "SANDBOX_UNAVAILABLE"]);
      assert.match(headers.get("retry-after") ?? "", /^\d+$/);
      assert.match(body.error.message, /engine/);
      await eventually("health is down", async () => (await service.get<{ status: string }>("/health")).status === 503);
      await proxy.open();
      await eventually("health is up", async () => (await service.get<{ status: string }>("/health")).status === 200);
      assert.equal(await service.result("return 6 * 7"), 42);
    });

    it("gives a program that runs a result when the engine dies in the middle", async () => {
      const running = service.run("await new Promise((resolve) => setTimeout(resolve, 1500)); return 1;", { timeoutMs: 10_000 });
      await eventually("it runs", async () => (await service.sandboxes()).length > 0);
      await new Promise((resolve) => setTimeout(resolve, 500));
      await proxy.close();
      const execution = await running;
      assert.match(execution.status, /^(completed|killed)$/);
      await proxy.open();
      assert.equal(await service.result("return 6 * 7"), 42);
      await eventually("what could not be removed then is removed now", async () => (await service.sandboxes()).length === 0, 20_000);
    });
  });
});

async function ownContainers(folder: string, kind?: string): Promise<{ Id: string }[]> {
  const containers = await docker.listContainers({ all: true, filters: { label: [LABEL.instance] } });
  return containers.filter(
    ({ Labels: labels }) => labels[LABEL.runDirectory]?.startsWith(folder) === true && (kind === undefined || labels[LABEL.kind] === kind),
  );
}

async function ownVolumes(folder: string): Promise<number> {
  const { Volumes: volumes } = await docker.listVolumes({ filters: JSON.stringify({ label: [LABEL.instance] }) });
  return volumes.filter((volume) => volume.Labels[LABEL.runDirectory]?.startsWith(folder)).length;
}

async function executionFolders(folder: string): Promise<string[]> {
  const [instance] = await readdir(path.join(folder, "state", "run"));
  return (await readdir(path.join(folder, "state", "run", instance ?? ""))).filter((name) => name.startsWith("exe_"));
}
