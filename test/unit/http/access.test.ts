/** Who is let in: Host, Origin, keys, scopes; in that order and before anything else. */

import assert from "node:assert/strict";
import { connect } from "node:net";

import { SCOPES } from "../../../src/domain/caller.ts";
import { errorOf, executionOf, hashed, HttpService } from "../support/http-service.ts";
import type { ServiceOptions, TestKey } from "../support/http-service.ts";
import { runtimeOf } from "../support/policies.ts";

const ALICE = { Authorization: "Bearer alice-0123456789" };
const KEYS = [
  { name: "alice", key: "alice-0123456789", scopes: ["execute"] },
  { name: "meter", key: "meter-0123456789", scopes: ["metrics"] },
  ...SCOPES.map((scope) => ({ name: `${scope}-only`, key: `${scope}-only-0123456789`, scopes: [scope] })),
  { name: "limited", key: "limited-0123456789", scopes: ["execute"], runtimes: ["third", "first", "gone"] },
] as const satisfies TestKey[];

describe("http access: Host and Origin", () => {
  let service: HttpService;
  const start = async (options: ServiceOptions = {}): Promise<void> => {
    service = await HttpService.start(options);
  };
  afterEach(() => service.close());

  for (const host of ["localhost", "localhost:3210", "LOCALHOST", "127.0.0.1", "127.0.0.1:1", "[::1]:3210"]) {
    it(`serve Host ${host}`, async () => {
      await start();
      assert.equal((await service.send("/v1/runtimes", { headers: { Host: host } })).status, 200);
    });
  }

  for (const host of [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "127.0.0.2",
    "localhost@evil.example",
    "evil.example@localhost",
    ":evil.example@localhost",
    "evil.example#localhost",
    "evil.example/localhost",
    "localhost?x",
    "a b",
  ]) {
    it(`refuse Host ${JSON.stringify(host)}, on every path`, async () => {
      await start({ keys: KEYS });
      for (const path of ["/v1/runtimes", "/health", "/livez", "/openapi.json", "/nothing"]) {
        const answer = await service.send(path, { headers: { Host: host, ...ALICE } });
        assert.match(errorOf(answer, 403, "FORBIDDEN").message, /Host header names another host\. Add the name to CODE_MODE_ALLOWED_HOSTS/);
      }
    });
  }

  for (const [title, head] of [
    ["an empty Host", "GET /livez HTTP/1.1\r\nHost:\r\n"],
    ["no Host, in a request of old", "GET /livez HTTP/1.0\r\n"],
    ["no Host", "GET /livez HTTP/1.1\r\n"],
  ] as const) {
    it(`refuse ${title}`, async () => {
      await start();
      const socket = connect(service.port, "127.0.0.1");
      socket.write(`${head}Connection: close\r\n\r\n`);
      const chunks: Buffer[] = [];
      for await (const chunk of socket) chunks.push(chunk as Buffer);
      assert.match(Buffer.concat(chunks).toString(), /^HTTP\/1\.1 40[03] /);
    });
  }

  for (const origin of ["http://localhost:8080", "https://127.0.0.1", "http://[::1]:3"]) {
    it(`serve pages of ${origin}`, async () => {
      await start();
      assert.equal((await service.send("/v1/runtimes", { headers: { Origin: origin } })).status, 200);
    });
  }

  for (const origin of [
    "https://evil.example",
    "null",
    "",
    "http://localhost.evil.example",
    "http://localhost@evil.example",
    "http://evil.example@localhost",
    "http://localhost/evil.example",
    "http://localhost?evil.example",
    "file://",
    "localhost",
  ]) {
    it(`refuse pages of ${JSON.stringify(origin)}`, async () => {
      await start();
      const answer = await service.execute({}, { Origin: origin });
      assert.match(errorOf(answer, 403, "FORBIDDEN").message, /Origin header names another site\. Add its name to CODE_MODE_ALLOWED_HOSTS/);
      assert.deepEqual(service.sandboxes.started, []);
    });
  }

  it("serve the names that are configured, for both headers", async () => {
    await start({ allowedHosts: ["Code.Example.com"] });
    const headers = { Host: "code.example.com:8443", Origin: "https://code.example.com:8443" };
    assert.equal((await service.send("/v1/runtimes", { headers })).status, 200);
    errorOf(await service.send("/v1/runtimes", { headers: { Host: "x.code.example.com" } }), 403, "FORBIDDEN");
  });

  it("serve the address that the request came to", async () => {
    await start({ host: "127.0.0.5" });
    assert.equal((await service.send("/livez", { headers: { Host: `127.0.0.5:${service.port}` } })).status, 200);
    assert.equal((await service.send("/livez", { headers: { Host: "127.0.0.6" } })).status, 403);
  });

  it("send no header that lets other sites read", async () => {
    await start();
    const { headers } = await service.send("/v1/runtimes", { headers: { Origin: "http://localhost" } });
    assert.equal(headers["access-control-allow-origin"], undefined);
    assert.equal(headers["x-powered-by"], undefined);
    assert.equal(headers["x-content-type-options"], "nosniff");
    assert.ok(headers["content-security-policy"] !== undefined);
  });
});

describe("http access: keys and scopes", () => {
  let service: HttpService;
  before(async () => {
    service = await HttpService.start({ keys: KEYS, runtimes: ["first", "second", "third"].map((name) => ({ ...runtimeOf(), name })) });
  });
  after(() => service.close());

  for (const [title, headers] of [
    ["no key", {}],
    ["a wrong key", { Authorization: "Bearer alice-9876543210" }],
    ["another scheme", { Authorization: "Basic YWxpY2U6MTIz" }],
  ] as const) {
    it(`${title} gets 401 and is told how, on every path of the API`, async () => {
      for (const [method, path] of [
        ["POST", "/v1/executions"],
        ["GET", "/v1/executions"],
        ["DELETE", "/v1/executions/exe_00000000000000000000"],
        ["GET", "/v1/runtimes"],
        ["GET", "/v1/nothing"],
      ] as const) {
        const answer = await service.send(path, { method, headers });
        errorOf(answer, 401, "UNAUTHENTICATED");
        assert.equal(answer.headers["www-authenticate"], "Bearer");
        assert.match(errorOf(answer, 401, "UNAUTHENTICATED").message, /send "Authorization: Bearer <key>"/);
      }
    });
  }

  /** What a key of one scope alone is answered: to start, to list, to see, to cancel; to look at runtimes, servers, tools; to command. */
  for (const [scope, run, list, get, cancel, look, command] of [
    ["execute", 200, 200, 404, 404, 200, 403],
    ["admin", 403, 200, 200, 200, 200, 404],
    ["audit", 403, 403, 403, 403, 403, 403],
    ["metrics", 403, 403, 403, 403, 403, 403],
  ] as const) {
    it(`a key with "${scope}" alone may do what the table in docs/keys.md says`, async () => {
      const { id } = executionOf(await service.execute({}, ALICE));
      const headers = { Authorization: `Bearer ${scope}-only-0123456789` };
      const statuses = [
        await service.execute({}, headers),
        await service.send("/v1/executions", { headers }),
        await service.send(`/v1/executions/${id}`, { headers }),
        await service.send(`/v1/executions/${id}`, { method: "DELETE", headers }),
        await service.send("/v1/runtimes", { headers }),
        await service.send("/v1/servers", { headers }),
        await service.send("/v1/tools", { headers }),
        await service.send("/v1/servers/none/reconnect", { method: "POST", headers }),
      ].map(({ status }) => status);
      assert.deepEqual(statuses, [run, list, get, cancel, look, look, look, command]);
      const health = (await service.send("/health", { headers })).json as { executions?: { callers?: unknown } };
      assert.deepEqual([health.executions !== undefined, health.executions?.callers !== undefined], [true, scope === "admin"]);
    });
  }

  it("a key without the scope gets 403 with its name and what it lacks, before its body is read", async () => {
    const headers = { Authorization: "Bearer meter-0123456789" };
    const posted = await service.send("/v1/executions", {
      method: "POST",
      headers: { ...headers, "Content-Type": "application/json" },
      body: "{ no JSON",
    });
    assert.equal(errorOf(posted, 403, "FORBIDDEN").message, 'The key "meter" lacks the scope "execute" or "admin".');
    const admin = await service.execute({}, { Authorization: "Bearer admin-only-0123456789" });
    assert.equal(errorOf(admin, 403, "FORBIDDEN").message, 'The key "admin-only" lacks the scope "execute".');
  });

  it("a key with a list of runtimes sees and uses those alone", async () => {
    const headers = { Authorization: "Bearer limited-0123456789" };
    const { runtimes } = (await service.send("/v1/runtimes", { headers })).json as { runtimes: { name: string; default: boolean }[] };
    assert.deepEqual(
      runtimes.map(({ name, default: isDefault }) => [name, isDefault]),
      [
        ["third", true],
        ["first", false],
      ],
    );
    assert.equal(executionOf(await service.execute({}, headers)).runtime, "third");
    const refused = errorOf(await service.execute({ runtime: "second" }, headers), 403, "FORBIDDEN");
    assert.equal(refused.message, 'The key "limited" may not use the runtime "second". It may use: third, first.');
  });

  it("a key that is revoked is a stranger's from the next request on", async () => {
    const own = await HttpService.start({ keys: KEYS });
    try {
      assert.equal((await own.execute({}, ALICE)).status, 200);
      own.authenticator.replace(hashed(KEYS.filter(({ name }) => name !== "alice")));
      const revoked = errorOf(await own.execute({}, ALICE), 401, "UNAUTHENTICATED");
      const unknown = errorOf(await own.execute({}, { Authorization: "Bearer nobody-0123456789" }), 401, "UNAUTHENTICATED");
      assert.equal(revoked.message, unknown.message, "nothing tells a revoked key from one that never was");
      own.authenticator.replace([]);
      for (const headers of [{}, ALICE]) errorOf(await own.execute({}, headers), 401, "UNAUTHENTICATED");
    } finally {
      await own.close();
    }
  });

  it("strangers cannot fill the log: they are counted, and told of in a line at times", async () => {
    const own = await HttpService.start({ keys: KEYS });
    try {
      for (let count = 0; count < 50; count += 1) await own.execute({}, { Authorization: "Bearer nobody-0123456789" });
      const lines = own.log.filter(({ level, msg }) => level >= 40 && msg.includes("want of a key"));
      assert.equal(lines.length, 1);
    } finally {
      await own.close();
    }
  });

  it("a stranger's body is not read", async () => {
    const answer = await service.send("/v1/executions", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: "{ this is no JSON",
    });
    errorOf(answer, 401, "UNAUTHENTICATED");
  });

  it("a key gets in", async () => {
    assert.equal((await service.execute({}, ALICE)).status, 200);
  });

  it("health is for everybody, its details for those with a key", async () => {
    const brief = await service.send("/health");
    assert.deepEqual([brief.status, brief.json], [200, { status: "ok", version: "1.2.3" }]);
    assert.deepEqual((await service.send("/health", { headers: { Authorization: "Bearer wrong-0123456789" } })).json, {
      status: "ok",
      version: "1.2.3",
    });
    const detailed = await service.send("/health", { headers: ALICE });
    assert.deepEqual(Object.keys(detailed.json as object), [
      "status",
      "version",
      "engine",
      "configuration",
      "images",
      "layers",
      "knownHoles",
      "servers",
      "audit",
      "executions",
    ]);
    for (const path of ["/livez", "/readyz", "/openapi.json"]) assert.equal((await service.send(path)).status, 200, path);
  });

  it("no key reaches the log", async () => {
    await service.execute({}, ALICE);
    await service.execute({}, { Authorization: "Bearer wrong-0123456789" });
    assert.ok(service.log.length > 0);
    assert.ok(!/alice-0123456789|wrong-0123456789/.test(JSON.stringify(service.log)));
  });
});
