import assert from "node:assert/strict";

import { judgeServers, judgeServersFile } from "../../../src/doctor/server-checks.ts";
import { defineServer } from "../../../src/domain/mcp-server.ts";
import type { ServerStatus } from "../../../src/domain/server-status.ts";
import { ServerCounters } from "../../../src/mcp/counters.ts";

const statusOf = (name: string, settings: Partial<ServerStatus> = {}): ServerStatus => ({
  name,
  namespace: name,
  state: "connected",
  transport: "stdio",
  retries: 0,
  tools: [
    { name: "read", allowed: true },
    { name: "remove", allowed: false, setting: `mcpServers.${name}.tools.deny` },
  ],
  hidden: [],
  collisions: [],
  calls: new ServerCounters().read(),
  ...settings,
});
const off = statusOf("off", { state: "disabled", reason: "it is not enabled", tools: [] });

describe("server-checks: what the connections came to", () => {
  it("is in order when each enabled server is connected, and says what each has", () => {
    assert.deepEqual(judgeServers([statusOf("memory", { serverInfo: { name: "mem", version: "1.2" } }), off]), {
      status: "ok",
      found: "1 of 1 enabled server is connected",
      details: [
        "memory (mem 1.2): connected, 2 tools: 1 for programs, 1 denied",
        "memory: denied: remove",
        "off: disabled: it is not enabled",
      ],
    });
  });

  it("is worth knowing when none is enabled", () => {
    assert.deepEqual(judgeServers([off]), { status: "info", found: "none is enabled", details: ["off: disabled: it is not enabled"] });
    assert.deepEqual(judgeServers([]), { status: "info", found: "none is enabled" });
  });

  for (const state of ["down", "connecting"] as const) {
    it(`fails when an enabled one is ${state}, with the reason`, () => {
      const { details, found, status } = judgeServers([statusOf("a"), statusOf("b", { state, reason: "that is why", tools: [] })]);
      assert.deepEqual([status, found, details?.at(-1)], ["fail", "1 of 2 enabled servers are connected", `b: ${state}: that is why`]);
    });
  }

  for (const [title, settings, line] of [
    ["one is degraded", { state: "degraded", reason: "not well", tools: [] }, "a: degraded: not well"],
    ["a tool is hidden", { hidden: [{ name: "odd", reason: "its schema is none" }] }, "a: odd is hidden: its schema is none"],
    [
      "two tools have one name",
      { collisions: [{ tool: "x-y", name: "x_y", takenBy: "x.y" }] },
      "a: x-y is not x_y in programs, since x.y is: only callTool reaches it",
    ],
    ["two servers have one name", { namespace: null }, "a: another server has its name in programs: only callTool reaches it"],
  ] as const) {
    it(`warns when ${title}`, () => {
      const { details = [], status } = judgeServers([statusOf("a", settings as Partial<ServerStatus>)]);
      assert.equal(status, "warn");
      assert.ok(details.includes(line), details.join("\n"));
    });
  }

  it("names the first of many denied tools", () => {
    const tools = Array.from({ length: 100 }, (_, index) => ({ name: `t${index}`, allowed: false }));
    assert.match(judgeServers([statusOf("a", { tools })]).details?.[1] ?? "", /^a: denied: t0, .*, t11 and 88 more$/);
  });
});

describe("server-checks: the file", () => {
  const transport = { kind: "stdio", command: "node", args: [], env: {}, cwd: undefined } as const;
  const servers = (...all: ReturnType<typeof defineServer>[]) => new Map(all.map((server) => [server.name, server]));

  it("is in order without servers, and with servers that lack nothing", () => {
    assert.equal(judgeServersFile({ servers: servers(), warnings: [] }, "f").status, "ok");
    const lacking = defineServer("off", { transport: undefined, problem: "a variable", enabled: false }, 1);
    assert.deepEqual(judgeServersFile({ servers: servers(defineServer("on", { transport }, 1), lacking), warnings: [] }, "f"), {
      status: "ok",
      found: "f: on, off (disabled)",
    });
  });

  it("warns of what an enabled server lacks, and of what is odd", () => {
    const lacking = defineServer("on", { transport: undefined, problem: "a variable" }, 1);
    const { details, status } = judgeServersFile({ servers: servers(lacking), warnings: ["f: odd"] }, "f");
    assert.deepEqual([status, details], ["warn", ["on: a variable", "f: odd"]]);
  });
});
