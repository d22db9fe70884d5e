/** Servers that are down: what programs get in place of their answers, how long, and that nobody else notices. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";

import { AutoMemHttpFlavour } from "../fixtures/automem/http-flavour.ts";
import { AutoMemService } from "../fixtures/automem/service.ts";
import { AUTOMEM_FALLBACK, autoMemHttp, autoMemStdio } from "../helpers/mcp-servers.ts";
import { eventually, TestService } from "../helpers/service.ts";

const KEY = "fallback-key";
const CAUGHT = `const caught = async (call) => {
  try { return { value: await call() }; } catch ({ code, message, name }) { return { name, code, message }; }
};
`;

interface Caught {
  readonly name?: string;
  readonly code?: string;
  readonly message?: string;
  readonly value?: { readonly mock?: boolean };
}

/** Takes connections and never says a word. */
class MuteServer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor() {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => undefined).on("close", () => this.#sockets.delete(socket));
    });
  }

  static async start(): Promise<MuteServer> {
    const mute = new MuteServer();
    mute.#server.listen(0, "127.0.0.1");
    await once(mute.#server, "listening");
    return mute;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/mcp`;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

describe("MCP Integration: fallback", () => {
  let automem: AutoMemService;
  let flavour: AutoMemHttpFlavour;
  let mute: MuteServer;
  /** Where a service of AutoMem is to come. */
  let absent: string;
  let plain: TestService;
  let service: TestService;
  const startMs = { plain: 0, withServers: 0 };

  before(async () => {
    automem = await AutoMemService.start({ apiKey: KEY });
    flavour = await AutoMemHttpFlavour.start({ apiUrl: automem.url, token: KEY });
    mute = await MuteServer.start();
    const gone = await AutoMemService.start({ apiKey: KEY });
    absent = gone.url;
    await gone.close();
    let began = performance.now();
    plain = await TestService.start();
    startMs.plain = performance.now() - began;
    began = performance.now();
    const missing = { ...autoMemStdio(automem.url, KEY), command: "code-mode-no-such-command" };
    service = await TestService.start({
      mcpServers: {
        automem: { ...autoMemHttp(flavour.url, KEY), fallback: AUTOMEM_FALLBACK, tools: { deny: ["delete_memory"] } },
        never: { ...missing, fallback: AUTOMEM_FALLBACK },
        honest: { ...missing, fallback: { ...AUTOMEM_FALLBACK, mode: "error" } },
        mute: autoMemHttp(mute.url, KEY),
        behind: { ...autoMemStdio(absent, KEY), fallback: AUTOMEM_FALLBACK, healthCheck: { url: `${absent}/health` } },
      },
    });
    startMs.withServers = performance.now() - began;
  });
  beforeEach(() => {
    automem.trouble = {};
    automem.memories.clear();
  });
  after(async () => {
    await service.close();
    await plain.close();
    await mute.close();
    await flavour.close();
    await automem.close();
  });

  const connected = (): Promise<void> =>
    eventually("the server answers", async () => {
      const { value } = (await service.result(`${CAUGHT} return caught(() => automem.recall("anything"));`)) as Caught;
      return value !== undefined && value.mock !== true;
    });

  it("answers for a server that never came up, and calls that a mock everywhere", async () => {
    const execution = await service.run('return [await never.recall("x", 5), await never.store_memory("x")];');
    assert.deepEqual(execution.result, [
      { mock: true, results: [], count: 0 },
      { mock: true, stored: false },
    ]);
    assert.deepEqual([execution.status, execution.degraded], ["completed", true]);
    assert.deepEqual(
      execution.toolCalls.map(({ errorCode, outcome, tool }) => [tool, outcome, errorCode]),
      [
        ["recall_memory", "fallback", undefined],
        ["store_memory", "fallback", undefined],
      ],
    );
    assert.equal(automem.memories.size, 0);
  });

  it("answers where the server runs and what is behind it does not, until that is there", async () => {
    const store = "return behind.store_memory('what is kept');";
    assert.deepEqual(await service.result(store), { mock: true, stored: false });
    const { body } = await service.get<{ state: string; reason: string }>("/v1/servers/behind");
    assert.equal(body.state, "down");
    assert.match(body.reason, /health check fails.*ECONNREFUSED/);
    const late = await AutoMemService.start({ apiKey: KEY, port: Number(new URL(absent).port) });
    try {
      await eventually(
        "the server is connected",
        async () => (await service.get<{ state: string }>("/v1/servers/behind")).body.state === "connected",
        15_000,
      );
      assert.equal(late.memories.size, 0);
      assert.notEqual(((await service.result(store)) as { mock?: boolean }).mock, true);
      assert.equal(late.memories.size, 1);
    } finally {
      await late.close();
    }
  });

  it("has no answer for a tool without one, nor where the configuration wants errors", async () => {
    const code = `${CAUGHT} return [await caught(() => callTool("never", "check_database_health", {})), await caught(() => honest.recall("x"))];`;
    const execution = await service.run(code);
    const failures = execution.result as Caught[];
    assert.deepEqual(
      failures.map((failure) => [failure.name, failure.code]),
      [
        ["ToolError", "TOOL_UNAVAILABLE"],
        ["ToolError", "TOOL_UNAVAILABLE"],
      ],
    );
    assert.equal(execution.degraded, false);
  });

  it("is entered when the server goes, keeps what is denied denied, and is left when the server is back", async () => {
    await connected();
    const { port } = flavour;
    await flavour.close();
    await eventually("the fallback answers", async () => {
      const { result } = await service.run(`${CAUGHT} return caught(() => automem.store_memory("gone?"));`);
      return (result as Caught).value?.mock === true;
    });
    const down = await service.run(
      `${CAUGHT} return [await caught(() => callTool("automem", "delete_memory", { memory_id: "x" })), await automem.recall("x")];`,
    );
    assert.deepEqual([(down.result as Caught[])[0]?.code, down.degraded], ["TOOL_DENIED", true]);

    flavour = await AutoMemHttpFlavour.start({ apiUrl: automem.url, token: KEY, port });
    await eventually(
      "real answers again",
      async () => {
        const { result } = await service.run(`${CAUGHT} return caught(() => automem.recall("x"));`);
        return (result as Caught).value?.mock === undefined && (result as Caught).code === undefined;
      },
      30_000,
    );
    automem.memories.clear();
    const execution = await service.run('await automem.store_memory("stored for good"); return automem.recall("stored");');
    assert.deepEqual([(execution.result as { count: number }).count, execution.degraded, automem.memories.size], [1, false, 1]);
    assert.ok(execution.toolCalls.every(({ outcome }) => outcome === "ok"));
  });

  it("is not for a call that was sent: it is lost, stored at most once, and never sent again", async () => {
    await connected();
    automem.trouble = { delayMs: 600 };
    const sentBefore = automem.requests.length;
    const { port } = flavour;
    const running = service.run(`${CAUGHT} return caught(() => automem.store_memory("once"));`);
    await eventually("the call is under way", () => automem.underWay > 0);
    await flavour.close();
    const lost = await running;
    assert.equal((lost.result as Caught).code, "CONNECTION_LOST", JSON.stringify(lost));
    assert.equal(lost.degraded, false);
    flavour = await AutoMemHttpFlavour.start({ apiUrl: automem.url, token: KEY, port });
    automem.trouble = {};
    await connected();
    await eventually("the store that was under way is done", () => automem.memories.size > 0);
    assert.equal(automem.memories.size, 1);
    assert.equal(automem.requests.slice(sentBefore).filter((request) => request === "POST /memory").length, 1);
  });

  it("delays nobody who does not call it, nor the start", async () => {
    await eventually("the mute server was asked", () => mute.connections > 0);
    const times: Record<"plain" | "service", number[]> = { plain: [], service: [] };
    for (let round = 0; round < 6; round += 1) {
      for (const [name, each] of Object.entries({ plain, service })) {
        const began = performance.now();
        await each.result("return 1");
        times[name as keyof typeof times].push(performance.now() - began);
      }
    }
    const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length / 2] ?? Number.NaN;
    const [floor, found] = [median(times.plain), median(times.service)];
    assert.ok(found < floor * 1.5 + 100, `${found.toFixed(0)} ms; ${floor.toFixed(0)} ms without servers`);
    assert.ok(startMs.withServers < startMs.plain * 1.5 + 1000, JSON.stringify(startMs));
  });

  it("lets a call to a server that never answers fail, in a time of its own", async () => {
    const { code } = (await service.result(
      `${CAUGHT} return caught(() => callTool("mute", "recall_memory", {}, { timeoutMs: 1000 }));`,
    )) as Caught;
    assert.ok(["TOOL_UNAVAILABLE", "TIMEOUT"].includes(code ?? ""), code);
  });
});
