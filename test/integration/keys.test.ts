/** Keys from a file: what each may do on a running service, and what becomes of them when the file changes. */

import assert from "node:assert/strict";
import { mkdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";

import { addKey, revokeKey } from "../../src/config/edit-keys.ts";
import { hashKey } from "../../src/domain/caller.ts";
import type { Scope } from "../../src/domain/caller.ts";
import { StartupError } from "../../src/domain/errors.ts";
import { eventually, TestService } from "../helpers/service.ts";
import type { Answer, ErrorBody } from "../helpers/service.ts";

const entryOf = (name: string, more: object = {}): { name: string; sha256: string; scopes: Scope[] } => ({
  name,
  sha256: hashKey(`${name}-0123456789`),
  scopes: ["execute"],
  ...more,
});
const authorize = (name: string): Record<string, string> => ({ authorization: `Bearer ${name}-0123456789` });
const sleepFor = (ms: number): string => `await new Promise((resolve) => setTimeout(resolve, ${ms})); return "done";`;
/** A change is taken within about two seconds; the machine may be busy. */
const TAKEN_MS = 5000;

describe("Keys", function () {
  this.timeout(60_000);
  let service: TestService;
  const file = (): string => path.join(service.folder, "config", "keys.json");
  const run = (name: string, code: string, more: object = {}): Promise<Answer> =>
    service.post({ code, ...more }, { headers: authorize(name) });
  const status = async (name: string): Promise<number> => (await service.get("/v1/executions", { headers: authorize(name) })).status;
  const callers = async (): Promise<{ name: string; running: number; queued: number }[]> => {
    const { body } = await service.get<{ executions: { callers: { name: string; running: number; queued: number }[] } }>("/health", {
      headers: authorize("ops"),
    });
    return body.executions.callers;
  };

  before(async () => {
    const permissions = { fileSystem: { read: ["./data"] } };
    service = await TestService.start({
      runtimes: { node: { permissions }, other: { permissions } },
      prepare: (workspace) =>
        writeFile(
          path.join(workspace, "..", "config", "keys.json"),
          JSON.stringify([
            entryOf("alice"),
            entryOf("one", { maxRunning: 1 }),
            entryOf("other", { runtimes: ["other"] }),
            entryOf("ops", { scopes: ["admin"] }),
          ]),
          { mode: 0o600 },
        ),
    });
  });
  after(() => service.close());

  it("with maxRunning run no more at once, and the rest after it", async () => {
    const all = Promise.all([1, 2, 3].map(() => run("one", sleepFor(150))));
    const state = { done: false };
    void all.finally(() => (state.done = true));
    let most = 0;
    while (!state.done) most = Math.max(most, (await callers()).find(({ name }) => name === "one")?.running ?? 0);
    for (const { body } of await all) assert.equal(body.result, "done");
    assert.equal(most, 1);
  });

  it("with a list of runtimes run in those alone, the first by default", async () => {
    assert.equal((await run("other", "return 1")).body.runtime, "other");
    const { body, status: code } = (await run("other", "return 1", { runtime: "node" })) as unknown as Answer<ErrorBody>;
    assert.deepEqual([code, body.error.code], [403, "FORBIDDEN"]);
    assert.match(body.error.message, /It may use: other\.$/);
  });

  it("with admin alone start nothing, and cancel what others run", async () => {
    assert.equal((await run("ops", "return 1")).status, 403);
    const running = run("alice", sleepFor(20_000));
    let id = "";
    await eventually("ops sees it", async () => {
      const { body } = await service.get<{ executions: { id: string }[] }>("/v1/executions?status=running", { headers: authorize("ops") });
      id = body.executions[0]?.id ?? "";
      return id !== "";
    });
    const { status: code } = await service.get(`/v1/executions/${id}`, { method: "DELETE", headers: authorize("ops") });
    assert.deepEqual([code, (await running).body.status], [202, "cancelled"]);
  });

  it("that are made are taken by a running service, and refused once they are revoked; what runs goes on to its end", async () => {
    assert.equal(await status("carol"), 401);
    await addKey(entryOf("carol"), [], { file: file() });
    await eventually("carol is known", async () => (await status("carol")) === 200, TAKEN_MS);
    const running = run("carol", sleepFor(3500));
    await eventually("it runs", async () => (await callers()).some(({ name }) => name === "carol"));
    await revokeKey("carol", { file: file() });
    await eventually("carol is refused", async () => (await status("carol")) === 401, TAKEN_MS);
    assert.equal((await running).body.result, "done");
  });

  it("stay as they were while the file is broken, which is said once", async () => {
    await writeFile(file(), '[{"name": "alice",');
    const said = (): string[] => service.logLines.filter((line) => line.includes("the keys stay as they were"));
    await eventually("it is said", () => said().length > 0, TAKEN_MS);
    assert.deepEqual([await status("alice"), await status("nobody")], [200, 401]);
    assert.equal(said().length, 1);
  });
});

describe("Keys of a service that others can reach", function () {
  this.timeout(60_000);

  it("can be none: nobody gets in then, nor when the file is gone, but for whoever is given one", async () => {
    let file = "";
    const service = await TestService.start({
      env: { CODE_MODE_HOST: "127.0.0.2" },
      prepare: async (workspace) => {
        file = path.join(workspace, "..", "config", "keys.json");
        await writeFile(file, "[]", { mode: 0o600 });
      },
    });
    try {
      const status = async (name = "nobody"): Promise<number> => (await service.get("/v1/executions", { headers: authorize(name) })).status;
      assert.equal(await status(), 401);
      await addKey(entryOf("alice"), [], { file });
      await eventually("alice is known", async () => (await status("alice")) === 200, TAKEN_MS);
      await rm(file);
      await eventually("alice is refused", async () => (await status("alice")) === 401, TAKEN_MS);
      assert.equal((await service.get("/v1/executions")).status, 401);
    } finally {
      await service.close();
    }
  });

  it("are set up before it listens there; a file that programs could read is refused", async () => {
    const startIn = (place: string, env: Record<string, string> = {}): Promise<TestService> =>
      TestService.start({
        env,
        prepare: async (workspace) => {
          await mkdir(path.join(workspace, place), { recursive: true });
          await writeFile(path.join(workspace, place, "keys.json"), "[]", { mode: 0o600 });
          env["CODE_MODE_API_KEYS_FILE"] = path.join(workspace, place, "keys.json");
        },
      });
    await assert.rejects(TestService.start({ env: { CODE_MODE_HOST: "127.0.0.2" } }), /code-mode keys add NAME/);
    for (const place of ["data", "data/deep"]) {
      await assert.rejects(startIn(place), (error) => {
        assert.ok(error instanceof StartupError);
        assert.match(error.message, /fileSystem\.read: "data" .* contains .*keys\.json, which programs must not read/);
        return true;
      });
    }
  });
});
