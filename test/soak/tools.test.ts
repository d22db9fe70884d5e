/** Tools for a long time: what calls, connections and servers leave behind when there have been many of them. */

import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { AutoMemHttpFlavour } from "../fixtures/automem/http-flavour.ts";
import { AutoMemService } from "../fixtures/automem/service.ts";
import { AUTOMEM_FALLBACK, autoMemHttp, everythingServer, labServer } from "../helpers/mcp-servers.ts";
import { eventually, TestService } from "../helpers/service.ts";

const KEY = "soak-key";
const MIB = 2 ** 20;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const CAUGHT = `const caught = async (call) => {
  try { return { value: await call() }; } catch ({ code }) { return { code }; }
};
`;

/** Bytes of the heap that are in use, after a few turns of the event loop and of the collector. */
async function heapBytes(): Promise<number> {
  for (let turn = 0; turn < 3; turn += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    collectGarbage();
  }
  return process.memoryUsage().heapUsed;
}

/** Processes of this machine whose command line holds the text. */
async function processesWith(text: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (commandLine.includes(text)) found.push(pid);
  }
  return found;
}

describe("Soak: tools", () => {
  let automem: AutoMemService;
  let flavour: AutoMemHttpFlavour;
  let service: TestService;
  let folder: string;
  const warnings: string[] = [];
  const onWarning = ({ message, name }: Error): void => void warnings.push(`${name}: ${message}`);

  before(async () => {
    process.on("warning", onWarning);
    folder = await mkdtemp(path.join(tmpdir(), "cm-soak-"));
    automem = await AutoMemService.start({ apiKey: KEY });
    flavour = await AutoMemHttpFlavour.start({ apiUrl: automem.url, token: KEY });
    service = await TestService.start({
      // Results that are kept for a while are no leak, and would look like one.
      env: { CODE_MODE_MAX_QUEUED: "512", CODE_MODE_RESULT_TTL_MS: "0" },
      logLevel: "silent",
      mcpServers: {
        lab: labServer(),
        everything: everythingServer(),
        automem: { ...autoMemHttp(flavour.url, KEY), fallback: AUTOMEM_FALLBACK },
        // What it starts can be told from all others by this argument.
        mortal: { ...labServer(), args: [...(labServer() as { args: string[] }).args, folder] },
      },
    });
  });
  after(async () => {
    await service.close();
    await flavour.close();
    await automem.close();
    assert.deepEqual(await processesWith(folder), [], "servers are left");
    await rm(folder, { recursive: true });
    process.off("warning", onWarning);
    assert.deepEqual(
      warnings.filter((warning) => warning.startsWith("MaxListeners")),
      [],
    );
  });

  const reconnect = async (name: string): Promise<void> => {
    assert.equal((await service.get(`/v1/servers/${name}/reconnect`, { method: "POST" })).status, 200);
  };

  for (const [name, call] of [
    ["stdio", "lab.echo(number)"],
    ["HTTP", "automem.check_database_health()"],
  ] as const) {
    it(`keeps its memory over 20,000 calls: ${name}`, async () => {
      const make = (calls: number): Promise<unknown> =>
        service.result(
          `let number = ${calls}; const worker = async () => { while (number-- > 0) await ${call}; };
           await Promise.all(Array.from({ length: 20 }, worker));`,
          { timeoutMs: 60_000 },
        );
      // What the first calls warm up is not what the later ones add.
      for (let round = 0; round < 5; round += 1) await make(400);
      const before = await heapBytes();
      const rssBefore = process.memoryUsage().rss;
      for (let round = 0; round < 50; round += 1) await make(400);
      const grown = (await heapBytes()) - before;
      const report = `heap grew by ${(grown / MIB).toFixed(1)} MiB, rss by ${((process.memoryUsage().rss - rssBefore) / MIB).toFixed(0)} MiB`;
      process.stdout.write(`    20,000 calls over ${name}: ${report}\n`);
      assert.ok(grown < 8 * MIB, report);
    });
  }

  it("serves 200 executions at once that call tools, each its own", async () => {
    const code = (number: number): string =>
      `return (await Promise.all(Array.from({ length: 20 }, (_, call) => lab.echo(${number} * 100 + call)))).map(({ value }) => value);`;
    const results = await Promise.all(Array.from({ length: 200 }, (_, number) => service.result(code(number))));
    assert.deepEqual(
      results,
      results.map((_, number) => Array.from({ length: 20 }, (_, call) => number * 100 + call)),
    );
  });

  it("loses no process and no call when a server dies again and again", async () => {
    for (let round = 0; round < 20; round += 1) {
      const lost = (await service.result(
        `${CAUGHT} return Promise.all([caught(() => mortal.wait(60_000)), caught(() => mortal.die())]);`,
      )) as { code: string }[];
      assert.deepEqual(
        lost.map(({ code }) => code),
        ["CONNECTION_LOST", "CONNECTION_LOST"],
      );
      // It would come back by itself, after a longer wait each time.
      await reconnect("mortal");
      assert.equal(await service.result("return (await mortal.echo(1)).value"), 1);
      assert.equal((await processesWith(folder)).length, 1);
    }
  });

  it("goes in and out of its fallback as often as the server does, and stores all that it calls stored", async () => {
    automem.memories.clear();
    const { port } = flavour;
    let stored = 0;
    const seen = new Set<string>();
    const tryOnce = async (): Promise<string> => {
      const { value } = (await service.result(`${CAUGHT} return caught(() => automem.store_memory("flapping"));`)) as {
        value?: { mock?: boolean };
      };
      const kind = value === undefined ? "error" : value.mock === true ? "mock" : "stored";
      if (kind === "stored") stored += 1;
      seen.add(kind);
      return kind;
    };
    for (let round = 0; round < 10; round += 1) {
      await flavour.close();
      await eventually("the fallback answers", async () => (await tryOnce()) === "mock", 30_000);
      flavour = await AutoMemHttpFlavour.start({ apiUrl: automem.url, token: KEY, port });
      if (round > 0) await reconnect("automem");
      await eventually("real answers again", async () => (await tryOnce()) === "stored", 60_000);
    }
    assert.ok(seen.has("mock") && seen.has("stored"));
    assert.equal(automem.memories.size, stored);
  });
});
