/** `/v1/executions` over real HTTP: good requests, bad ones, who sees what, and what happens when somebody leaves. */

import assert from "node:assert/strict";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import { z } from "zod";

import { AppError } from "../../../src/domain/errors.ts";
import { executionSummarySchema } from "../../../src/domain/execution.ts";
import type { ExecutionSummary } from "../../../src/domain/execution.ts";
import { eventually } from "../support/eventually.ts";
import { finishes, untilStopped } from "../support/fake-sandboxes.ts";
import { errorOf, executionOf, headOf, HttpService, restOf } from "../support/http-service.ts";
import type { Answer, ServiceOptions } from "../support/http-service.ts";
import { runtimeOf } from "../support/policies.ts";

/** The executions of a list. */
const summariesOf = ({ json }: Answer): ExecutionSummary[] =>
  z.strictObject({ executions: z.array(executionSummarySchema.strict()) }).parse(json).executions;

const UNKNOWN_ID = "exe_00000000000000000000";

describe("http executions: /v1/executions", () => {
  let service: HttpService;
  const start = async (options: ServiceOptions = {}): Promise<void> => {
    service = await HttpService.start(options);
  };
  const statuses = (): string[] => service.manager.list().map(({ status }) => status);

  afterEach(async () => {
    await service.close();
    assert.equal(service.sandboxes.live, 0);
    assert.equal(service.manager.status().running, 0);
  });

  describe("a good request", () => {
    it("gets 200 with the execution, whatever the program did", async () => {
      await start();
      const answer = await service.execute({ args: ["a"] });
      assert.equal(answer.status, 200);
      const execution = executionOf(answer);
      assert.equal(execution.status, "completed");
      assert.deepEqual(
        ["content-type", "location", "x-execution-id", "cache-control"].map((name) => answer.headers[name]),
        ["application/json; charset=utf-8", `/v1/executions/${execution.id}`, execution.id, "no-store"],
      );
      service.sandboxes.behaviour = () => Promise.reject(new Error("engine"));
      const killed = await service.execute();
      assert.equal(executionOf(killed).status, "killed");
    });

    it("gets its headers when the program starts, long before it ends", async () => {
      await start();
      service.sandboxes.behaviour = untilStopped;
      const response = await headOf(service.open("/v1/executions", { body: { code: "" } }));
      const id = String(response.headers["x-execution-id"]);
      assert.equal(response.statusCode, 200);
      assert.equal(service.manager.get(id)?.status, "running");
      const cancel = await service.send(`/v1/executions/${id}`, { method: "DELETE" });
      assert.deepEqual([cancel.status, executionSummarySchema.parse(cancel.json).id], [202, id]);
      const execution = executionOf(await restOf(response));
      assert.deepEqual([execution.id, execution.status], [id, "cancelled"]);
    });

    it("reaches the sandbox as it was sent", async () => {
      await start({ runtimes: [runtimeOf({ permissions: { fileSystem: { write: ["temp"] } } })] });
      const files = [{ path: "in/ü.txt", content: "ü\u2028", encoding: "utf8" }];
      await service.execute({
        code: "return '😀'",
        files,
        stdin: "\0",
        args: ["", "-"],
        env: { A: "=" },
        outputFiles: ["temp/*"],
        timeoutMs: 5,
        limits: { memory: "128MB" },
      });
      const [program] = service.sandboxes.programs;
      assert.deepEqual(
        [program!.code, program!.files, program!.stdin, program!.args, program!.env, program!.outputFiles],
        ["return '😀'", files, "\0", ["", "-"], { A: "=" }, ["temp/*"]],
      );
      const { limits } = service.sandboxes.started[0]!.policy;
      assert.deepEqual([limits.timeoutMs, limits.memoryBytes], [5, 128 * 2 ** 20]);
    });

    it("may have a charset in its Content-Type", async () => {
      await start();
      assert.equal((await service.execute({}, { "Content-Type": "application/json; charset=utf-8" })).status, 200);
    });
  });

  describe("bad input", () => {
    const bad = (title: string, body: string | Buffer, message: RegExp): void => {
      it(`${title} is 400 and says what to change; the next request works`, async () => {
        await start();
        const answer = await service.send("/v1/executions", { body, headers: { "Content-Type": "application/json" } });
        assert.match(errorOf(answer, 400, "INVALID_REQUEST").message, message);
        assert.deepEqual(service.sandboxes.started, []);
        assert.equal((await service.execute()).status, 200);
      });
    };
    bad("no JSON", "{code: 1}", /^The body is no JSON\. /);
    bad("half a JSON", '{"code": "', /^The body is no JSON\. /);
    bad("JSON that is text", '"code"', /The body is no JSON|expected object/);
    bad("JSON null", "null", /The body is no JSON|expected object/);
    bad("a list", "[]", /^The request is not valid: .*expected object/);
    bad("an empty body", "", /^The request is not valid: code: .*expected string/);
    bad("a byte that is no UTF-8 where JSON has none", Buffer.from([0x7b, 0xff, 0x7d]), /^The body is no JSON\. /);
    bad("an unknown field", '{"code": "", "timeout": 1}', /^The request is not valid: timeout: is no known field\.$/);
    bad("a wrong type", '{"code": {}}', /^The request is not valid: code: .*expected string/);
    bad("code with a NUL character", '{"code": "\\u0000"}', /code: the code must not hold a NUL character/);
    bad("a hostile path", '{"code": "", "files": [{"path": "../../x", "content": ""}]}', /files\.0\.path: the path contains "\.\."/);
    bad("a prototype", '{"code": "", "__proto__": {"timeoutMs": 1}}', /__proto__: is no known field/);
    bad(
      "an object nested deeper than any stack",
      `{"code": ${'{"a":'.repeat(16_000)}1${"}".repeat(16_000)}}`,
      /^The body is nested deeper/,
    );
    bad(
      "a list nested deeper than any stack",
      `{"code": "", "x": ${"[".repeat(40_000)}${"]".repeat(40_000)}}`,
      /^The body is nested deeper/,
    );

    it("with many problems lists all, and names the first in the message", async () => {
      await start();
      const answer = await service.execute({ a: 1, b: 2, c: 3, timeoutMs: -1 });
      const { details, message } = errorOf(answer, 400, "INVALID_REQUEST");
      assert.deepEqual(details.map(({ path }) => path).sort(), ["a", "b", "c", "timeoutMs"]);
      assert.match(message, / \(and 1 more, see details\)\.$/);
    });

    it("with a senseless number of fields, files or names is refused without a list of them", async () => {
      await start({ maxBodyBytes: 10_000_000 });
      const fieldsOf = (count: number): object => Object.fromEntries(Array.from({ length: count }, (_, index) => [`f${index}`, 0]));
      const many = fieldsOf(50_000);
      const crowd = Array.from({ length: 450 }, () => fieldsOf(900));
      for (const fields of [many, { env: many }, { files: [many] }, { permissions: { fileSystem: { read: [many] } } }, { files: crowd }]) {
        const answer = await service.execute(fields);
        assert.match(errorOf(answer, 400, "INVALID_REQUEST").message, /more objects, lists, fields and values, than any valid request/);
        assert.ok(answer.text.length < 1000);
      }
      for (const fields of [fieldsOf(1001), { env: fieldsOf(1001) }, { permissions: { fileSystem: { read: [fieldsOf(1001)] } } }])
        assert.match(errorOf(await service.execute(fields), 400, "INVALID_REQUEST").message, /more than 1000 fields/);
    });

    for (const [title, fields, status, code, message] of [
      [
        "a limit above the ceiling",
        { timeoutMs: 30_001 },
        400,
        "LIMIT_EXCEEDED",
        /timeoutMs: 30001 ms is above this runtime's ceiling of 30000 ms/,
      ],
      [
        "more permissions than the runtime has",
        { permissions: { network: { allowedHosts: ["x.org"] } } },
        403,
        "PERMISSION_WIDENING",
        /does not let programs reach "x\.org"/,
      ],
      [
        "permissions that make no sense",
        { permissions: { fileSystem: { write: ["."] } } },
        400,
        "INVALID_REQUEST",
        /the whole workspace cannot be writable/,
      ],
      ["an unknown runtime", { runtime: "python" }, 404, "NOT_FOUND", /There is no runtime "python"\. There are: node\./],
      [
        "too many files",
        { files: [1, 2, 3].map((name) => ({ path: `${name}`, content: "" })) },
        400,
        "LIMIT_EXCEEDED",
        /brings 3 files; this runtime takes 2/,
      ],
      [
        "a file where the runtime reads",
        { files: [{ path: "data/x", content: "" }] },
        400,
        "INVALID_REQUEST",
        /"data\/x" lies in the readable path "data"/,
      ],
    ] as const) {
      it(`${title} is ${status} ${code}`, async () => {
        await start({ runtimes: [runtimeOf({ limits: { inputFiles: 2 }, permissions: { fileSystem: { read: ["data"] } } })] });
        const error = errorOf(await service.execute(fields), status, code);
        assert.match(error.message, message);
        assert.deepEqual(statuses(), []);
      });
    }

    for (const type of [
      undefined,
      "text/plain",
      "application/x-www-form-urlencoded",
      "multipart/form-data; boundary=x",
      "application/json5",
      "nonsense",
    ]) {
      it(`Content-Type ${type ?? "missing"} is 415`, async () => {
        await start();
        const answer = await service.send("/v1/executions", {
          body: '{"code": ""}',
          headers: type === undefined ? {} : { "Content-Type": type },
        });
        assert.match(errorOf(answer, 415, "UNSUPPORTED_MEDIA_TYPE").message, /^Send JSON, with "Content-Type: application\/json"\.$/);
      });
    }

    it("a compressed body or another charset is 415", async () => {
      await start();
      for (const headers of [{ "Content-Encoding": "gzip" }, { "Content-Type": "application/json; charset=latin1" }]) {
        errorOf(await service.execute({}, headers), 415, "UNSUPPORTED_MEDIA_TYPE");
      }
    });

    it("a body over the cap is 413 and names the setting, with a length or without; just under it is fine", async () => {
      await start({ maxBodyBytes: 2000 });
      const body = JSON.stringify({ code: "x".repeat(3000) });
      const headers = { "Content-Type": "application/json" };
      for (const extra of [{}, { "Transfer-Encoding": "chunked" }]) {
        const answer = await service.send("/v1/executions", { body, headers: { ...headers, ...extra } });
        assert.match(errorOf(answer, 413, "PAYLOAD_TOO_LARGE").message, /CODE_MODE_MAX_BODY_BYTES/);
      }
      assert.equal((await service.execute({ code: "x".repeat(1900) })).status, 200);
    });

    it("a body that ends early costs nothing", async () => {
      await start();
      const socket = connect(service.port, "127.0.0.1");
      socket.on("error", () => undefined);
      socket.write("POST /v1/executions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{");
      await sleep(20);
      socket.destroy();
      await eventually(() => service.log.length > 0, "the request was noticed");
      assert.deepEqual(service.sandboxes.started, []);
      assert.equal((await service.execute()).status, 200);
    });
  });

  describe("paths and methods", () => {
    for (const [method, path, allow] of [
      ["PUT", "/v1/executions", "GET, POST"],
      ["DELETE", "/v1/executions", "GET, POST"],
      ["OPTIONS", "/v1/executions", "GET, POST"],
      ["POST", `/v1/executions/${UNKNOWN_ID}`, "DELETE, GET"],
      ["PATCH", `/v1/executions/${UNKNOWN_ID}`, "DELETE, GET"],
      ["POST", "/v1/runtimes", "GET"],
      ["DELETE", "/health", "GET"],
      ["POST", "/livez", "GET"],
      ["POST", "/readyz", "GET"],
      ["POST", "/openapi.json", "GET"],
    ] as const) {
      it(`${method} ${path} is 405 and says what is possible`, async () => {
        await start();
        const answer = await service.send(path, { method });
        assert.equal(errorOf(answer, 405, "METHOD_NOT_ALLOWED").message, `${method} is not possible here; use ${allow}.`);
        assert.equal(answer.headers.allow, allow);
      });
    }

    for (const path of ["/", "/v1", "/v2/executions", "/v1/executions/x/y", "/admin", "/..%2f..%2fetc/passwd"]) {
      it(`${path} is 404 and points to the description`, async () => {
        await start();
        assert.match(errorOf(await service.send(path), 404, "NOT_FOUND").message, /^There is nothing at .* \/openapi\.json\.$/);
      });
    }

    for (const id of [UNKNOWN_ID, "1", "exe_", "__proto__", "%00", "..%2f", "x".repeat(5000)]) {
      it(`the execution ${id.slice(0, 30)} is 404`, async () => {
        await start();
        for (const method of ["GET", "DELETE"]) {
          assert.match(
            errorOf(await service.send(`/v1/executions/${id}`, { method }), 404, "NOT_FOUND").message,
            /There is no such execution; results are kept for a while only\./,
          );
        }
      });
    }

    it("a path that is no URL path is 400", async () => {
      await start();
      assert.equal(errorOf(await service.send("/v1/executions/%ff"), 400, "INVALID_REQUEST").message, "The path is no valid URL path.");
    });

    it("HEAD works where GET does", async () => {
      await start();
      const answer = await service.send("/v1/executions", { method: "HEAD" });
      assert.deepEqual([answer.status, answer.text], [200, ""]);
    });
  });

  describe("limits of the service", () => {
    it("a full queue is 429 with Retry-After, and those who wait are served", async () => {
      await start({ limits: { maxRunning: 1, maxQueued: 1 } });
      let go = (): void => undefined;
      const gate = new Promise<void>((resolve) => (go = resolve));
      service.sandboxes.behaviour = async () => {
        await gate;
        return finishes();
      };
      const served = [service.execute(), service.execute()];
      await eventually(() => statuses().length === 2, "two are in");
      const answer = await service.execute();
      errorOf(answer, 429, "QUEUE_FULL");
      assert.match(answer.headers["retry-after"]!, /^[1-9]\d*$/);
      assert.equal(answer.headers["x-execution-id"], undefined);
      go();
      for (const answer of await Promise.all(served)) assert.equal(executionOf(answer).status, "completed");
    });

    it("bodies that would not fit into memory together are 429, until one is done", async () => {
      await start({ maxBodyBytes: 100_000, limits: { maxRunning: 20 } });
      let go = (): void => undefined;
      const gate = new Promise<void>((resolve) => (go = resolve));
      service.sandboxes.behaviour = async () => {
        await gate;
        return finishes();
      };
      const code = "x".repeat(99_900);
      const served = Array.from({ length: 8 }, () => service.execute({ code }));
      await eventually(() => statuses().length === 8, "eight are in");
      const answer = await service.execute({ code });
      assert.match(errorOf(answer, 429, "QUEUE_FULL").message, /send smaller ones with Content-Length/);
      assert.equal(answer.headers["retry-after"], "1");
      const chunked = await service.send("/v1/executions", {
        body: '{"code": ""}',
        headers: { "Content-Type": "application/json", "Transfer-Encoding": "chunked" },
      });
      errorOf(chunked, 429, "QUEUE_FULL");
      const small = service.execute();
      await eventually(() => statuses().length === 9, "a small one is always taken");
      go();
      for (const { status } of await Promise.all([...served, small])) assert.equal(status, 200);
      assert.equal((await service.execute({ code })).status, 200);
    });

    it("refused bodies give their room back", async () => {
      await start({ maxBodyBytes: 100_000 });
      for (let count = 0; count < 12; count += 1) {
        errorOf(await service.execute({ code: "x".repeat(90_000), wrong: 1 }), 400, "INVALID_REQUEST");
        errorOf(await service.execute({ code: "x".repeat(110_000) }), 413, "PAYLOAD_TOO_LARGE");
      }
      assert.equal((await service.execute({ code: "x".repeat(90_000) })).status, 200);
    });

    it("an answer that is not read holds its slot until its reader leaves", async () => {
      await start({ limits: { maxRunning: 1, maxQueued: 0 }, runtimes: [runtimeOf({ limits: { maxOutputBytes: "64MB" } })] });
      service.sandboxes.behaviour = (_program, sink) => {
        sink.stdout(Buffer.alloc(20_000_000, "\u0001"));
        return Promise.resolve(finishes());
      };
      const response = await headOf(service.open("/v1/executions", { body: { code: "", limits: { outputBytes: 20_000_000 } } }));
      response.pause();
      await eventually(() => statuses()[0] === "completed", "the program has ended");
      await sleep(30);
      assert.equal(service.manager.status().running, 1);
      errorOf(await service.execute(), 429, "QUEUE_FULL");
      response.destroy();
      await eventually(() => service.manager.status().running === 0, "the slot is given back");
    });

    it("an engine that is away is 503 with the reason; nothing of its cause is shown", async () => {
      await start();
      service.sandboxes.beforeStart = () =>
        Promise.reject(
          new AppError({
            code: "SANDBOX_UNAVAILABLE",
            message: "The engine is away.",
            retryAfterSeconds: 7,
            cause: new Error("connect /run/secret.sock"),
          }),
        );
      const answer = await service.execute();
      assert.equal(errorOf(answer, 503, "SANDBOX_UNAVAILABLE").message, "The engine is away.");
      assert.equal(answer.headers["retry-after"], "7");
      assert.ok(!answer.text.includes("secret"));
    });

    it("a bug is 500 without details; they are in the log under the request's id", async () => {
      await start();
      service.sandboxes.beforeStart = () => Promise.reject(new TypeError("undefined is no function, at /srv/secret.ts"));
      const answer = await service.execute();
      const { message, requestId } = errorOf(answer, 500, "INTERNAL");
      assert.equal(message, "An internal error. The service's log has the details under this request id.");
      assert.ok(!answer.text.includes("secret"));
      assert.ok(service.log.some(({ err, level, req }) => level === 50 && req?.id === requestId && err?.message.includes("secret.ts")));
    });

    it("request ids are the service's own, each new", async () => {
      await start();
      const ids = [await service.send("/livez", { headers: { "X-Request-Id": "mine\u00ff" } }), await service.send("/livez")].map(
        ({ headers }) => String(headers["x-request-id"]),
      );
      assert.equal(new Set(ids).size, 2);
      for (const id of ids) assert.match(id, /^[0-9a-f-]{36}$/);
    });
  });

  describe("a caller who leaves", () => {
    it("cancels what runs", async () => {
      await start();
      let reason: unknown;
      service.sandboxes.behaviour = async (program, sink, signal) => {
        const end = await untilStopped(program, sink, signal);
        reason = signal.reason;
        return end;
      };
      const request = service.open("/v1/executions", { body: { code: "" } });
      const { headers } = await headOf(request);
      request.destroy();
      await eventually(() => service.manager.get(String(headers["x-execution-id"]))?.status === "cancelled", "the execution is cancelled");
      assert.match(String(reason), /The caller went away/);
    });

    it("cancels what waits, and gives the place back", async () => {
      await start({ limits: { maxRunning: 1, maxQueued: 1 } });
      service.sandboxes.behaviour = untilStopped;
      const first = service.open("/v1/executions", { body: { code: "" } });
      await headOf(first);
      const second = service.open("/v1/executions", { body: { code: "" } });
      await eventually(() => service.manager.status().queued === 1, "the second waits");
      second.destroy();
      await eventually(() => service.manager.status().queued === 0, "the second is gone");
      assert.equal(service.sandboxes.started.length, 1);
    });

    it("cancels what it asked for behind another request on the same connection, and frees slots and bodies", async () => {
      await start({ maxBodyBytes: 100_000 });
      service.sandboxes.behaviour = untilStopped;
      for (const headers of ["", "Accept: text/event-stream\r\n"]) {
        for (const code of ["", "x".repeat(90_000)]) {
          for (let round = 0; round < 4; round += 1) {
            const body = JSON.stringify({ code });
            const socket = connect(service.port, "127.0.0.1");
            socket.on("error", () => undefined);
            const head = `POST /v1/executions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${headers}`;
            socket.write(`${head}Content-Length: ${body.length}\r\n\r\n${body}`.repeat(3));
            await eventually(() => service.manager.status().running === 3, "all three run");
            socket.destroy();
            await eventually(() => service.manager.status().running === 0, "all three are gone");
          }
        }
      }
      service.sandboxes.behaviour = () => Promise.resolve(finishes());
      assert.equal((await service.execute({ code: "x".repeat(90_000) })).status, 200);
    });

    it("harms no other execution", async () => {
      await start();
      service.sandboxes.behaviour = async (program, sink, signal) => {
        if (program.code === "stays") {
          await sleep(50);
          return finishes();
        }
        return untilStopped(program, sink, signal);
      };
      const leaver = service.open("/v1/executions", { body: { code: "leaves" } });
      await headOf(leaver);
      const stays = service.execute({ code: "stays" });
      leaver.destroy();
      assert.equal(executionOf(await stays).status, "completed");
    });

    it("and one who reads the whole answer are not confused", async () => {
      await start();
      const { id } = executionOf(await service.execute());
      assert.equal(executionOf(await service.send(`/v1/executions/${id}`)).status, "completed");
    });
  });

  describe("a cancel", () => {
    it("of one that waits answers its caller with a whole execution", async () => {
      await start({ limits: { maxRunning: 1, maxQueued: 1 } });
      service.sandboxes.behaviour = untilStopped;
      await headOf(service.open("/v1/executions", { body: { code: "" } }));
      const waiting = service.execute();
      await eventually(() => statuses().includes("queued"), "the second waits");
      const { id } = service.manager.list().find(({ status }) => status === "queued")!;
      assert.equal((await service.send(`/v1/executions/${id}`, { method: "DELETE" })).status, 202);
      const answer = await waiting;
      const execution = executionOf(answer);
      assert.deepEqual([execution.id, execution.status], [id, "cancelled"]);
      assert.equal(answer.headers["content-type"], "application/json; charset=utf-8");
      assert.equal(answer.headers["x-execution-id"], id);
    });

    it("of one that has ended is 200 and changes nothing", async () => {
      await start();
      const { id } = executionOf(await service.execute());
      const answer = await service.send(`/v1/executions/${id}`, { method: "DELETE" });
      assert.deepEqual([answer.status, executionSummarySchema.parse(answer.json).status], [200, "completed"]);
      assert.equal(executionOf(await service.send(`/v1/executions/${id}`)).status, "completed");
    });
  });

  describe("what can be seen", () => {
    const [alice, bob, root] = ["alice", "bobby", "admin"].map((name) => ({ Authorization: `Bearer ${name}-0123456789` }));
    const keys = [
      { name: "alice", key: "alice-0123456789", scopes: ["execute"] },
      { name: "bob", key: "bobby-0123456789", scopes: ["execute"] },
      { name: "root", key: "admin-0123456789", scopes: ["execute", "admin"] },
    ] as const;

    it("are one's own executions; to everybody else they do not exist, but to an admin", async () => {
      await start({ keys });
      service.sandboxes.behaviour = untilStopped;
      const { headers } = await headOf(service.open("/v1/executions", { body: { code: "" }, headers: alice! }));
      const path = `/v1/executions/${String(headers["x-execution-id"])}`;
      for (const method of ["GET", "DELETE"]) errorOf(await service.send(path, { method, headers: bob! }), 404, "NOT_FOUND");
      assert.deepEqual((await service.send("/v1/executions", { headers: bob! })).json, { executions: [] });
      assert.deepEqual(statuses(), ["running"], "bob's DELETE did nothing");
      for (const principal of [alice!, root!]) {
        const underWay = await service.send(path, { headers: principal });
        assert.equal(executionOf(underWay).status, "running");
        assert.equal(summariesOf(await service.send("/v1/executions", { headers: principal })).length, 1);
      }
      assert.equal((await service.send(path, { method: "DELETE", headers: root! })).status, 202);
      await eventually(() => statuses()[0] === "cancelled", "the admin's DELETE cancels");
    });

    it("is the whole result under its id, and a summary without output in the list", async () => {
      await start();
      service.sandboxes.behaviour = (_program, sink) => {
        sink.stdout(Buffer.from("printed"));
        return Promise.resolve(finishes({ answer: 42 }));
      };
      const execution = executionOf(await service.execute());
      assert.deepEqual((await service.send(`/v1/executions/${execution.id}`)).json, execution);
      const { executions } = (await service.send("/v1/executions")).json as { executions: unknown[] };
      assert.equal(executions.length, 1);
      assert.deepEqual(executionSummarySchema.strict().parse(executions[0]), executions[0]);
    });

    it("can be filtered by status and cut, newest first", async () => {
      await start();
      for (const index of [1, 2, 3]) await service.execute({ args: [`${index}`] });
      service.sandboxes.behaviour = () => Promise.reject(new Error("engine"));
      await service.execute();
      const list = async (query: string): Promise<ExecutionSummary[]> => summariesOf(await service.send(`/v1/executions${query}`));
      const all = await list("");
      assert.deepEqual(
        all.map(({ status }) => status),
        ["killed", "completed", "completed", "completed"],
      );
      assert.deepEqual(await list("?status=completed"), all.slice(1));
      assert.deepEqual(await list("?status=completed&limit=2"), all.slice(1, 3));
      assert.deepEqual(await list("?status=running"), []);
    });

    for (const [query, message] of [
      ["?status=done", /^The query is not valid: status: .*"queued"\|"running"/],
      ["?limit=0", /limit: .*>=1/],
      ["?limit=1001", /limit: .*<=1000/],
      ["?limit=x", /limit: .*expected number/],
      ["?page=2", /page: is no known field/],
      ["?status=queued&status=running", /status: /],
    ] as const) {
      it(`${query} is 400 and says why`, async () => {
        await start();
        assert.match(errorOf(await service.send(`/v1/executions${query}`), 400, "INVALID_REQUEST").message, message);
      });
    }
  });

  describe("the shutdown", () => {
    it("answers what runs within its grace, and refuses the rest with 503 and Retry-After", async () => {
      await start();
      service.sandboxes.behaviour = async () => {
        await sleep(60);
        return finishes("done");
      };
      const running = service.execute();
      await eventually(() => statuses()[0] === "running", "it runs");
      const closing = service.manager.close(5000, () => undefined);
      const refused = await service.execute();
      errorOf(refused, 503, "SHUTTING_DOWN");
      assert.ok(Number(refused.headers["retry-after"]) > 0);
      assert.equal((await service.send("/readyz")).status, 503);
      assert.equal((await service.send("/livez")).status, 200);
      assert.equal(executionOf(await running).result, "done");
      await closing;
    });

    it("cancels what takes longer than the grace; its caller still gets the answer", async () => {
      await start();
      service.sandboxes.behaviour = untilStopped;
      const running = service.execute();
      await eventually(() => statuses()[0] === "running", "it runs");
      await service.manager.close(10, () => undefined);
      assert.equal(executionOf(await running).status, "cancelled");
    });
  });
});
