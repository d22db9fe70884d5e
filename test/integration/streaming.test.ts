/** Streams, joining, waiting and executions without a caller, on a real engine and real sockets. */

import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import type { Execution } from "../../src/domain/execution.ts";
import { finishedIn, parseEvents, printedIn } from "../helpers/events.ts";
import type { SentEvent } from "../helpers/events.ts";
import { EngineProxy } from "../helpers/proxy.ts";
import { openPaused } from "../helpers/raw-http.ts";
import { eventually, makeTempFolder, TestService } from "../helpers/service.ts";
import type { Answer, ErrorBody } from "../helpers/service.ts";

const MIB = 2 ** 20;
const SLEEP = "await new Promise((resolve) => setTimeout(resolve, 60_000)); return 1;";
const JSON_BODY = { "content-type": "application/json" };
const STREAM = { accept: "text/event-stream" };
const ASYNC = { prefer: "respond-async" };

describe("Streaming", function () {
  this.timeout(60_000);
  let service: TestService;
  const sockets: Socket[] = [];

  before(async () => {
    service = await TestService.start({
      env: { CODE_MODE_MAX_RUNNING: "6", CODE_MODE_MAX_QUEUED: "40", CODE_MODE_MAX_BODY_BYTES: String(4 * MIB) },
      runtimes: { node: { limits: { maxTimeoutMs: 60_000, maxOutputBytes: "64MB", outputCeilingBytes: "256MB" } } },
    });
  });
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
  });
  after(() => service.close());

  const stream = (code: string, request: object = {}, init: RequestInit = {}): Promise<Response> =>
    fetch(`${service.url}/v1/executions`, {
      method: "POST",
      headers: { ...JSON_BODY, ...STREAM },
      body: JSON.stringify({ code, ...request }),
      ...init,
    });
  const streamed = async (code: string, request: object = {}): Promise<SentEvent[]> =>
    parseEvents(await (await stream(code, request)).text());
  const submit = async (code: string, request: object = {}): Promise<string> => {
    const { body, status } = await service.post({ code, ...request }, { headers: ASYNC });
    assert.equal(status, 202, JSON.stringify(body));
    return body.id;
  };
  const wait = async (id: string, waitMs = 30_000): Promise<Execution> =>
    (await service.get<Execution>(`/v1/executions/${id}?waitMs=${waitMs}`)).body;
  const follow = async (id: string, headers: Record<string, string> = {}): Promise<SentEvent[]> =>
    parseEvents(await (await fetch(`${service.url}/v1/executions/${id}/events`, { headers })).text());
  const cancel = (id: string): Promise<Answer> => service.get(`/v1/executions/${id}`, { method: "DELETE" });
  const open = async (path: string, headers: Record<string, string> = {}, body?: string): Promise<Socket> => {
    const socket = await openPaused(service.url, path, headers, body);
    sockets.push(socket);
    return socket;
  };

  describe("a stream", () => {
    it("brings what is printed while the program runs", async () => {
      const response = await stream(
        'for (const word of ["one ", "two ", "three"]) { process.stdout.write(word); await new Promise((resolve) => setTimeout(resolve, 400)); } return "end";',
      );
      const arrivals: { at: number; text: string }[] = [];
      for await (const chunk of response.body!) arrivals.push({ at: performance.now(), text: Buffer.from(chunk as Uint8Array).toString() });
      const events = parseEvents(arrivals.map(({ text }) => text).join(""));
      assert.equal(finishedIn(events).result, "end");
      assert.equal(printedIn(events, "stdout"), "one two three");
      const atOf = (word: string): number => arrivals.find(({ text }) => text.includes(word))!.at;
      assert.ok(atOf("two ") - atOf("one ") > 200 && atOf("three") - atOf("two ") > 200);
    });

    it("has the output of the result exactly, in whole characters, also where it is cut", async () => {
      const code = `const fs = require("node:fs");
        for (let i = 0; i < 300; i++) { for (const byte of Buffer.from("é€😀")) fs.writeSync(1, Buffer.from([byte])); fs.writeSync(2, "e"); if (i % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 20)); }`;
      for (const outputBytes of [1_000_000, 1000]) {
        const events = await streamed(code, { limits: { outputBytes } });
        const { stderr, stdout, truncated } = finishedIn(events);
        assert.equal(stdout, "é€😀".repeat(300).slice(0, outputBytes === 1000 ? stdout.length : Infinity));
        assert.equal(truncated.stdout, outputBytes === 1000);
        assert.equal(printedIn(events, "stdout"), stdout);
        assert.equal(printedIn(events, "stderr"), stderr);
        assert.equal(stderr, "e".repeat(300));
        for (const { data, type } of events) if (type === "stdout") assert.match((JSON.parse(data) as { text: string }).text, /^[é€😀]+$/u);
      }
    });

    it("of a program that prints byte by byte has few events", async () => {
      const code = 'const fs = require("node:fs"), byte = Buffer.from("x"); for (let i = 0; i < 200_000; i++) fs.writeSync(1, byte);';
      const events = await streamed(code);
      assert.equal(finishedIn(events).stdout.length, 200_000);
      assert.ok(events.length < 2000, `${events.length} events`);
    });

    it("reaches a slow reader whole", async () => {
      const body = JSON.stringify({ code: 'process.stdout.write("\\u0001".repeat(3 << 20))', limits: { outputBytes: 3 * MIB } });
      const socket = await open("/v1/executions", { ...JSON_BODY, ...STREAM, connection: "close" }, body);
      const chunks: Buffer[] = [];
      // 36 MB in all, a megabyte at a time.
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        chunks.push(chunk);
        if (chunks.length % 16 === 0) await sleep(10);
      }
      const text = Buffer.concat(chunks).toString();
      assert.match(text, /^HTTP\/1\.1 200 OK\r\n/);
      const events = parseEvents(unchunked(text));
      assert.equal(printedIn(events, "stdout"), "\u0001".repeat(3 * MIB));
      assert.equal(finishedIn(events).stdout, "\u0001".repeat(3 * MIB));
    });

    it("that is torn off ends the program and its container", async () => {
      const body = JSON.stringify({ code: `setInterval(() => process.stdout.write("x".repeat(1000)), 5); ${SLEEP}` });
      const socket = await open("/v1/executions", { ...JSON_BODY, ...STREAM }, body);
      socket.resume();
      await eventually("it runs", async () => (await service.sandboxes()).length === 1);
      await eventually("it has printed", () => socket.bytesRead > 5000);
      socket.destroy();
      await eventually("its container is gone", async () => (await service.sandboxes()).length === 0);
      const { body: list } = await service.get<{ executions: { status: string }[] }>("/v1/executions?limit=1");
      assert.equal(list.executions[0]?.status, "cancelled");
    });

    it("that nobody reads holds the log and no more, harms nobody, and is cut off", async () => {
      const rss = process.memoryUsage().rss;
      const body = JSON.stringify({
        code: `const fs = require("node:fs"), block = "x".repeat(1 << 20); for (let i = 0; i < 64; i++) fs.writeSync(1, block); ${SLEEP}`,
        limits: { outputBytes: 64 * MIB },
      });
      await open("/v1/executions", { ...JSON_BODY, ...STREAM }, body);
      await eventually("it runs", async () => (await running()).length === 1);
      const [id] = await running();
      await Promise.all(Array.from({ length: 20 }, () => open(`/v1/executions/${id!}/events`)));
      let peak = 0;
      const latencies: number[] = [];
      // Ten seconds without taking anything, and its caller counts as gone.
      await eventually(
        "its caller is cut off, and it is cancelled",
        async () => {
          const began = performance.now();
          assert.equal(await service.result("return 1"), 1);
          latencies.push(performance.now() - began);
          peak = Math.max(peak, process.memoryUsage().rss - rss);
          return (await running()).length === 0;
        },
        30_000,
      );
      latencies.sort((a, b) => a - b);
      // 64 MiB of output, once more while the result is made of it, and what passes through.
      assert.ok(peak < 280 * MIB, `grew by ${(peak / MIB).toFixed(0)} MiB`);
      assert.ok(latencies[latencies.length >> 1]! < 3000, `others took ${latencies.map((ms) => ms.toFixed(0)).join(", ")} ms`);
      assert.equal((await service.get<Execution>(`/v1/executions/${id!}`)).status, 404, "too large to be kept");
    });
  });

  describe("joining", () => {
    it("gives each of fifty readers all events, before, during and after the run", async () => {
      const id = await submit(
        'for (let i = 0; i < 40; i++) { console.log(i); if (i % 8 === 0) console.error(i); await new Promise((resolve) => setTimeout(resolve, 25)); } return "end";',
      );
      const readers: Promise<SentEvent[]>[] = [];
      for (let count = 0; count < 50; count += 1) {
        readers.push(follow(id));
        await sleep(25);
      }
      const [first, ...others] = await Promise.all(readers);
      const { result, stderr, stdout } = finishedIn(first!);
      assert.deepEqual([result, stderr], ["end", "0\n8\n16\n24\n32\n"]);
      assert.equal(stdout, Array.from({ length: 40 }, (_, index) => `${index}\n`).join(""));
      for (const events of others) assert.deepEqual(events, first);
      const half = Math.floor(first!.length / 2);
      assert.deepEqual(await follow(id, { "last-event-id": String(half) }), first!.slice(half));
    });

    it("goes on after the last event that a reader has, while the program runs", async () => {
      const id = await submit(
        'for (const word of ["one", "two"]) { console.log(word); await new Promise((resolve) => setTimeout(resolve, 800)); }',
      );
      const gone = new AbortController();
      const response = await fetch(`${service.url}/v1/executions/${id}/events`, { signal: gone.signal });
      let text = "";
      for await (const chunk of response.body!) {
        text += Buffer.from(chunk as Uint8Array).toString();
        if (text.includes("one") && text.endsWith("\n\n")) break;
      }
      gone.abort();
      const before = parseEvents(text);
      const after = await follow(id, { "last-event-id": before.at(-1)!.id });
      assert.equal(finishedIn([...before, ...after]).stdout, "one\ntwo\n");
    });

    it("of an unknown execution is 404, and of an unknown event 400", async () => {
      for (const path of ["exe_00000000000000000000", "x"]) {
        const { body, status } = await service.get<ErrorBody>(`/v1/executions/${path}/events`);
        assert.deepEqual([status, body.error.code], [404, "NOT_FOUND"]);
      }
      const { id } = await service.run("return 1");
      const { body, status } = await service.get<ErrorBody>(`/v1/executions/${id}/events`, { headers: { "last-event-id": "99" } });
      assert.deepEqual([status, body.error.code], [400, "INVALID_REQUEST"]);
      assert.match(body.error.message, /from 0 to 2;/);
    });
  });

  describe("an execution without its caller", () => {
    it("is there at once, and can be waited for", async () => {
      const began = performance.now();
      const { body, headers, status } = await service.post(
        { code: 'await new Promise((resolve) => setTimeout(resolve, 700)); console.log("out"); return 5;' },
        { headers: ASYNC },
      );
      assert.ok(performance.now() - began < 500, "the answer does not wait for a container");
      assert.deepEqual([status, headers.get("preference-applied")], [202, "respond-async"]);
      assert.match(body.status, /^(queued|running)$/);
      assert.match((await wait(body.id, 50)).status, /^(queued|running)$/);
      const { result, status: end, stdout } = await wait(body.id);
      assert.deepEqual([end, result, stdout], ["completed", 5, "out\n"]);
    });

    it("is cancelled by DELETE and by nothing else", async () => {
      const id = await submit(SLEEP);
      const [waited, followed] = [wait(id), follow(id)];
      const gone = new AbortController();
      const leaver = fetch(`${service.url}/v1/executions/${id}?waitMs=30000`, { signal: gone.signal }).catch(() => "gone");
      await eventually("it runs", async () => (await running()).includes(id));
      gone.abort();
      assert.equal(await leaver, "gone");
      await sleep(100);
      assert.deepEqual(await running(), [id]);
      assert.equal((await cancel(id)).status, 202);
      assert.equal((await waited).status, "cancelled");
      assert.equal(finishedIn(await followed).status, "cancelled");
      await eventually("its container is gone", async () => (await service.sandboxes()).length === 0);
    });

    it("has its body counted until its end: a flood of large ones is refused, and small ones are served", async () => {
      const rss = process.memoryUsage().rss;
      const stdin = "x".repeat(3.9 * MIB);
      const answers: Answer<ErrorBody & { id: string }>[] = [];
      for (let count = 0; count < 30; count += 1) {
        answers.push(await service.post<ErrorBody & { id: string }>({ code: SLEEP, stdin }, { headers: ASYNC }));
      }
      const taken = answers.filter(({ status }) => status === 202);
      const refused = answers.filter(({ status }) => status === 429);
      assert.deepEqual([taken.length, refused.length], [8, 22]);
      assert.match(refused[0]!.body.error.message, /as many request bodies as it can/);
      assert.ok(process.memoryUsage().rss - rss < 300 * MIB, `grew by ${((process.memoryUsage().rss - rss) / MIB).toFixed(0)} MiB`);
      const small = service.run("return 1");
      for (const { body } of taken) await cancel(body.id);
      assert.equal((await small).result, 1);
      for (const { body } of taken) assert.equal((await wait(body.id)).status, "cancelled");
      assert.equal((await service.post({ code: "return 1", stdin }, { headers: ASYNC })).status, 202, "there is room again");
    });
  });

  it("ends streams and answers who waits when the service shuts down", async () => {
    const other = await TestService.start({ env: { CODE_MODE_SHUTDOWN_GRACE_MS: "100" } });
    const post = (headers: Record<string, string>): Promise<Response> =>
      fetch(`${other.url}/v1/executions`, { method: "POST", headers: { ...JSON_BODY, ...headers }, body: JSON.stringify({ code: SLEEP }) });
    const own = await post(STREAM);
    const { id } = (await (await post(ASYNC)).json()) as Execution;
    const waited = other.get<Execution>(`/v1/executions/${id}?waitMs=60000`);
    const joined = fetch(`${other.url}/v1/executions/${id}/events`);
    await eventually("both run", async () => (await other.sandboxes()).length === 2);
    await joined;
    await other.close();
    for (const response of [own, await joined]) assert.equal(finishedIn(parseEvents(await response.text())).status, "cancelled");
    assert.equal((await waited).body.status, "cancelled");
  });

  it("gives an execution whose sandbox cannot be started a result that says so", async () => {
    const folder = await makeTempFolder();
    const proxy = new EngineProxy(folder);
    await proxy.open();
    const other = await TestService.start({ env: { DOCKER_HOST: proxy.dockerHost } });
    try {
      await proxy.close();
      const { body, status } = await other.post({ code: "return 1" }, { headers: ASYNC });
      assert.equal(status, 202);
      const execution = (await other.get<Execution>(`/v1/executions/${body.id}?waitMs=20000`)).body;
      assert.deepEqual([execution.status, execution.error?.name], ["killed", "NotStarted"]);
      assert.match(execution.error!.message, /^The program did not run: .*engine/);
      assert.ok(other.logLines.some((line) => line.includes("could not be started") && line.includes(body.id)));
    } finally {
      await proxy.open();
      await other.close();
      await proxy.close();
      await rm(folder, { recursive: true, force: true });
    }
  });

  /** Ids of those that run and are not just short ones of the test itself. */
  async function running(): Promise<string[]> {
    const { body } = await service.get<{ executions: { id: string }[] }>("/v1/executions?status=running");
    return body.executions.map(({ id }) => id);
  }
});

/** The body of an answer that came in chunks. */
function unchunked(answer: string): string {
  const bytes = Buffer.from(answer);
  const parts: Buffer[] = [];
  for (let at = bytes.indexOf("\r\n\r\n") + 4; ;) {
    const end = bytes.indexOf("\r\n", at);
    const length = Number.parseInt(bytes.toString("latin1", at, end), 16);
    if (!(length > 0)) return Buffer.concat(parts).toString();
    parts.push(bytes.subarray(end + 2, end + 2 + length));
    at = end + 2 + length + 2;
  }
}
