/** Reloading the configuration of a service that runs: who gets which policy, and what a file that cannot be used changes. */

import assert from "node:assert/strict";
import type { ReloadOutcome } from "../../src/configuration.ts";
import { eventually, TestService } from "../helpers/service.ts";

interface RuntimeView {
  readonly name: string;
  readonly default: boolean;
  readonly unavailable: string[];
}

interface HealthView {
  readonly configuration: { readonly loadedAt: string; readonly lastError?: { readonly message: string } };
  readonly images: { readonly holds: string }[];
}

const READ_DATA = { fileSystem: { read: ["./data"], write: ["./temp"] } };
const READ_CONFIG = { fileSystem: { read: ["./config"], write: ["./temp"] } };
const LIST = 'return require("node:fs").readdirSync(".").sort();';
const LIST_LATER = `require("node:fs").writeFileSync("temp/started", ""); await new Promise((resolve) => setTimeout(resolve, 1500)); ${LIST}`;

const problemsOf = (outcome: ReloadOutcome): string => (outcome.ok ? assert.fail("it was taken") : outcome.problems.join("\n"));

describe("Reload", () => {
  let service: TestService;

  before(async () => {
    service = await TestService.start({
      env: { CODE_MODE_MAX_RUNNING: "1" },
      runtimes: { node: { permissions: READ_DATA } },
    });
  });
  beforeEach(async () => {
    await service.writeRuntimes({ node: { permissions: READ_DATA } });
    assert.deepEqual(await service.reload(), { ok: true });
  });
  after(() => service.close());

  const names = async (): Promise<string[]> =>
    (await service.get<{ runtimes: RuntimeView[] }>("/v1/runtimes")).body.runtimes.map(({ name }) => name);
  const health = async (): Promise<HealthView> => (await service.get<HealthView>("/health")).body;

  it("gives new executions the new policy; what runs and what waits keeps the one that it came with", async () => {
    const running = service.result(LIST_LATER);
    await eventually("it runs", async () => (await service.sandboxes()).length === 1);
    const waiting = service.result(LIST);
    await eventually("the other waits", async () => {
      const { body } = await service.get<{ executions: { status: string }[] }>("/v1/executions?status=queued");
      return body.executions.length === 1;
    });
    await service.writeRuntimes({ node: { permissions: READ_CONFIG } });
    assert.deepEqual(await service.reload(), { ok: true });
    const later = service.result(LIST);
    assert.deepEqual(await running, ["data", "temp"]);
    assert.deepEqual(await waiting, ["data", "temp"]);
    assert.deepEqual(await later, ["config", "temp"]);
  });

  it("shows the new runtimes, and takes the next as the default when the first is gone", async () => {
    const before = (await health()).configuration.loadedAt;
    await service.writeRuntimes({ other: { timeout: 5000 }, node: { permissions: READ_DATA } });
    assert.deepEqual(await service.reload(), { ok: true });
    assert.deepEqual(await names(), ["other", "node"]);
    assert.equal((await service.run("return 1")).runtime, "other");

    await service.writeRuntimes('// With a comment.\n{"runtimes": {"other": {"timeout": 5000,},}}');
    assert.deepEqual(await service.reload(), { ok: true });
    assert.deepEqual(await names(), ["other"]);
    const { status } = await service.post({ code: "return 1", runtime: "node" });
    assert.equal(status, 404);
    const after = (await health()).configuration;
    assert.ok(after.loadedAt > before);
    assert.equal(after.lastError, undefined);
  });

  it("takes as many files of a request as the new runtimes allow", async () => {
    const files = Array.from({ length: 4000 }, (_, index) => ({ path: `in/${index}`, content: "", encoding: "utf8" }));
    const refused = await service.post({ code: "return 1", files });
    assert.equal(refused.status, 400);
    await service.writeRuntimes({ node: { limits: { inputFiles: 5000 } } });
    assert.deepEqual(await service.reload(), { ok: true });
    assert.equal(await service.result("return 1", { files }), 1);
  });

  describe("changes nothing and says why", () => {
    const refusals: readonly (readonly [string, Readonly<Record<string, object>> | string, RegExp])[] = [
      ["when the file is no JSON", '{"runtimes": {"node": {}', /runtimes\.json:1:25: expected "," or "}"/],
      [
        "when a setting is unknown, and one is wrong",
        { node: { timeot: 1, memoryLimit: "1B" } },
        /memoryLimit: is "1B".*\n.*timeot: is 1: is no known/,
      ],
      ["when it holds no runtime", {}, /runtimes: is empty/],
      ["when a readable path is missing", { node: { permissions: { fileSystem: { read: ["./nowhere"] } } } }, /"nowhere" .*does not exist/],
      [
        "when a runtime that can run asks for an engine runtime that is not there",
        { node: { engineRuntime: "nonesuch" } },
        /"node" can run now, and could not any more: .*canary/,
      ],
      [
        "when a runtime that can run asks for an image that is not built",
        { node: { packages: ["cowsay"] } },
        /^runtime "node" can run now, and could not any more: .*code-mode image build/,
      ],
      [
        "when a permission cannot be enforced yet",
        { node: { permissions: { network: { allowedHosts: ["example.com"] } } } },
        /"node" can run now, and could not any more: permissions\.network\.allowedHosts/,
      ],
    ];
    for (const [title, runtimes, problem] of refusals) {
      it(title, async () => {
        const { loadedAt } = (await health()).configuration;
        service.logLines.splice(0);
        await service.writeRuntimes(runtimes);
        const problems = problemsOf(await service.reload());
        assert.match(problems, problem);
        const logged = service.logLines.filter((line) => line.includes("was not reloaded"));
        assert.equal(logged.length, problems.split("\n").length, "a line of the log for each problem");
        const { configuration } = await health();
        assert.equal(configuration.loadedAt, loadedAt);
        assert.ok(!JSON.stringify(configuration).includes(service.folder), "a path of the host");
        assert.match(configuration.lastError?.message ?? "", /runtimes\.json could not be reloaded/);
        assert.deepEqual(await service.result(LIST), ["data", "temp"]);
      });
    }
  });

  it("keeps a new runtime that cannot run here, with its reason", async () => {
    await service.writeRuntimes({ node: { permissions: READ_DATA }, odd: { engineRuntime: "nonesuch" } });
    assert.deepEqual(await service.reload(), { ok: true });
    const { body } = await service.get<{ runtimes: RuntimeView[] }>("/v1/runtimes");
    assert.match(body.runtimes.find(({ name }) => name === "odd")?.unavailable[0] ?? "", /canary/);
    assert.equal(await service.result("return 6 * 7"), 42);
  });

  it("is done twice for a storm of a hundred, while programs run", async () => {
    service.logLines.splice(0);
    const running = service.result('await new Promise((resolve) => setTimeout(resolve, 300)); return "unharmed";');
    const outcomes = await Promise.all(Array.from({ length: 100 }, () => service.reload()));
    assert.ok(outcomes.every(({ ok }) => ok));
    assert.equal(await running, "unharmed");
    assert.equal(service.logLines.filter((line) => line.includes("the configuration was reloaded")).length, 2);
  });
});
