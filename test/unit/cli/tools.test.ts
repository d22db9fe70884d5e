import assert from "node:assert/strict";

import { argumentsOf, collectArgument, parseTarget } from "../../../src/cli/tools/arguments.ts";
import { renderServers } from "../../../src/cli/tools/render.ts";
import { UsageError } from "../../../src/cli/usage-error.ts";
import { serverStatusOf, toolOf } from "../support/tool-servers.ts";

describe("cli tools: what is to be called", () => {
  it("is the server whose name the text begins with, the longest where several do; the rest is the tool", () => {
    const servers = ["memory", "help", "help.desk", "Odd name"];
    for (const [text, server, tool] of [
      ["memory.read_graph", "memory", "read_graph"],
      ["help.desk.list.all", "help.desk", "list.all"],
      ["help.me", "help", "me"],
      ["Odd name.do it", "Odd name", "do it"],
    ] as const)
      assert.deepEqual(parseTarget(text, servers), { server, tool });
  });

  for (const [text, servers, message] of [
    ["memroy.read", ["memory"], /^memroy\.read: expected SERVER\.TOOL, .*did you mean memory\?$/],
    ["memory", ["memory"], /did you mean memory/],
    ["memory.", ["memory"], /expected SERVER\.TOOL/],
    ["x.y", ["alpha", "beta"], /there are: alpha, beta$/],
    ["x.y", [], /mcp-servers\.json has none$/],
    ["\u001b[2J.x", ["memory"], /^\\u\{1b\}\[2J\.x: /],
  ] as const) {
    it(`${JSON.stringify(text)} is none: the message says what there is`, () => {
      assert.throws(
        () => parseTarget(text, servers),
        (error) => error instanceof UsageError && message.test(error.message),
      );
    });
  }

  it("takes values as JSON, and as text where they are none", () => {
    let args = {};
    for (const text of ["query=a=b", "limit=5", 'deep={"x":[0,false]}', "empty=", "zero=0", "none=null", "__proto__=1", 'text="5"'])
      args = collectArgument(text, args);
    assert.deepEqual(Object.entries(argumentsOf(undefined, args)), [
      ["query", "a=b"],
      ["limit", 5],
      ["deep", { x: [0, false] }],
      ["empty", ""],
      ["zero", 0],
      ["none", null],
      ["__proto__", 1],
      ["text", "5"],
    ]);
    assert.throws(() => collectArgument("query=x", args), /given twice/);
    assert.throws(() => collectArgument("=x"), /NAME=VALUE/);
  });

  it("takes a JSON object or list in place of them, and nothing else", () => {
    assert.deepEqual(argumentsOf('{"a": 0}', undefined), { a: 0 });
    assert.deepEqual(argumentsOf('["x", 5]', undefined), ["x", 5]);
    assert.deepEqual(argumentsOf(undefined, undefined), {});
    for (const [json, named] of [
      ["5", undefined],
      ["null", undefined],
      ["{", undefined],
      ["{}", { a: 1 }],
    ] as const)
      assert.throws(() => argumentsOf(json, named), UsageError, json);
  });
});

describe("cli tools: a list for people", () => {
  const options = { columns: 60, colour: false };

  it("has each server with its state and why, and each tool with how to call it and what keeps it from programs", () => {
    const servers = [
      serverStatusOf("memory", { hidden: [{ name: "bad", reason: "its schema is none" }] }),
      serverStatusOf("auto mem", { state: "down", reason: "config/mcp-servers.json: auto mem: TOKEN is not set" }),
      serverStatusOf("twin", { namespace: null, state: "degraded" }),
    ];
    const tools = [
      toolOf("memory", "read", { signature: "read(depth?: number)", description: "Reads it.\nMore of it." }),
      toolOf("memory", "wipe", { signature: "wipe()", allowed: false, setting: "mcpServers.memory.tools.deny", description: "" }),
      toolOf("twin", "go", { description: "" }),
    ];
    assert.equal(
      renderServers(servers, tools, options),
      [
        "memory  connected, 2 tools",
        "  memory.read(depth?: number)",
        "      Reads it.",
        "  memory.wipe()",
        "      denied by mcpServers.memory.tools.deny",
        "  bad: cannot be used: its schema is none",
        "",
        "auto mem  down",
        "    config/mcp-servers.json: auto mem: TOKEN is not set",
        "",
        "twin  degraded, 1 tool",
        '  callTool("twin", "go", …)',
      ].join("\n"),
    );
  });

  it("lets nothing that a server says write to the terminal, nor fill it", () => {
    const evil = "\u001b]0;owned\u0007\u202e\u2028\r".concat("x".repeat(100_000));
    const servers = [serverStatusOf("s", { state: "down", reason: evil, hidden: [{ name: evil, reason: evil }] })];
    const tools = Array.from({ length: 3 }, () =>
      toolOf("s", evil, { description: `\n\n${evil}`, signature: `${evil}()`, allowed: false, setting: evil }),
    );
    const text = renderServers(servers, tools, options);
    assert.doesNotMatch(text.replaceAll("\n", ""), /[\p{Cc}\u2028\u202e]/u);
    for (const line of text.split("\n").filter((line) => !/^ {4}\S/.test(line))) assert.ok(line.length < 200, line);
    assert.ok(text.length < 10_000);
    assert.ok(renderServers(servers, tools, { ...options, colour: true }).startsWith("\u001b[1ms\u001b[0m "));
  });
});
