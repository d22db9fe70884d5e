import assert from "node:assert/strict";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";

import fc from "fast-check";

import { loadMcpServers, parseMcpServers } from "../../../src/config/mcp-servers-file.ts";
import type { LoadedMcpServers, McpServersOptions } from "../../../src/config/mcp-servers-file.ts";
import { SECTIONS, serverSchema } from "../../../src/config/mcp-servers/schema.ts";
import { StartupError } from "../../../src/domain/errors.ts";
import { defineServer } from "../../../src/domain/mcp-server.ts";
import type { McpServerDefinition } from "../../../src/domain/mcp-server.ts";
import { packageRoot } from "../../../src/lib/package-info.ts";
import { useTempFolder } from "../support/temp-folder.ts";

const FILE = "/etc/code-mode/mcp-servers.json";
const SECRET = "s3cr3t-value-of-the-test";

/** All variables that the shipped files name. */
const COMPLETE = {
  SERENA_PROJECT: "/srv/project",
  HELPSCOUT_APP_ID: "an-app-id",
  HELPSCOUT_APP_SECRET: SECRET,
  WP_API_URL: "https://example.com/wp-json/mcp/mcp-adapter-default-server",
  WP_API_USERNAME: "someone",
  WP_API_PASSWORD: SECRET,
};

const optionsOf = (env: Readonly<Record<string, string>> = {}): McpServersOptions => ({
  variable: (name) => (Object.hasOwn(env, name) ? env[name] : undefined),
  timeoutMs: 30_000,
});

const parse = (file: unknown, env: Readonly<Record<string, string>> = {}): LoadedMcpServers =>
  parseMcpServers(typeof file === "string" ? file : JSON.stringify(file), FILE, optionsOf(env));

/** The one server of a file that has it, with the warnings. */
function parseServer(
  settings: unknown,
  env: Readonly<Record<string, string>> = {},
): { readonly server: McpServerDefinition; readonly warnings: readonly string[] } {
  const { servers, warnings } = parse({ mcpServers: { x: settings } }, env);
  return { server: servers.get("x")!, warnings };
}

function problemsOf(file: unknown): readonly string[] {
  try {
    parse(file);
  } catch (error) {
    assert.ok(error instanceof StartupError, String(error));
    return error.problems;
  }
  return assert.fail("it was accepted");
}

const problemsOfServer = (settings: unknown): string[] =>
  problemsOf({ mcpServers: { x: settings } }).map((problem) => problem.replace(`${FILE}: mcpServers.x`, "").replace(/^[.:] ?/, ""));

describe("mcp-servers-file: a server", () => {
  it("that is a command and nothing else gets the defaults, as one that is made in code does", () => {
    const { server, warnings } = parseServer({ command: "node" });
    assert.deepEqual(warnings, []);
    const transport = { kind: "stdio", command: "node", args: [], env: {}, cwd: undefined } as const;
    assert.deepEqual(structuredClone(server), defineServer("x", { transport }, 30_000));
  });

  it("can say all of it", () => {
    const { server } = parseServer({
      command: "npx",
      args: ["-y", "some-server@1.2.3"],
      env: { SERVER_URL: "http://127.0.0.1:1" },
      cwd: "servers/x",
      disabled: true,
      timeoutMs: 5,
      tools: { allow: "readOnly", deny: ["delete_*"] },
      aliases: { recall: "recall_memory" },
      arguments: { recall_memory: ["query", "limit"] },
      rateLimit: { requestsPerMinute: 100 },
      maxPayloadBytes: "64KB",
      maxResultBytes: 2048,
      fallback: { mode: "error", responses: { recall_memory: { mock: true, results: [], count: 0 } } },
      healthCheck: { tool: "check" },
    });
    assert.deepEqual(structuredClone({ ...server }), {
      name: "x",
      transport: {
        kind: "stdio",
        command: "npx",
        args: ["-y", "some-server@1.2.3"],
        env: { SERVER_URL: "http://127.0.0.1:1" },
        cwd: "/etc/code-mode/servers/x",
      },
      problem: undefined,
      enabled: false,
      timeoutMs: 5,
      tools: { allow: "readOnly", deny: ["delete_*"] },
      aliases: { recall: "recall_memory" },
      arguments: { recall_memory: ["query", "limit"] },
      rateLimit: { requestsPerMinute: 100, maxConcurrent: 10 },
      maxPayloadBytes: 65_536,
      maxResultBytes: 2048,
      fallback: { mode: "error", responses: { recall_memory: { mock: true, results: [], count: 0 } } },
      healthCheck: { tool: "check" },
      secrets: [],
    });
  });

  it("has tables in which nothing is found that the file does not name", () => {
    const { server } = parseServer({ command: "node" });
    for (const table of [server.aliases, server.arguments, server.fallback.responses])
      for (const name of ["constructor", "__proto__", "toString"]) assert.equal(table[name], undefined);
  });

  for (const [type, kind] of [
    [undefined, "http"],
    ["http", "http"],
    ["streamable-http", "http"],
    ["streamableHttp", "http"],
    ["sse", "sse"],
  ] as const) {
    it(`with a url and the type ${String(type)} is reached by ${kind}`, () => {
      const { server } = parseServer({ type, url: "https://example.com/mcp", headers: { "X-Team": "one" } });
      assert.deepEqual(server.transport, { kind, url: "https://example.com/mcp", headers: { "X-Team": "one" } });
    });
  }
});

describe("mcp-servers-file: entries of other clients", () => {
  for (const [client, entry] of [
    ["Claude Desktop", { command: "npx", args: ["-y", "@scope/server", "/data"], env: { API_KEY: "k" } }],
    ["Cursor", { command: "uvx", args: ["server"], env: { API_KEY: "${env:API_KEY}" } }],
    ["VS Code", { type: "stdio", command: "npx", args: ["-y", "server"] }],
    ["VS Code over HTTP", { type: "http", url: "https://example.com/mcp", headers: { Authorization: "Bearer ${env:API_KEY}" } }],
  ] as const) {
    it(`${client}: are taken as they are`, () => {
      const { server, warnings } = parseServer(entry, { API_KEY: "a-key-of-mine" });
      assert.deepEqual([warnings, server.problem, server.transport === undefined], [[], undefined, false]);
    });
  }

  it("keep what only these clients know, with a warning each", () => {
    const { server, warnings } = parseServer({
      command: "node",
      disabled: false,
      autoApprove: ["a"],
      alwaysAllow: [],
      timeout: 60,
      transportType: "stdio",
      description: "…",
      icon: "x.png",
      iconPath: 5,
    });
    assert.equal(server.enabled, true);
    assert.deepEqual(
      warnings.map((warning) => warning.replace(`${FILE}: mcpServers.x.`, "")),
      [
        "autoApprove: is ignored: programs may call what tools.allow lists",
        "alwaysAllow: is ignored: programs may call what tools.allow lists",
        "timeout: is ignored: other clients count it in seconds or in milliseconds; write timeoutMs",
        "transportType: is ignored: the transport goes by command and url; write type to name it",
        "description: is no setting of Code Mode and is ignored",
        "icon: is no setting of Code Mode and is ignored",
        "iconPath: is no setting of Code Mode and is ignored",
      ],
    );
  });

  it("are told apart from a slip, which would leave a server without its credentials", () => {
    assert.deepEqual(
      problemsOfServer({
        Command: "a",
        environment: { KEY: SECRET },
        env_vars: {},
        timeout_ms: 5,
        enable: true,
        disabledTools: ["a"],
        serverUrl: "https://example.com",
        Args: [],
      }),
      [
        "Command: is no known setting; write command",
        "environment: is no setting here; write env",
        "timeout_ms: is no known setting; write timeoutMs",
        "enable: is no known setting; write enabled",
        "disabledTools: is no setting here; write tools.deny",
        "serverUrl: is no setting here; write url",
        "Args: is no known setting; write args",
        "expected a command (stdio) or a url (http)",
      ],
    );
  });

  it("of a file whose servers have another name are not lost", () => {
    assert.deepEqual(problemsOf({ servers: { x: { command: "a" } } }), [`${FILE}: servers: is no setting here; write mcpServers`]);
    assert.deepEqual(problemsOf({ McpServers: {} }), [`${FILE}: McpServers: is no known setting; write mcpServers`]);
    assert.deepEqual(parse({ mcpServers: {}, globalShortcut: "x" }).warnings, [
      `${FILE}: globalShortcut: is no setting of Code Mode and is ignored`,
    ]);
  });
});

describe("mcp-servers-file: what cannot be used", () => {
  for (const [title, settings, problems] of [
    ["a server that is none", 5, ["expected an object with the settings of a server"]],
    ["a command that is a list", { command: ["npx"] }, ['command: expected a program, such as "npx"']],
    ["an empty command", { command: "" }, ['command: expected a program, such as "npx"']],
    ["a number as an argument", { command: "a", args: [8001] }, ["args.0: expected text, in quotes"]],
    ["arguments in one text", { command: "a", args: "-y x" }, ['args: expected a list of texts, such as ["-y", "some-package"]']],
    ["a NUL in an argument", { command: "a", args: ["a\0b"] }, ["args.0: expected text without NUL"]],
    ["a number as a variable", { command: "a", env: { PORT: 1 } }, ['env.PORT: expected text, in quotes: "8001", "true"']],
    ["a variable without a name", { command: "a", env: { "A=B": "" } }, ["env.A=B: expected the name of a variable"]],
    ["env as a list", { command: "a", env: ["A=B"] }, ['env: expected an object: {"NAME": "value"}']],
    ["a command and a url", { command: "a", url: "http://x" }, ["url: there is a command too; a server has one of the two"]],
    ["neither", { enabled: false }, ["expected a command (stdio) or a url (http)"]],
    ["http without a url", { type: "http", command: "a" }, ['expected a url, since the type is "http"']],
    [
      "a type that is none",
      { type: "websocket", url: "http://x" },
      ['type: expected "stdio", "http", "streamable-http" or "sse"; without it, command means stdio, and url http'],
    ],
    [
      "credentials that a server with a url would never get",
      { url: "https://x/", env: { KEY: SECRET } },
      ["env: goes with command, and this server has none; credentials of a server with url go into headers"],
    ],
    ["headers of a command", { command: "a", headers: { A: "b" } }, ["headers: goes with url, and this server has none"]],
    ["another scheme", { url: "ftp://x/" }, ["url: expected an address that begins with http:// or https://"]],
    ["no address", { url: "example.com" }, ["url: expected an address that begins with http:// or https://"]],
    [
      "a password in the address",
      { url: `https://me:${SECRET}@example.com/` },
      ['url: holds a user or password, which is never sent; write headers: {"Authorization": "Basic …"}'],
    ],
    ["a header that is none", { url: "http://x/", headers: { "a b": "c" } }, ["headers.a b: expected the name of a header"]],
    [
      "a second header in a value",
      { url: "http://x/", headers: { a: "b\r\nc: d" } },
      ["headers.a: has a character that no header can hold"],
    ],
    [
      "a header of the transport",
      { url: "http://x/", headers: { Host: "y" } },
      ["headers.Host: is set by the transport itself; leave it out"],
    ],
    ["a switch in quotes", { command: "a", enabled: "false" }, ["enabled: expected true or false, without quotes"]],
    [
      "two switches that differ",
      { command: "a", enabled: true, disabled: true },
      ["disabled: contradicts enabled; leave one of the two out"],
    ],
    ["no time", { command: "a", timeoutMs: 0 }, ["timeoutMs: expected a whole number from 1 to 3600000"]],
    [
      "a list that is a text",
      { command: "a", tools: { allow: "*" } },
      ['tools.allow: expected a list of tools, such as ["find_*", "read_file"], or "readOnly"'],
    ],
    [
      "a slip in a section",
      { command: "a", tools: { alow: [] }, rateLimit: { request_per_minute: 1 }, fallback: { foo: 1 } },
      [
        "tools.alow: is no known setting; write allow",
        "rateLimit.request_per_minute: is no known setting; write requestsPerMinute",
        "fallback.foo: is no known setting",
      ],
    ],
    [
      "a pattern with the server in it",
      { command: "a", tools: { deny: ["x.delete"] } },
      ['tools.deny: "x.delete" begins with the server; the list is this server\'s alone: write "delete"'],
    ],
    ["an alias of an alias", { command: "a", aliases: { a: "b", b: "c" } }, ['aliases.a: "b" is an alias too; name the tool itself']],
    ["an alias of itself", { command: "a", aliases: { a: "a" } }, ["aliases.a: stands for itself; leave it out"]],
    [
      "arguments of an alias",
      { command: "a", aliases: { ls: "list" }, arguments: { ls: ["dir"] } },
      ['arguments: "ls" is an alias; write the tool\'s own name, "list"'],
    ],
    ["an argument twice", { command: "a", arguments: { t: ["q", "n", "q"] } }, ["arguments.t: names an argument twice"]],
    [
      "args in the wrong place",
      { command: "a", arguments: ["-y"] },
      ['arguments: expected an object: for each tool the names of its positional arguments. The arguments of the command are "args"'],
    ],
    ["too large a payload", { command: "a", maxPayloadBytes: "5MB" }, ["maxPayloadBytes: must be from 1KB to 4MB"]],
    ["no size", { command: "a", maxResultBytes: "big" }, ['maxResultBytes: expected a size such as "512MB", "1.5GB" or a number of bytes']],
    [
      "an answer that does not say that it is a mock",
      { command: "a", fallback: { responses: { t: { results: [] } } } },
      ['fallback.responses.t.mock: expected true: a program must be able to tell the answer from a real one. Add "mock": true'],
    ],
    [
      "an answer that is no object",
      { command: "a", fallback: { responses: { t: [] } } },
      ['fallback.responses.t: expected an object with "mock": true, such as {"mock": true, "results": []}'],
    ],
    [
      "answers that claim what did not happen",
      { command: "a", fallback: { responses: { t: { mock: true, stored: true, inner: [{ status: "success" }] } } } },
      [
        "fallback.responses.t.stored: claims that something was done, while the server is down; say false, or leave it out",
        "fallback.responses.t.inner.0.status: claims that something was done, while the server is down; say false, or leave it out",
      ],
    ],
    [
      "a health check that is none",
      { command: "a", healthCheck: { path: "/" } },
      ['healthCheck: expected {"url": "http://…"} or {"tool": "…"}'],
    ],
    [
      "a variable without an end",
      { command: "a", args: ["${A"] },
      ['args.0: has a "${" that begins no variable; write ${NAME} or ${NAME:-default}, or $${ for the text itself'],
    ],
    [
      "a variable within a default",
      { command: "a", env: { A: "${A:-${B}}" } },
      ['env.A: has a "${" that begins no variable; write ${NAME} or ${NAME:-default}, or $${ for the text itself'],
    ],
    [
      "a question that an editor would ask",
      { command: "a", env: { A: "${input:key}" } },
      ['env.A: has a "${" that begins no variable; write ${NAME} or ${NAME:-default}, or $${ for the text itself'],
    ],
    ["a home folder as a shell writes it", { command: "a", cwd: "~/x" }, ["cwd: no shell reads this: write ${HOME} in place of ~"]],
  ] as const) {
    it(`${title}: says where, and what is expected`, () => {
      assert.deepEqual(problemsOfServer(settings), problems);
    });
  }

  for (const name of ["a/b", "", " a", "a ", "ä", "a".repeat(65), "constructor", "prototype"]) {
    it(`the name ${JSON.stringify(name)}`, () => {
      assert.equal(problemsOf({ mcpServers: { [name]: { command: "a" } } }).length, 1);
    });
  }

  it("the name __proto__, which a parser would drop", () => {
    assert.match(problemsOf('{"mcpServers": {"__proto__": {"command": "a"}}}')[0]!, /the key "mcpServers.__proto__" is not allowed/);
  });

  it("everything at once, of all servers", () => {
    const problems = problemsOf({ mcpServers: { a: { command: 5 }, b: { url: "x" }, "c/d": { command: "a", Env: {} } } });
    assert.deepEqual(
      problems.map((problem) => problem.replace(`${FILE}: mcpServers.`, "").replace(/: .*/, "")),
      ["a.command", "b.url", "c/d.Env", "c/d"],
    );
  });

  it("wrong JSON, by line and column and without its text", () => {
    assert.deepEqual(problemsOf(`{\n  "mcpServers": ${SECRET}\n}`), [
      `${FILE}:2:17: expected a key or a value as JSON writes it: text goes in double quotes`,
    ]);
  });

  it("a file without the object of servers", () => {
    assert.deepEqual(problemsOf({}), [`${FILE}: mcpServers: expected an object: {"name": {"command": …}}`]);
    assert.deepEqual(problemsOf("[]"), [`${FILE}: expected an object: {"mcpServers": {…}}`]);
  });
});

describe("mcp-servers-file: variables", () => {
  it("are filled in wherever a server is described", () => {
    const env = { CMD: "node", DIR: "/srv", KEY: SECRET, HOST: "example.com" };
    const { server } = parseServer(
      { command: "${CMD}", args: ["--dir=${DIR}/x", "$${CMD}", "${NONE:-a b}"], env: { KEY: "${KEY}" }, cwd: "${DIR}" },
      env,
    );
    assert.deepEqual(server.transport, {
      kind: "stdio",
      command: "node",
      args: ["--dir=/srv/x", "${CMD}", "a b"],
      env: { KEY: SECRET },
      cwd: "/srv",
    });
    const remote = parseServer(
      { url: "https://${HOST}/mcp", headers: { Authorization: "Bearer ${KEY}" }, healthCheck: { url: "https://${HOST}/up" } },
      env,
    );
    assert.deepEqual(remote.server.transport, {
      kind: "http",
      url: "https://example.com/mcp",
      headers: { Authorization: `Bearer ${SECRET}` },
    });
    assert.deepEqual(remote.server.healthCheck, { url: "https://example.com/up" });
  });

  it("that are not set leave the server down with its reason, and the file in order", () => {
    const { server } = parseServer({ command: "a", env: { A: "${FIRST}", B: "${SECOND}" } });
    assert.equal(server.transport, undefined);
    assert.equal(
      server.problem,
      "mcp-servers.json: mcpServers.x.env.A: the variable FIRST is not set; set it in the environment of the service; " +
        "mcp-servers.json: mcpServers.x.env.B: the variable SECOND is not set; set it in the environment of the service",
    );
  });

  it("that come to nothing are not passed on, but what the file says itself is", () => {
    const { server } = parseServer({ command: "a", env: { A: "${A:-}", B: "", C: "${C:-c}" } });
    assert.deepEqual(server.transport?.kind === "stdio" && server.transport.env, { B: "", C: "c" });
    const remote = parseServer({ url: "http://localhost/", headers: { A: "${A:-}", B: "b" } });
    assert.deepEqual(remote.server.transport?.kind === "http" && remote.server.transport.headers, { B: "b" });
  });

  it("with a value that cannot be used are the server's problem, not the file's", () => {
    for (const [settings, reason] of [
      [{ url: "${A}" }, "url: with its variables filled in, expected an address that begins with http:// or https://"],
      [{ url: "http://x/", headers: { B: "${A}" } }, "headers.B: with its variables filled in, has a character that no header can hold"],
    ] as const) {
      const { server } = parseServer(settings, { A: `${SECRET}\n` });
      assert.equal(server.problem, `mcp-servers.json: mcpServers.x.${reason}`);
    }
  });

  it("fill in nothing else: neither in other settings nor in values of variables", () => {
    const { server } = parseServer({ command: "a", args: ["${A}"], aliases: { b: "${A}" } }, { A: "${B}", B: "no" });
    assert.deepEqual(server.transport?.kind === "stdio" && server.transport.args, ["${B}"]);
    assert.equal(server.aliases["b"], "${A}");
  });
});

describe("mcp-servers-file: secrets", () => {
  for (const [title, settings, secrets] of [
    ["what came from a variable", { command: "a", args: ["${V}"] }, ["value-of-v"]],
    ["the credential in a header", { url: "https://x/", headers: { Authorization: "Bearer abcdef" } }, ["Bearer abcdef", "abcdef"]],
    ["a variable that is named as one", { command: "a", env: { MY_API_KEY: "abcdef", MODE: "verbose" } }, ["abcdef"]],
    ["the value of an option", { command: "a", args: ["--api-key", "abcdef", "--token=ghijkl", "--mode", "fast"] }, ["abcdef", "ghijkl"]],
    ["a credential in the query of an address", { url: "https://x/?api_key=abcdef&page=12345678" }, ["abcdef"]],
    ["no word that stands everywhere", { command: "a", env: { USE_AUTH: "true", AUTH_PORT: "8001", KEY: "k" } }, []],
    ["no plain address, which messages are about", { command: "a", env: { URL: "${URL}" } }, []],
  ] as const) {
    it(`are ${title}`, () => {
      const { server } = parseServer(settings, { V: "value-of-v", URL: "http://127.0.0.1:8001" });
      assert.deepEqual(server.secrets, secrets);
    });
  }

  it("are in no message, whatever is wrong", () => {
    const anything = fc.oneof(fc.constant(SECRET), fc.jsonValue(), fc.constantFrom(["-y"], {}, true, 5));
    const value = fc.oneof(
      { arbitrary: anything, weight: 3 },
      { arbitrary: fc.dictionary(fc.constantFrom("A", "url", "tool", "mode"), anything), weight: 1 },
    );
    const keys = [
      "command",
      "args",
      "env",
      "headers",
      "url",
      "cwd",
      "type",
      "tools",
      "aliases",
      "fallback",
      "healthCheck",
      "rateLimit",
      "Env",
      "timeout",
    ];
    const settings = fc.dictionary(fc.constantFrom(...keys), value, { maxKeys: 6 });
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom("x", "a b", "c/d"), fc.oneof(settings, fc.jsonValue()), { maxKeys: 2 }), (mcpServers) => {
        try {
          const { servers, warnings } = parse({ mcpServers }, { TOKEN: SECRET });
          for (const { problem } of servers.values()) assert.ok(!(problem ?? "").includes(SECRET));
          assert.ok(!warnings.join().includes(SECRET));
        } catch (error) {
          assert.ok(error instanceof StartupError, String(error));
          assert.ok(!error.message.includes(SECRET), error.message);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("mcp-servers-file: warnings", () => {
  for (const [title, settings, warning] of [
    [
      "a credential over plain http",
      { url: "http://example.com/", headers: { "X-Key": "abcdef" } },
      "url: credentials go over plain http to another host, where they can be read on the way; use https",
    ],
    [
      "a credential in the address",
      { url: "https://example.com/?token=abcdef" },
      "url: holds a credential; write ${NAME} in its place, and keep the value in the environment",
    ],
    [
      "a command with its arguments",
      { command: "npx -y server" },
      "command: is taken as the name of one program, spaces and all; its arguments go into args",
    ],
    ["a home folder as a shell writes it", { command: "a", args: ["~/x"] }, "args.0: no shell reads this: ~ stays as it is; write ${HOME}"],
  ] as const) {
    it(`are given for ${title}`, () => {
      assert.deepEqual(parseServer(settings).warnings, [`${FILE}: mcpServers.x.${warning}`]);
    });
  }

  it("are not given for loopback, nor for https", () => {
    for (const url of ["http://127.0.0.1:1/", "http://localhost/", "http://[::1]:1/", "https://example.com/"])
      assert.deepEqual(parseServer({ url, headers: { "X-Key": "abcdef" } }).warnings, []);
  });
});

describe("mcp-servers-file: the files that ship", () => {
  const shipped = path.join(packageRoot, "config", "mcp-servers.json");
  const commented = path.join(packageRoot, "config", "init", "mcp-servers.json");

  it("need no variable: AutoMem can be started, the others are disabled and say what they lack", async () => {
    const { servers, warnings } = await loadMcpServers(shipped, optionsOf());
    assert.deepEqual(warnings, []);
    assert.deepEqual(
      [...servers.values()].map(({ enabled, name, problem }) => [name, enabled, problem === undefined]),
      [
        ["automem", true, true],
        ["serena", false, false],
        ["helpscout", false, false],
        ["wordpress", false, false],
      ],
    );
    assert.deepEqual(servers.get("automem")?.transport, {
      kind: "stdio",
      command: "npx",
      args: ["-y", "@verygoodplugins/mcp-automem@0.15.0"],
      env: { AUTOMEM_API_URL: "http://127.0.0.1:8001" },
      cwd: undefined,
    });
    assert.deepEqual(servers.get("automem")?.healthCheck, { url: "http://127.0.0.1:8001/health" });
  });

  it("keep the dangerous tools from programs, whatever else is allowed", async () => {
    const { servers } = await loadMcpServers(shipped, optionsOf());
    const denied = [...servers.values()].flatMap(({ tools }) => tools.deny);
    assert.deepEqual(denied, ["delete_memory", "execute_shell_command", "mcp-adapter-execute-ability"]);
    for (const name of ["serena", "helpscout", "wordpress"]) {
      const { allow } = servers.get(name)!.tools;
      assert.ok(allow !== "readOnly" && allow.every((tool) => !tool.includes("*")), `${name} has a list of names`);
    }
  });

  it("name a version of every program that is fetched", async () => {
    for (const { name, transport } of (await loadMcpServers(shipped, optionsOf({ ...COMPLETE }))).servers.values())
      assert.ok(transport?.kind === "stdio" && transport.args.some((arg) => /(?:@|==)\d+\.\d+\.\d+$/.test(arg)), name);
  });

  it("are complete with the variables that their pages name", async () => {
    const { servers } = await loadMcpServers(shipped, optionsOf(COMPLETE));
    for (const { name, problem, secrets } of servers.values()) {
      assert.equal(problem, undefined, name);
      const page = await readFile(path.join(packageRoot, "docs", "servers", `${name}.md`), "utf8");
      const text = await readFile(shipped, "utf8");
      const entry = JSON.stringify((JSON.parse(text) as { mcpServers: Record<string, object> }).mcpServers[name]);
      for (const [, variable = ""] of entry.matchAll(/\$\{(\w+)/g)) assert.ok(page.includes(`\`${variable}\``), `${name}: ${variable}`);
      if (name === "helpscout") assert.deepEqual(secrets, ["an-app-id", SECRET]);
    }
  });

  it("mean the same with comments, which explain every setting and can be uncommented line by line", async () => {
    const plain = await loadMcpServers(shipped, optionsOf(COMPLETE));
    assert.deepEqual(await loadMcpServers(commented, optionsOf(COMPLETE)), plain);

    const text = await readFile(commented, "utf8");
    for (const name of [...Object.keys(serverSchema.shape), ...Object.values(SECTIONS).flatMap(({ shape }) => Object.keys(shape))])
      assert.ok(text.includes(`"${name}"`), `the setting ${name} is not explained`);
    const uncommented = text.replace(/^(\s*)\/\/ (?=\s*(?:"\w+":|\}))/gm, "$1");
    const { servers } = parseMcpServers(uncommented, commented, optionsOf({ ...COMPLETE, TICKETS_TOKEN: SECRET }));
    assert.deepEqual([...servers.keys()], [...plain.servers.keys(), "tickets"]);
    assert.equal(servers.get("automem")?.timeoutMs, 30_000);
    assert.equal(servers.get("tickets")?.tools.allow, "readOnly");
  });
});

describe("mcp-servers-file: on the disk", () => {
  const folder = useTempFolder();
  const write = async (text: string, mode = 0o600): Promise<string> => {
    const file = path.join(folder(), "mcp-servers.json");
    await writeFile(file, text, { mode });
    await chmod(file, mode);
    return file;
  };

  it("may be missing: then there are no servers", async () => {
    assert.deepEqual(await loadMcpServers(path.join(folder(), "none.json"), optionsOf()), { servers: new Map(), warnings: [] });
  });

  it("may hold comments", async () => {
    const file = await write('// mine\n{"mcpServers": {"a": {"command": "node",},},}\n');
    assert.deepEqual([...(await loadMcpServers(file, optionsOf())).servers.keys()], ["a"]);
  });

  it("must be a file", async () => {
    const place = path.join(folder(), "mcp-servers.json");
    await mkdir(place);
    await assert.rejects(loadMcpServers(place, optionsOf()), { name: "StartupError", message: `${place}: is no regular file` });
  });

  it("must not be everybody's to write, nor its folder: it names commands that the service runs", async () => {
    const file = await write('{"mcpServers": {}}', 0o666);
    await assert.rejects(loadMcpServers(file, optionsOf()), /everybody can write it, and so run commands as the service. Run: chmod o-w/);
    await chmod(file, 0o664);
    assert.equal((await loadMcpServers(file, optionsOf())).servers.size, 0);
    await chmod(folder(), 0o777);
    await assert.rejects(loadMcpServers(file, optionsOf()), /everybody can replace mcp-servers.json in it/);
    await chmod(folder(), 0o1777);
    assert.equal((await loadMcpServers(file, optionsOf())).servers.size, 0);
  });
});
