import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";

import { environmentSchema, examineEnvironment, readEnvironment } from "../../../src/config/environment.ts";
import type { ServiceConfig } from "../../../src/config/environment.ts";
import { StartupError } from "../../../src/domain/errors.ts";
import { packageRoot } from "../../../src/lib/package-info.ts";
import { useTempFolder } from "../support/temp-folder.ts";

const CWD = "/somewhere";
const read = (env: Record<string, string> = {}): ServiceConfig => readEnvironment({ env: { HOME: "/home/user", ...env }, cwd: CWD });

/** The settings alone: a function is equal to itself only. */
const settingsOf = (env: Record<string, string> = {}): Omit<ServiceConfig, "variable"> => {
  const { variable, ...settings } = read(env);
  assert.equal(typeof variable, "function");
  return settings;
};

const problemsOf = (env: Record<string, string>): readonly string[] => {
  try {
    read(env);
  } catch (error) {
    assert.ok(error instanceof StartupError);
    return error.problems;
  }
  return assert.fail("it was accepted");
};

describe("environment: the settings of the service", () => {
  it("have the documented defaults: loopback, no key", () => {
    assert.deepEqual(settingsOf(), {
      host: "127.0.0.1",
      port: 3210,
      allowedHosts: [],
      configDir: path.join(packageRoot, "config"),
      runtimesFile: path.join(packageRoot, "config", "runtimes.json"),
      mcpServersFile: path.join(packageRoot, "config", "mcp-servers.json"),
      workspaceRoot: path.join(packageRoot, "workspace"),
      stateDir: "/home/user/.local/state/code-mode",
      keys: [],
      keysFile: path.join(packageRoot, "config", "keys.json"),
      keysFileIsNamed: false,
      maxRunning: 16,
      maxStarting: 4,
      maxQueued: 256,
      maxBodyBytes: 32 * 2 ** 20,
      shutdownGraceMs: 10_000,
      resultTtlMs: 300_000,
      toolTimeoutMs: 30_000,
      toolChecks: true,
      fallbackToMock: true,
      audit: {
        enabled: true,
        folder: "/home/user/.local/state/code-mode/audit",
        keyFile: "/home/user/.config/code-mode/audit.key",
        maxFileBytes: 16 * 2 ** 20,
        maxFiles: 32,
        onFailure: "refuse",
        arguments: false,
      },
      dockerHost: undefined,
      logLevel: "info",
    });
  });

  it("are what the variables say, with paths made absolute", () => {
    const config = settingsOf({
      CODE_MODE_HOST: "::1",
      CODE_MODE_PORT: "0",
      CODE_MODE_ALLOWED_HOSTS: " code.example.com, ,other.example.com",
      CODE_MODE_CONFIG_DIR: "conf",
      CODE_MODE_API_KEYS_FILE: "secret/keys.json",
      CODE_MODE_STATE_DIR: "../state",
      CODE_MODE_MAX_RUNNING: "1",
      CODE_MODE_MAX_STARTING: "2",
      CODE_MODE_MAX_QUEUED: "0",
      CODE_MODE_MAX_BODY_BYTES: "1024",
      CODE_MODE_SHUTDOWN_GRACE_MS: "0",
      CODE_MODE_RESULT_TTL_MS: "0",
      MCP_CLIENT_TIMEOUT: "500",
      MCP_SECURITY_ENABLED: "false",
      MCP_FALLBACK_TO_MOCK: "0",
      MCP_AUDIT_LOGGING: "false",
      CODE_MODE_AUDIT_DIR: "/var/log/code-mode",
      CODE_MODE_AUDIT_KEY_FILE: "/secret/audit.key",
      CODE_MODE_AUDIT_FILE_BYTES: "4096",
      CODE_MODE_AUDIT_FILES: "1",
      CODE_MODE_AUDIT_ON_FAILURE: "continue",
      CODE_MODE_AUDIT_ARGUMENTS: "true",
      DOCKER_HOST: "tcp://127.0.0.1:2375",
      LOG_LEVEL: "silent",
    });
    assert.deepEqual(config, {
      host: "::1",
      port: 0,
      allowedHosts: ["code.example.com", "other.example.com"],
      configDir: "/somewhere/conf",
      runtimesFile: "/somewhere/conf/runtimes.json",
      mcpServersFile: "/somewhere/conf/mcp-servers.json",
      workspaceRoot: "/somewhere/workspace",
      stateDir: "/state",
      keys: [],
      keysFile: "/somewhere/secret/keys.json",
      keysFileIsNamed: true,
      maxRunning: 1,
      maxStarting: 2,
      maxQueued: 0,
      maxBodyBytes: 1024,
      shutdownGraceMs: 0,
      resultTtlMs: 0,
      toolTimeoutMs: 500,
      toolChecks: false,
      fallbackToMock: false,
      audit: {
        enabled: false,
        folder: "/var/log/code-mode",
        keyFile: "/secret/audit.key",
        maxFileBytes: 4096,
        maxFiles: 1,
        onFailure: "continue",
        arguments: true,
      },
      dockerHost: "tcp://127.0.0.1:2375",
      logLevel: "silent",
    });
    assert.equal(read({ CODE_MODE_WORKSPACE_ROOT: "/data/ws", CODE_MODE_CONFIG_DIR: "/etc/cm" }).workspaceRoot, "/data/ws");
  });

  it("place the state where the desktop's convention says", () => {
    assert.equal(read({ XDG_STATE_HOME: "/xdg" }).stateDir, "/xdg/code-mode");
  });

  it("take a variable that is set to nothing for one that is not set", () => {
    const all = Object.fromEntries(Object.keys(environmentSchema.shape).map((name) => [name, ""]));
    assert.deepEqual(settingsOf(all), settingsOf());
  });

  it("give mcp-servers.json the variables, and none that is set to nothing", () => {
    const { variable } = read({ TOKEN: "t", EMPTY: "" });
    assert.deepEqual(
      [variable("TOKEN"), variable("EMPTY"), variable("MISSING"), variable("__proto__")],
      ["t", undefined, undefined, undefined],
    );
  });

  it("show no variable where they are printed", () => {
    assert.ok(!JSON.stringify(read({ TOKEN: "a-secret" })).includes("a-secret"));
  });

  for (const [name, value, problem] of [
    ["MCP_SECURITY_ENABLED", "no", "MCP_SECURITY_ENABLED: expected true or false (or 1 or 0)"],
    ["MCP_FALLBACK_TO_MOCK", "TRUE", "MCP_FALLBACK_TO_MOCK: expected true or false (or 1 or 0)"],
    ["MCP_CLIENT_TIMEOUT", "0", "MCP_CLIENT_TIMEOUT: expected a number from 1 to 3600000"],
    ["MCP_CLIENT_TIMEOUT", "30s", "MCP_CLIENT_TIMEOUT: expected a whole number"],
    ["MCP_SECURITY_ENABLE", "false", "MCP_SECURITY_ENABLE: is no known setting; write MCP_SECURITY_ENABLED"],
    ["MCP_CLIENT_TIMOUT", "1", "MCP_CLIENT_TIMOUT: is no known setting; write MCP_CLIENT_TIMEOUT"],
  ] as const) {
    it(`refuse ${name}=${value}`, () => {
      assert.deepEqual(problemsOf({ [name]: value }), [`environment: ${problem}`]);
    });
  }

  it("leave the MCP_ variables of other programs alone", () => {
    assert.deepEqual(settingsOf({ MCP_TIMEOUT: "x", MCP_TOOL_TIMEOUT: "x", MCP_DEBUG: "1" }), settingsOf());
  });

  it("have a description for each variable: the reference is made from them", () => {
    for (const [name, schema] of Object.entries(environmentSchema.shape)) assert.ok((schema.description ?? "").length > 10, name);
  });
});

describe("environment: where the configuration is", () => {
  const folder = useTempFolder();

  it("is the working directory's, if it has one, else the package's", async () => {
    const options = { env: { HOME: "/home/user" }, cwd: folder() };
    assert.equal(readEnvironment(options).configDir, path.join(packageRoot, "config"));
    await mkdir(path.join(folder(), "config"));
    assert.equal(readEnvironment(options).configDir, path.join(packageRoot, "config"), "a folder without the file is not it");
    await writeFile(path.join(folder(), "config", "runtimes.json"), "{}");
    assert.equal(readEnvironment(options).configDir, path.join(folder(), "config"));
    assert.equal(readEnvironment(options).workspaceRoot, path.join(folder(), "workspace"));
  });
});

describe("environment: the quick-start keys", () => {
  it("are name:key pairs; a key alone gets a name", () => {
    assert.deepEqual(read({ CODE_MODE_API_KEYS: "alice:0123456789abcdef, 0123456789ABCDEF,bob@x.org:a:b/c+d=e!0123456" }).keys, [
      { name: "alice", key: "0123456789abcdef" },
      { name: "key-2", key: "0123456789ABCDEF" },
      { name: "bob@x.org", key: "a:b/c+d=e!0123456" },
    ]);
    assert.deepEqual(read({ CODE_MODE_API_KEYS: "0123456789abcdef" }).keys, [{ name: "default", key: "0123456789abcdef" }]);
  });

  for (const [title, text, entry] of [
    ["a key that is too short", "short", 1],
    ["a named key that is too short, though name and key together are long enough", "production:secret", 1],
    ["a key with a space in it", "0123456789 abcdef", 1],
    ["a key that is too long", "a".repeat(257), 1],
    ["a name with strange characters", "a b:0123456789abcdef", 1],
    ["a name that is empty", ":0123456789abcdef", 1],
    ["a second entry that is wrong", "0123456789abcdef,x", 2],
  ] as const) {
    it(`refuse ${title}, without repeating it`, () => {
      const problems = problemsOf({ CODE_MODE_API_KEYS: text });
      assert.equal(problems.length, 1);
      assert.match(
        problems[0]!,
        new RegExp(
          `^environment: CODE_MODE_API_KEYS.*: expected name:key pairs .* 16 to 256 printable characters; entry ${entry} is none$`,
        ),
      );
      assert.ok(!problems[0]!.includes(text), "a key must not reach the log");
    });
  }
});

describe("environment: keys that are given twice", () => {
  const [A, B] = ["0123456789abcdef", "fedcba9876543210"];

  it("are refused when two callers would share a name, and so their executions", () => {
    assert.deepEqual(problemsOf({ CODE_MODE_API_KEYS: `alice:${A},alice:${B}` }), [
      'environment: CODE_MODE_API_KEYS: the name "alice" is given to two keys; each needs a name of its own',
    ]);
    assert.match(problemsOf({ CODE_MODE_API_KEYS: `${A},default:${B}` })[0] ?? "", /the name "default" is given to two keys/);
  });

  it("are refused when one would bear the name of those without", () => {
    assert.match(problemsOf({ CODE_MODE_API_KEYS: `anonymous:${A}` })[0] ?? "", /"anonymous" is who comes without a key/);
  });

  it("are refused when one key would have two names", () => {
    assert.deepEqual(problemsOf({ CODE_MODE_API_KEYS: `alice:${A},bob:${A}` }), [
      'environment: CODE_MODE_API_KEYS: the key of "bob" is given twice',
    ]);
  });
});

describe("environment: every wrong value", () => {
  for (const [name, value, message] of [
    ["CODE_MODE_PORT", "http", /expected a whole number/],
    ["CODE_MODE_PORT", "-1", /expected a whole number/],
    ["CODE_MODE_PORT", "80.5", /expected a whole number/],
    ["CODE_MODE_PORT", "0x50", /expected a whole number/],
    ["CODE_MODE_PORT", " 80", /expected a whole number/],
    ["CODE_MODE_PORT", "65536", /expected a number from 0 to 65535/],
    ["CODE_MODE_MAX_RUNNING", "0", /expected a number from 1 to 10000/],
    ["CODE_MODE_MAX_STARTING", "1001", /expected a number from 1 to 1000/],
    ["CODE_MODE_MAX_QUEUED", "1e3", /expected a whole number/],
    ["CODE_MODE_MAX_BODY_BYTES", "1023", /expected a number from 1024 to 1073741824/],
    ["CODE_MODE_SHUTDOWN_GRACE_MS", "600001", /expected a number from 0 to 600000/],
    ["CODE_MODE_RESULT_TTL_MS", "5m", /expected a whole number/],
    ["LOG_LEVEL", "verbose", /"fatal"\|"error"\|"warn"/],
  ] as const) {
    it(`${name}=${JSON.stringify(value)} names the variable and what is expected`, () => {
      const problems = problemsOf({ [name]: value });
      assert.equal(problems.length, 1);
      assert.ok(problems[0]!.startsWith(`environment: ${name}: `), problems[0]);
      assert.match(problems[0]!, message);
    });
  }

  it("is reported at once with all others", () => {
    assert.equal(problemsOf({ CODE_MODE_PORT: "x", CODE_MODE_MAX_QUEUED: "y", LOG_LEVEL: "z" }).length, 3);
  });

  it("is a misspelt name too", () => {
    assert.deepEqual(problemsOf({ CODE_MODE_PROT: "80" }), ["environment: CODE_MODE_PROT: is no known setting"]);
  });

  it("counts as not set for those who can go on without: the rest is read, and all problems are listed", () => {
    const env = { CODE_MODE_PORT: "x", CODE_MODE_MAX_QUEUED: "7", CODE_MODE_PROT: "80", DOCKER_HOST: "unix:///x.sock" };
    const { config, problems } = examineEnvironment({ env, cwd: "/" });
    assert.deepEqual([config.port, config.maxQueued, config.dockerHost], [3210, 7, "unix:///x.sock"]);
    assert.deepEqual(problems, [
      "environment: CODE_MODE_PORT: expected a whole number",
      "environment: CODE_MODE_PROT: is no known setting",
    ]);
    assert.deepEqual(examineEnvironment({ env: {}, cwd: "/" }).problems, []);
  });
});
