/** Streams, answers at once, waiting and joining over real HTTP, with sandboxes that do what the test says. */

import assert from "node:assert/strict";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import { AppError } from "../../../src/domain/errors.ts";
import type { Execution } from "../../../src/domain/execution.ts";
import { executionSchema } from "../../../src/domain/execution.ts";
import { eventually } from "../support/eventually.ts";
import { finishes, untilStopped } from "../support/fake-sandboxes.ts";
import type { Behaviour } from "../support/fake-sandboxes.ts";
import { errorOf, executionOf, headOf, HttpService, restOf } from "../support/http-service.ts";
import type { Answer, ServiceOptions } from "../support/http-service.ts";
import { finishedIn, parseEvents, printedIn } from "../../helpers/events.ts";

const STREAM = { Accept: "text/event-stream" };
const ASYNC = { Prefer: "respond-async" };
const UNKNOWN_ID = "exe_00000000000000000000";

/** Prints a text for each of the program's arguments, and returns how many there were. */
const prints: Behaviour = async (program, sink) => {
  for (const text of program.args) {
    sink.stdout(Buffer.from(text));
    await sleep(12);
  }
  sink.stderr(Buffer.from("done"));
  return finishes(program.args.length);
};

describe("http following: streams, waiting and answers at once", () => {
  let service: HttpService;
  /** Lets the programs end that {@link untilGo} runs. */
  let go: () => void;
  let untilGo: Behaviour;

  const start = async (options: ServiceOptions = {}): Promise<void> => {
    service = await HttpService.start(options);
    const gate = new Promise<void>((resolve) => (go = resolve));
    untilGo = (program, sink, signal) => Promise.race([gate.then(() => finishes("went")), untilStopped(program, sink, signal)]);
  };
  const path = (id: string, rest = ""): string => `/v1/executions/${id}${rest}`;
  const submit = async (fields: object = {}, headers: Readonly<Record<string, string>> = {}): Promise<Execution> => {
    const answer = await service.execute(fields, { ...ASYNC, ...headers });
    assert.equal(answer.status, 202, answer.text);
    return executionSchema.parse(answer.json);
  };
  const wait = (id: string, waitMs = 5000): Promise<Answer> => service.send(path(id, `?waitMs=${waitMs}`));
  const eventsOf = async (id: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> =>
    service.send(path(id, "/events"), { headers });

  afterEach(async () => {
    await service.close();
    assert.equal(service.sandboxes.live, 0);
    assert.equal(service.manager.status().running, 0);
  });

  describe("a stream", () => {
    it("has the start, what is printed when it is printed, and the execution", async () => {
      await start();
      service.sandboxes.behaviour = prints;
      const answer = await service.execute({ args: ["a\n", "é"] }, STREAM);
      assert.equal(answer.status, 200);
      const events = parseEvents(answer.text);
      const execution = finishedIn(events);
      assert.deepEqual(
        events.slice(0, -1).map(({ data, type }) => [type, JSON.parse(data)]),
        [
          ["started", { id: execution.id, runtime: "node" }],
          ["stdout", { text: "a\n" }],
          ["stdout", { text: "é" }],
          ["stderr", { text: "done" }],
        ],
      );
      assert.deepEqual([execution.status, execution.result, execution.stdout, execution.stderr], ["completed", 2, "a\né", "done"]);
      assert.deepEqual(
        ["content-type", "location", "x-execution-id", "cache-control", "x-accel-buffering"].map((name) => answer.headers[name]),
        ["text/event-stream; charset=utf-8", path(execution.id), execution.id, "no-store", "no"],
      );
      assert.deepEqual((await service.send(path(execution.id))).json, execution, "the same execution under its id");
    });

    for (const [accept, isStream] of [
      ["text/event-stream", true],
      ["Text/Event-Stream;charset=utf-8", true],
      ["text/event-stream, application/json", true],
      ["application/json;q=0.5, text/event-stream", true],
      ["text/event-stream, */*", true],
      ["application/json, text/event-stream", false],
      ["text/event-stream;q=0.1, application/json", false],
      ["text/event-stream;q=0", false],
      ["text/*", false],
      ["*/*", false],
      ["text/html", false],
      ["nonsense", false],
    ] as const) {
      it(`is ${isStream ? "" : "not "}the answer to Accept: ${accept}`, async () => {
        await start();
        const { headers, status } = await service.execute({}, { Accept: accept });
        assert.equal(status, 200);
        assert.match(headers["content-type"]!, isStream ? /^text\/event-stream/ : /^application\/json/);
      });
    }

    it("of a request that cannot be served is an error like any other", async () => {
      await start({ limits: { maxRunning: 1, maxQueued: 0 } });
      errorOf(await service.execute({ wrong: 1 }, STREAM), 400, "INVALID_REQUEST");
      errorOf(await service.execute({ permissions: { system: { maxProcesses: 9 } } }, STREAM), 403, "PERMISSION_WIDENING");
      service.sandboxes.beforeStart = () =>
        Promise.reject(new AppError({ code: "SANDBOX_UNAVAILABLE", message: "away", retryAfterSeconds: 3 }));
      const away = await service.execute({}, STREAM);
      errorOf(away, 503, "SANDBOX_UNAVAILABLE");
      assert.equal(away.headers["retry-after"], "3");
      await eventually(() => service.manager.status().running === 0, "the slot is given back");
      service.sandboxes.beforeStart = () => Promise.resolve();
      service.sandboxes.behaviour = untilStopped;
      await headOf(service.open("/v1/executions", { body: { code: "" } }));
      errorOf(await service.execute({}, STREAM), 429, "QUEUE_FULL");
      assert.equal(service.manager.list().length, 1);
    });

    it("of one that is cancelled, running or waiting, ends with that", async () => {
      await start({ limits: { maxRunning: 1 } });
      service.sandboxes.behaviour = untilStopped;
      const running = await headOf(service.open("/v1/executions", { body: { code: "" }, headers: STREAM }));
      const waiting = service.execute({}, STREAM);
      await eventually(() => service.manager.list().length === 2, "the second waits");
      for (const { id } of service.manager.list()) await service.send(path(id), { method: "DELETE" });
      for (const answer of [await restOf(running), await waiting]) {
        const events = parseEvents(answer.text);
        assert.equal(finishedIn(events).status, "cancelled");
        assert.equal(events.length, answer.headers["x-execution-id"] === running.headers["x-execution-id"] ? 2 : 1);
      }
    });

    it("that its caller leaves cancels the execution", async () => {
      await start();
      service.sandboxes.behaviour = untilStopped;
      const request = service.open("/v1/executions", { body: { code: "" }, headers: STREAM });
      const { headers } = await headOf(request);
      request.destroy();
      await eventually(() => service.manager.get(String(headers["x-execution-id"]))?.status === "cancelled", "it is cancelled");
    });

    it("holds the slot until it is taken, as any answer does", async () => {
      await start({ limits: { maxRunning: 1, maxQueued: 0 } });
      service.sandboxes.behaviour = (_program, sink) => {
        sink.stdout(Buffer.alloc(4_000_000, "\u0001"));
        return Promise.resolve(finishes());
      };
      const response = await headOf(
        service.open("/v1/executions", { body: { code: "", limits: { outputBytes: 4_000_000 } }, headers: STREAM }),
      );
      response.pause();
      await eventually(() => service.manager.list()[0]!.status === "completed", "the program has ended");
      await sleep(30);
      assert.equal(service.manager.status().running, 1);
      response.destroy();
      await eventually(() => service.manager.status().running === 0, "the slot is given back");
    });
  });

  describe("an answer at once", () => {
    it("is 202 with the execution under way, and where it will be found", async () => {
      await start({ limits: { maxRunning: 1 } });
      service.sandboxes.behaviour = untilGo;
      const answer = await service.execute({}, { Prefer: "wait=5, respond-async" });
      const { id, status } = executionSchema.parse(answer.json);
      assert.deepEqual([answer.status, status], [202, "queued"]);
      assert.deepEqual(
        ["location", "x-execution-id", "preference-applied", "cache-control"].map((name) => answer.headers[name]),
        [path(id), id, "respond-async", "no-store"],
      );
      await eventually(() => service.manager.get(id)!.status === "running", "it runs");
      assert.equal(executionOf(await service.send(path(id))).status, "running");
      go();
      const ended = executionOf(await wait(id));
      assert.deepEqual([ended.id, ended.status, ended.result], [id, "completed", "went"]);
      assert.deepEqual((await service.send(path(id))).json, ended, "it is kept");
    });

    it("is preferred to a stream, which can be joined", async () => {
      await start();
      service.sandboxes.behaviour = prints;
      const { id } = await submit({ args: ["x"] }, STREAM);
      assert.equal(finishedIn(parseEvents((await eventsOf(id)).text)).stdout, "x");
    });

    it("is not given without the preference", async () => {
      await start();
      const answer = await service.execute({}, { Prefer: "return=minimal" });
      assert.deepEqual([answer.status, answer.headers["preference-applied"]], [200, undefined]);
    });

    it("leaves the execution running when the caller goes, and its slot free when it has ended", async () => {
      await start({ limits: { maxRunning: 1, maxQueued: 0 } });
      service.sandboxes.behaviour = untilGo;
      const request = service.open("/v1/executions", { body: { code: "" }, headers: ASYNC });
      const { headers } = await headOf(request);
      request.destroy();
      await sleep(30);
      const id = String(headers["x-execution-id"]);
      assert.equal(service.manager.get(id)!.status, "running");
      go();
      assert.equal(executionOf(await wait(id)).status, "completed");
      await eventually(() => service.manager.status().running === 0, "nobody has to take the answer");
      assert.equal((await service.execute()).status, 200);
    });

    it("is an error where that is known at once", async () => {
      await start({ limits: { maxRunning: 1, maxQueued: 1 } });
      service.sandboxes.behaviour = untilStopped;
      errorOf(await service.execute({ wrong: 1 }, ASYNC), 400, "INVALID_REQUEST");
      errorOf(await service.execute({ timeoutMs: 30_001 }, ASYNC), 400, "LIMIT_EXCEEDED");
      errorOf(await service.execute({ runtime: "x" }, ASYNC), 404, "NOT_FOUND");
      for (let count = 0; count < 2; count += 1) await submit();
      const full = await service.execute({}, ASYNC);
      errorOf(full, 429, "QUEUE_FULL");
      assert.equal(full.headers["preference-applied"], undefined);
      assert.equal(service.manager.list().length, 2);
      const closing = service.manager.close(0, () => undefined);
      errorOf(await service.execute({}, ASYNC), 503, "SHUTTING_DOWN");
      await closing;
    });

    for (const [title, error, message] of [
      [
        "an engine that is away",
        new AppError({ code: "SANDBOX_UNAVAILABLE", message: "The engine is away." }),
        /^The program did not run: The engine is away\.$/,
      ],
      ["a bug", new TypeError("at /srv/secret.ts"), /^The program did not run, by a fault of the service\. Its log has the details/],
    ] as const) {
      it(`after which the sandbox cannot be started, by ${title}, becomes an execution that says so`, async () => {
        await start();
        let fail = (): void => undefined;
        service.sandboxes.beforeStart = () => new Promise((_, reject) => (fail = () => reject(error)));
        const { id } = await submit();
        const [waited, joined] = [wait(id), eventsOf(id)];
        await eventually(() => service.manager.status().running === 1, "it starts");
        await sleep(20);
        fail();
        const execution = executionOf(await waited);
        assert.deepEqual([execution.status, execution.error?.name, execution.exitCode], ["killed", "NotStarted", null]);
        assert.match(execution.error!.message, message);
        assert.ok(!JSON.stringify(execution).includes("secret"));
        assert.deepEqual(finishedIn(parseEvents((await joined).text)), execution);
        assert.deepEqual((await service.send(path(id))).json, execution);
        assert.ok(service.log.some(({ err, level }) => level === 50 && err?.message === error.message));
      });
    }

    it("counts its body until the program has ended, a small one too", async () => {
      await start({ maxBodyBytes: 100_000, limits: { maxRunning: 1, maxQueued: 1000 } });
      service.sandboxes.behaviour = untilGo;
      const large = { code: "x".repeat(90_000) };
      for (let count = 0; count < 8; count += 1) await submit(large);
      errorOf(await service.execute(large, ASYNC), 429, "QUEUE_FULL");
      errorOf(await service.execute(large), 429, "QUEUE_FULL");
      const small = { code: "x".repeat(10_000) };
      let taken = 0;
      while ((await service.execute(small, ASYNC)).status === 202) taken += 1;
      // What eight large ones leave of eight times the largest: that is all that small ones get, when nobody holds a connection for them.
      assert.ok(taken >= 6 && taken <= 8, `${taken} small ones`);
      assert.ok(service.manager.list().length < 20);
      const waiting = service.execute();
      await eventually(() => service.manager.list().length === 9 + taken, "a small one with a connection is taken");
      go();
      assert.equal((await waiting).status, 200);
      await eventually(() => service.manager.list().every(({ status }) => status === "completed"), "all have ended");
      assert.equal((await service.execute(large, ASYNC)).status, 202, "there is room again");
    });

    it("of one key leaves room for the bodies of another", async () => {
      const [alice, bob] = ["alice", "bobby"].map((name) => ({ Authorization: `Bearer ${name}-0123456789` }));
      await start({
        maxBodyBytes: 100_000,
        limits: { maxRunning: 1, maxQueued: 1000 },
        keys: [
          { name: "alice", key: "alice-0123456789", scopes: ["execute"] },
          { name: "bob", key: "bobby-0123456789", scopes: ["execute"] },
        ],
      });
      service.sandboxes.behaviour = untilGo;
      const large = { code: "x".repeat(90_000) };
      let taken = 0;
      while ((await service.execute(large, { ...ASYNC, ...alice })).status === 202) taken += 1;
      assert.equal(taken, 4, "half of all");
      const { id } = await submit(large, bob);
      go();
      assert.equal(executionOf(await service.send(path(id, "?waitMs=5000"), { headers: bob! })).status, "completed");
    });

    it("that is refused gives the room of its body back", async () => {
      await start({ maxBodyBytes: 100_000, limits: { maxRunning: 1, maxQueued: 0 } });
      service.sandboxes.behaviour = untilGo;
      await submit();
      for (let count = 0; count < 12; count += 1) errorOf(await service.execute({ code: "x".repeat(90_000) }, ASYNC), 429, "QUEUE_FULL");
      go();
      await eventually(() => service.manager.status().running === 0, "it has ended");
      assert.equal((await service.execute({ code: "x".repeat(90_000) })).status, 200);
    });
  });

  describe("waiting for an end", () => {
    it("answers as soon as it is there, or with what is known when the wait is over", async () => {
      await start();
      service.sandboxes.behaviour = untilGo;
      const { id } = await submit();
      const beganAt = performance.now();
      const early = executionOf(await wait(id, 60));
      assert.ok(performance.now() - beganAt >= 59);
      assert.equal(early.status, "running");
      const waits = Array.from({ length: 20 }, () => wait(id, 60_000));
      await sleep(20);
      go();
      for (const answer of await Promise.all(waits)) assert.equal(executionOf(answer).status, "completed");
      assert.equal(executionOf(await wait(id, 60_000)).status, "completed", "at once");
      assert.equal((await service.send(path(id))).headers["cache-control"], "no-store");
    });

    it("answers for one that a caller waits for too, also when it is refused after all", async () => {
      await start();
      let fail = (): void => undefined;
      service.sandboxes.beforeStart = () =>
        new Promise((_, reject) => (fail = () => reject(new AppError({ code: "SANDBOX_UNAVAILABLE", message: "away" }))));
      const caller = service.execute();
      await eventually(() => service.manager.status().running === 1, "it starts");
      const { id } = service.manager.list()[0]!;
      const waited = wait(id);
      const joined = eventsOf(id);
      await sleep(30);
      fail();
      errorOf(await caller, 503, "SANDBOX_UNAVAILABLE");
      assert.equal(executionOf(await waited).error?.name, "NotStarted");
      assert.equal(finishedIn(parseEvents((await joined).text)).error?.name, "NotStarted");
      errorOf(await service.send(path(id)), 404, "NOT_FOUND");
    });

    it("is over when the one who waits has gone", async () => {
      await start();
      service.sandboxes.behaviour = untilStopped;
      const { id } = await submit();
      for (let round = 0; round < 3; round += 1) {
        const requests = Array.from({ length: 100 }, () => service.open(path(id, "?waitMs=60000")));
        await eventually(() => service.manager.get(id)!.events.isRead, "they wait");
        await sleep(60);
        errorOf(await wait(id, 1), 429, "QUEUE_FULL");
        for (const request of requests) request.destroy();
        await eventually(() => !service.manager.get(id)!.events.isRead, "nobody waits any more");
      }
      assert.equal(service.manager.get(id)!.status, "running", "the execution goes on");
    });

    it("is over when that one has gone, also behind another request on the same connection", async () => {
      await start();
      service.sandboxes.behaviour = untilStopped;
      const { id } = await submit();
      const socket = connect(service.port, "127.0.0.1");
      socket.on("error", () => undefined);
      for (const rest of ["?waitMs=60000", "/events", "?waitMs=60000", "/events"])
        socket.write(`GET ${path(id, rest)} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      await eventually(() => service.manager.get(id)!.events.isRead, "they wait");
      await sleep(50);
      socket.destroy();
      await eventually(() => !service.manager.get(id)!.events.isRead, "nobody waits any more");
    });

    for (const [query, message] of [
      ["?waitMs=-1", /waitMs: .*>=0/],
      ["?waitMs=60001", /waitMs: .*<=60000/],
      ["?waitMs=1.5", /waitMs: .*int/],
      ["?waitMs=soon", /waitMs: .*expected number/],
      ["?waitMs=1&waitMs=2", /waitMs: /],
      ["?wait=1", /wait: is no known field/],
    ] as const) {
      it(`${query} is 400 and says why`, async () => {
        await start();
        const { id } = executionOf(await service.execute());
        assert.match(errorOf(await service.send(path(id, query)), 400, "INVALID_REQUEST").message, message);
      });
    }
  });

  describe("joining", () => {
    it("gives the events from the start, then those that come; leaving harms nobody", async () => {
      await start();
      service.sandboxes.behaviour = async (program, sink, signal) => {
        sink.stdout(Buffer.from("before "));
        await untilGo(program, sink, signal);
        sink.stdout(Buffer.from("after"));
        return finishes();
      };
      const { id } = await submit();
      await eventually(() => service.manager.get(id)!.events.lastId === 2, "it has printed");
      const leaver = service.open(path(id, "/events"));
      await headOf(leaver);
      const stays = eventsOf(id);
      leaver.destroy();
      await sleep(20);
      assert.equal(service.manager.get(id)!.status, "running");
      go();
      const answer = await stays;
      assert.deepEqual([answer.status, answer.headers["x-execution-id"]], [200, id]);
      const events = parseEvents(answer.text);
      assert.equal(finishedIn(events).stdout, "before after");
      assert.equal(printedIn(events, "stdout"), "before after");
    });

    it("waits for one in the queue", async () => {
      await start({ limits: { maxRunning: 1 } });
      service.sandboxes.behaviour = untilGo;
      await submit();
      const { id } = await submit();
      const response = await headOf(service.open(path(id, "/events")));
      go();
      assert.equal(finishedIn(parseEvents((await restOf(response)).text)).status, "completed");
    });

    it("replays one that has ended, whole or after any of its events, the same way each time", async () => {
      await start();
      service.sandboxes.behaviour = prints;
      const { headers, text } = await service.execute({ args: ["a", "b", "c"] }, STREAM);
      const id = String(headers["x-execution-id"]);
      const live = parseEvents(text);
      assert.deepEqual(parseEvents((await eventsOf(id)).text), live);
      assert.deepEqual(parseEvents((await eventsOf(id, { "Last-Event-ID": "" })).text), live);
      for (let after = 0; after < live.length; after += 1) {
        assert.deepEqual(parseEvents((await eventsOf(id, { "Last-Event-ID": String(after) })).text), live.slice(after));
      }
      const nothing = await eventsOf(id, { "Last-Event-ID": String(live.length) });
      assert.deepEqual([nothing.status, nothing.text], [204, ""], "an EventSource does not come back");
    });

    for (const id of ["-1", "1.5", "7", "x", "1e0", "0x1", "99999999999999999999", "1, 2", "\u00b9"]) {
      it(`with the Last-Event-ID ${id} is 400 and says what is expected`, async () => {
        await start();
        const { id: execution } = executionOf(await service.execute());
        assert.match(
          errorOf(await eventsOf(execution, { "Last-Event-ID": id }), 400, "INVALID_REQUEST").message,
          /^Last-Event-ID must be the id of the last event that you have got, a whole number from 0 to 2; leave it out for all events\.$/,
        );
      });
    }

    it("is a head and nothing more for HEAD", async () => {
      await start();
      service.sandboxes.behaviour = untilStopped;
      const { id } = await submit();
      const answer = await service.send(path(id, "/events"), { method: "HEAD" });
      assert.deepEqual([answer.status, answer.headers["content-type"], answer.text], [200, "text/event-stream; charset=utf-8", ""]);
      assert.equal(service.manager.get(id)!.events.isRead, false);
    });

    it("is possible for so many and no more, until one leaves; the caller's own stream is not counted", async () => {
      await start();
      service.sandboxes.behaviour = untilGo;
      const own = service.open("/v1/executions", { body: { code: "" }, headers: STREAM });
      const { headers } = await headOf(own);
      const id = String(headers["x-execution-id"]);
      const joined = Array.from({ length: 100 }, () => service.open(path(id, "/events")));
      await Promise.all(joined.map(headOf));
      const refused = await eventsOf(id);
      assert.match(errorOf(refused, 429, "QUEUE_FULL").message, /^100 readers of this execution .* Close one, or try again later\.$/);
      assert.match(refused.headers["retry-after"]!, /^\d+$/);
      assert.equal(executionOf(await service.send(path(id))).status, "running", "a look without a wait is always possible");
      joined[0]!.destroy();
      await sleep(20);
      const next = await headOf(service.open(path(id, "/events")));
      go();
      assert.equal(finishedIn(parseEvents((await restOf(next)).text)).status, "completed");
    });

    it("is for the key that started it, and for an admin; for all others it does not exist", async () => {
      const [alice, bob, root] = ["alice", "bobby", "admin"].map((name) => ({ Authorization: `Bearer ${name}-0123456789` }));
      await start({
        keys: [
          { name: "alice", key: "alice-0123456789", scopes: ["execute"] },
          { name: "bob", key: "bobby-0123456789", scopes: ["execute"] },
          { name: "root", key: "admin-0123456789", scopes: ["execute", "admin"] },
        ],
      });
      service.sandboxes.behaviour = untilGo;
      const { id } = await submit({}, alice);
      errorOf(await eventsOf(id, bob), 404, "NOT_FOUND");
      errorOf(await service.send(path(id, "?waitMs=1000"), { headers: bob! }), 404, "NOT_FOUND");
      errorOf(await eventsOf(id), 401, "UNAUTHENTICATED");
      const joined = [alice!, root!].map((headers) => eventsOf(id, headers));
      await sleep(20);
      go();
      for (const answer of joined) assert.equal(finishedIn(parseEvents((await answer).text)).status, "completed");
    });

    it("of what does not exist is 404, with any other method 405", async () => {
      await start();
      for (const id of [UNKNOWN_ID, "1", "__proto__", "%00"]) errorOf(await eventsOf(id), 404, "NOT_FOUND");
      const { allow } = (await service.send(path(UNKNOWN_ID, "/events"), { method: "POST" })).headers;
      assert.equal(allow, "GET");
      assert.match(errorOf(await service.send(path(UNKNOWN_ID, "/events?x=1")), 400, "INVALID_REQUEST").message, /x: is no known field/);
    });
  });

  it("a cancel ends a detached one for all who follow it", async () => {
    await start();
    service.sandboxes.behaviour = untilStopped;
    const { id } = await submit();
    const [joined, waited] = [eventsOf(id), wait(id)];
    await sleep(20);
    assert.equal((await service.send(path(id), { method: "DELETE" })).status, 202);
    assert.equal(finishedIn(parseEvents((await joined).text)).status, "cancelled");
    assert.equal(executionOf(await waited).status, "cancelled");
  });

  it("a shutdown ends streams and answers who waits", async () => {
    await start({ limits: { maxRunning: 2 } });
    service.sandboxes.behaviour = untilStopped;
    const own = service.execute({}, STREAM);
    const { id } = await submit();
    const { id: queued } = await submit();
    const follows = [own, eventsOf(id), eventsOf(queued)];
    const waits = [wait(id), wait(queued)];
    await eventually(() => service.manager.get(queued)!.events.isRead, "they wait");
    await sleep(30);
    await service.manager.close(10, () => undefined);
    for (const answer of await Promise.all(follows)) {
      const { error, status } = finishedIn(parseEvents(answer.text));
      assert.deepEqual([status, error?.message], ["cancelled", "The service shuts down."]);
    }
    for (const answer of await Promise.all(waits)) assert.equal(executionOf(answer).status, "cancelled");
  });
});
