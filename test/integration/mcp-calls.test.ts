/** Calls of tools through a service and its sandboxes: many at once, progress, every way in which one ends, and what is told of them. */

import assert from "node:assert/strict";
import { mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import type { Execution } from "../../src/domain/execution.ts";
import { finishedIn, parseEvents } from "../helpers/events.ts";
import { everythingServer, filesystemServer, labServer, memoryServer } from "../helpers/mcp-servers.ts";
import { eventually, TestService } from "../helpers/service.ts";

const SECRET = "lab-2b8e41-secret";

const CAUGHT = `const caught = async (call) => {
  try { return { value: await call() }; } catch ({ code, data, message, name }) { return { name, code, message, data }; }
};
`;

interface Caught {
  readonly name?: string;
  readonly code?: string;
  readonly message?: string;
  readonly data?: Record<string, unknown>;
  readonly value?: unknown;
}

interface Seen {
  readonly started: number;
  readonly finished: number;
  readonly cancelled: number;
  readonly echoed: number;
}

describe("MCP Integration: calls", () => {
  let service: TestService;
  let folder: string;

  before(async () => {
    folder = await realpath(await mkdtemp(path.join(tmpdir(), "cm-tools-")));
    await writeFile(path.join(folder, "notes.txt"), "The sandbox cannot read this by itself.");
    service = await TestService.start({
      mcpServers: {
        lab: { ...labServer(SECRET), maxResultBytes: 100_000 },
        limited: { ...labServer(), rateLimit: { requestsPerMinute: 100, maxConcurrent: 10 } },
        files: { ...filesystemServer(folder), tools: { allow: "readOnly" } },
        memory: memoryServer(path.join(folder, "memory.jsonl")),
        everything: everythingServer(),
      },
    });
  });
  after(async () => {
    await service.close();
    await rm(folder, { recursive: true });
  });

  const seen = async (): Promise<Seen> => (await service.result("return lab.seen()")) as Seen;
  const callsOf = (execution: Execution, tool: string): Execution["toolCalls"] => execution.toolCalls.filter((call) => call.tool === tool);
  const numberOf = (calls: Execution["toolCalls"]): number => calls.reduce((sum, { count = 1 }) => sum + count, 0);

  it("brings 500 calls at once back to where they belong, and counts each", async () => {
    const execution = await service.run(
      "return (await Promise.all(Array.from({ length: 500 }, (_, number) => lab.echo(number)))).every(({ value }, number) => value === number);",
    );
    assert.equal(execution.result, true, JSON.stringify(execution.error));
    assert.equal(numberOf(callsOf(execution, "echo")), 500);
    assert.ok(execution.toolCalls.every(({ outcome }) => outcome === "ok"));
  });

  it("brings values through as JSON has them, falsy ones too", async () => {
    const values = [0, false, "", null, [], {}, -0.5, "\u0001\u001b[31m\uD83D\uDE00\u2028", [[[]]], { "a.b": { "": 0 } }];
    const back = await service.result(`const values = ${JSON.stringify(values)};
      return Promise.all(values.map(async (value) => (await callTool("lab", "echo", { value, second: [value] }))));`);
    assert.deepEqual(
      back,
      values.map((value) => ({ value, second: [value] })),
    );
  });

  it("lets a program use several servers, each by what it gives", async () => {
    const execution = await service.run(
      `const { content } = await files.read_text_file("notes.txt");
       await memory.create_entities([{ name: "notes.txt", entityType: "note", observations: [content] }]);
       const { entities } = await memory.search_nodes("sandbox");
       return [entities[0].observations[0], await everything.echo("and a third")];`,
    );
    const text = "The sandbox cannot read this by itself.";
    assert.deepEqual(execution.result, [text, "Echo: and a third"], JSON.stringify(execution.error));
    assert.match(await readFile(path.join(folder, "memory.jsonl"), "utf8"), /cannot read this by itself/);
    assert.deepEqual(
      execution.toolCalls.map(({ server, tool }) => `${server}.${tool}`),
      ["files.read_text_file", "memory.create_entities", "memory.search_nodes", "everything.echo"],
    );
  });

  it("refuses what the server itself does not call read-only, where only that is allowed", async () => {
    const execution = await service.run(
      `${CAUGHT} return [await caught(() => files.write_file("notes.txt", "changed")), await caught(() => files.list_directory("."))];`,
    );
    const [written, listed] = execution.result as Caught[];
    assert.deepEqual([written?.name, written?.code, listed?.code], ["ToolError", "TOOL_DENIED", undefined]);
    assert.match(await readFile(path.join(folder, "notes.txt"), "utf8"), /cannot read this/);
    assert.deepEqual(execution.denials, [{ kind: "tool", what: "files.write_file", setting: "mcpServers.files.tools.allow" }]);
  });

  it("passes progress on to the program that asks for it", async () => {
    const result = await service.result(
      `const steps = [];
       const value = await callTool("lab", "wait", { ms: 400, steps: 4 }, { onProgress: ({ progress, total, message }) => steps.push([progress, total, message]) });
       return { value, steps };`,
    );
    const { steps, value } = result as { steps: unknown[]; value: string };
    assert.equal(value, "waited");
    assert.deepEqual(steps.at(-1), [4, 4, "step 4"]);
  });

  it("cancels what the program cancels, and what takes longer than it wants to wait", async () => {
    const before = await seen();
    const result = await service.result(
      `${CAUGHT} const stop = new AbortController(); setTimeout(() => stop.abort(), 200);
       return [await caught(() => callTool("lab", "wait", { ms: 20_000 }, { signal: stop.signal })),
         await caught(() => callTool("lab", "wait", { ms: 20_000 }, { timeoutMs: 200 }))];`,
    );
    const [cancelled, late] = result as Caught[];
    assert.deepEqual([late?.name, late?.code], ["ToolError", "TIMEOUT"]);
    assert.ok(["CANCELLED", undefined].includes(cancelled?.code), JSON.stringify(cancelled));
    await eventually("the server was told of both", async () => (await seen()).cancelled === before.cancelled + 2);
  });

  describe("an execution that ends cancels its calls", () => {
    let before: Seen;
    beforeEach(async () => {
      before = await seen();
    });

    const WAITING = "await Promise.all([lab.wait(60_000), lab.wait(60_000)]);";
    const untilCancelled = (): Promise<void> =>
      eventually("the server was told", async () => {
        const { cancelled, finished } = await seen();
        return cancelled === before.cancelled + 2 && finished === before.finished;
      });
    const untilStarted = (): Promise<void> =>
      eventually("both calls are under way", async () => (await seen()).started === before.started + 2);

    it("at its deadline", async () => {
      const execution = await service.run(WAITING, { timeoutMs: 1500 });
      assert.equal(execution.status, "timed_out");
      assert.deepEqual(
        execution.toolCalls.map(({ errorCode, outcome }) => [outcome, errorCode]),
        [
          ["error", "CANCELLED"],
          ["error", "CANCELLED"],
        ],
      );
      await untilCancelled();
    });

    it("when it is cancelled", async () => {
      const running = await service.post({ code: WAITING }, { headers: { prefer: "respond-async" } });
      await untilStarted();
      await fetch(`${service.url}/v1/executions/${running.body.id}`, { method: "DELETE" });
      await untilCancelled();
      const { body } = await service.get<Execution>(`/v1/executions/${running.body.id}?waitMs=10000`);
      assert.deepEqual([body.status, body.toolCalls.map(({ errorCode }) => errorCode)], ["cancelled", ["CANCELLED", "CANCELLED"]]);
    });

    it("when its client goes away", async () => {
      const client = new AbortController();
      const running = service.post({ code: WAITING }, { signal: client.signal });
      await untilStarted();
      client.abort();
      await assert.rejects(running, { name: "AbortError" });
      await untilCancelled();
    });

    it("when the program exits in their middle", async () => {
      const execution = await service.run("lab.wait(60_000); lab.wait(60_000); setTimeout(() => process.exit(3), 300);");
      assert.deepEqual([execution.status, execution.exitCode], ["failed", 3]);
      assert.equal(numberOf(callsOf(execution, "wait")), 2);
      await untilCancelled();
    });
  });

  it("finishes short calls that nobody waits for, or reports them", async () => {
    const before = await seen();
    const execution = await service.run("for (let i = 0; i < 10; i++) lab.echo(i); return 'not waited';");
    assert.equal(execution.result, "not waited");
    const echoes = callsOf(execution, "echo");
    assert.equal(numberOf(echoes), 10);
    const { echoed } = await seen();
    assert.equal(echoed - before.echoed, numberOf(echoes.filter(({ outcome }) => outcome === "ok")));
  });

  it("sends a call as an event of the stream as soon as it is over, before the program's end", async () => {
    const response = await fetch(`${service.url}/v1/executions`, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/event-stream" },
      body: JSON.stringify({ code: `${CAUGHT} await lab.echo(1); await caught(() => lab.fail("no")); await lab.wait(500); return 1;` }),
    });
    let text = "";
    let toldEarly: boolean | undefined;
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      if (text.includes("event: tool")) toldEarly ??= !text.includes("event: finished");
    }
    const events = parseEvents(text);
    const execution = finishedIn(events);
    const told = events.filter(({ type }) => type === "tool").map(({ data }) => JSON.parse(data) as Execution["toolCalls"][number]);
    assert.deepEqual(told, execution.toolCalls);
    assert.deepEqual(
      told.map(({ errorCode, outcome, tool }) => [tool, outcome, errorCode]),
      [
        ["echo", "ok", undefined],
        ["fail", "error", "TOOL_FAILED"],
        ["wait", "ok", undefined],
      ],
    );
    assert.equal(toldEarly, true);
  });

  it("allows a hundred calls a minute, of all executions together, and says when there are more", async () => {
    const code = `${CAUGHT} const all = await Promise.all(Array.from({ length: 60 }, () => caught(() => limited.echo(1))));
      return all.filter(({ code }) => code !== undefined);`;
    const refused = (await Promise.all([service.result(code), service.result(code)])).flat() as Caught[];
    assert.equal(refused.length, 20);
    assert.deepEqual(new Set(refused.map((failure) => failure.code)), new Set(["RATE_LIMITED"]));
    const retryAfterMs = Number(refused[0]?.data?.["retryAfterMs"]);
    assert.ok(retryAfterMs > 40_000 && retryAfterMs <= 60_000, String(retryAfterMs));
    assert.match(refused[0]?.message ?? "", /100/);
    const next = await service.run(code);
    assert.equal((next.result as unknown[]).length, 60);
    assert.equal(next.denials.length, 1);
    assert.deepEqual([next.denials[0]?.kind, next.denials[0]?.what], ["tool", "limited.echo"]);
    assert.match(next.denials[0]?.setting ?? "", /requestsPerMinute/);
    // Another server has its own.
    assert.deepEqual(await service.result("return lab.echo(2)"), { value: 2 });
  });

  it("keeps a result that is too large from the program, and the call is told as one that ran", async () => {
    const result = (await service.result(
      `${CAUGHT} return [await caught(() => lab.big(1000)), await caught(() => lab.big(200_000))];`,
    )) as Caught[];
    assert.equal((result[0]?.value as string).length, 1000);
    assert.equal(result[1]?.code, "RESULT_TOO_LARGE");
    assert.match(result[1].message ?? "", /maxResultBytes/);
  });

  it("loses a call whose server dies, tells so, and is connected again by itself; the server's secret stays on the host", async () => {
    const [died, failed] = (await service.result(
      `${CAUGHT} return [await caught(() => lab.die()), await caught(() => lab.fail("x")).then(async (answer) => answer.code === "TOOL_FAILED" ? answer : undefined)];`,
    )) as [Caught, Caught | undefined];
    assert.deepEqual([died.name, died.code], ["ToolError", "CONNECTION_LOST"]);
    await eventually("the server is back", async () => {
      const { code } = (await service.result(`${CAUGHT} return caught(() => lab.echo(1));`)) as Caught;
      return code === undefined;
    });
    const told = (await service.result(`${CAUGHT} return caught(() => lab.fail("x"));`)) as Caught;
    assert.equal(told.code, "TOOL_FAILED");
    const shown = JSON.stringify([died, failed, told]) + service.logLines.join("\n");
    assert.ok(!shown.includes(SECRET));
    assert.match(service.logLines.join("\n"), /the secret is/);
  });

  it("serves 20 executions at once that call tools, each its own", async () => {
    const code = (number: number): string =>
      `return (await Promise.all(Array.from({ length: 20 }, (_, call) => lab.echo(${number} * 100 + call)))).map(({ value }) => value);`;
    const results = await Promise.all(Array.from({ length: 20 }, (_, number) => service.result(code(number))));
    assert.deepEqual(
      results,
      results.map((_, number) => Array.from({ length: 20 }, (_, call) => number * 100 + call)),
    );
  });
});
