/** The program's end of a tool call, with a service that is played here. */

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";

import { installTools } from "../../../sandbox-image/runner/tools/globals.ts";
import { ToolClient } from "../../../sandbox-image/runner/tools/tool-client.ts";
import { ToolError } from "../../../sandbox-image/runner/tools/tool-error.ts";
import { toolArgumentsSchema, toolCallParamsSchema, toolCancelParamsSchema } from "../../../src/bridge/protocol.ts";

type Scope = Record<string, Record<string, (...values: unknown[]) => Promise<unknown>>> & {
  callTool: (...values: unknown[]) => Promise<unknown>;
};

interface Sent {
  readonly id: number;
  readonly method: string;
  readonly params: { readonly arguments: string };
}

function play(): { client: ToolClient; scope: Scope; sent: Sent[]; alive: boolean[] } {
  const sent: Sent[] = [];
  const alive: boolean[] = [];
  const client = new ToolClient({
    connection: {
      post: (text) => sent.push(JSON.parse(text) as Sent),
      keepAlive: (isNeeded) => alive.push(isNeeded),
    },
    describeError: ({ name }: { name?: string }) => ({ name: name ?? "", message: "", stack: "" }),
  });
  const scope = {} as Scope;
  installTools(client, [{ server: "mem", namespace: "automem", functions: ["recall", "then", "toJSON"] }], scope);
  return { client, scope, sent, alive };
}

describe("Runner: calls of tools", () => {
  it("are what the service reads, with ids that rise", () => {
    const { scope, sent } = play();
    void scope["automem"]!["recall"]!("q", undefined, 0);
    void scope.callTool("other server", "other.tool", { a: 1 }, { timeoutMs: 5, onProgress: () => undefined });
    const [first, second] = sent;
    assert.deepEqual([first?.id, second?.id, first?.method], [1, 2, "tool.call"]);
    for (const { params } of sent) {
      toolCallParamsSchema.parse(params);
      toolArgumentsSchema.parse(JSON.parse(params.arguments));
    }
    assert.deepEqual(first?.params, { server: "mem", tool: "recall", arguments: '{"positional":[["q"],[],[0]]}' });
    assert.deepEqual(second?.params, {
      server: "other server",
      tool: "other.tool",
      arguments: '{"named":{"a":1}}',
      timeoutMs: 5,
      progress: true,
    });
  });

  it("keep the program alive from the first to the last", async () => {
    const { alive, client, scope } = play();
    const calls = [1, 2, 3].map((n) => scope["automem"]!["recall"]!(n));
    for (const id of [2, 1, 3, 3, 99]) client.receive({ id, result: { ok: true, value: id } });
    assert.deepEqual(await Promise.all(calls), [1, 2, 3]);
    assert.deepEqual(alive, [true, false]);
    void scope["automem"]!["recall"]!();
    assert.deepEqual(alive, [true, false, true]);
  });

  it("reject with the code, server, tool and data of the answer", async () => {
    const { client, scope } = play();
    const call = scope["automem"]!["recall"]!();
    const error = { code: "RATE_LIMITED" as const, server: "mem", tool: "recall_memory", message: "Too many.", data: { retryAfterMs: 5 } };
    client.receive({ id: 1, result: { ok: false, error } });
    const thrown: unknown = await call.catch((reason: unknown) => reason);
    assert.ok(thrown instanceof ToolError && thrown instanceof Error);
    assert.deepEqual(Object.fromEntries(Object.entries(thrown)), {
      code: "RATE_LIMITED",
      server: "mem",
      tool: "recall_memory",
      data: { retryAfterMs: 5 },
    });
    assert.match(thrown.stack!, /^ToolError: Too many\.\n {4}at .*tool-client\.test\.ts/);
    assert.deepEqual(JSON.parse(JSON.stringify(thrown)), { name: "ToolError", ...error });
  });

  it("tell the service when they are cancelled, once, and let a signal go that is used for many", async () => {
    const { client, scope, sent } = play();
    const controller = new AbortController();
    const { signal } = controller;
    for (let id = 1; id <= 50; id += 1) {
      const call = scope.callTool("s", "t", {}, { signal });
      client.receive({ id, result: { ok: true, value: id } });
      assert.equal(await call, id);
    }
    assert.equal(getEventListeners(signal, "abort").length, 0);
    const last = scope.callTool("s", "t", {}, { signal });
    controller.abort("enough");
    await assert.rejects(last, { name: "ToolError", code: "CANCELLED", cause: "enough" });
    client.receive({ id: 51, result: { ok: true, value: "too late" } });
    const cancels = sent.filter(({ method }) => method === "tool.cancel");
    assert.equal(cancels.length, 1);
    assert.deepEqual(toolCancelParamsSchema.parse(cancels[0]?.params), { id: 51 });
  });

  it("tell of progress in a task of its own, and not after the answer", async () => {
    const { client, scope } = play();
    const seen: unknown[] = [];
    const call = scope.callTool("s", "t", {}, { onProgress: (progress: unknown) => seen.push(progress) });
    client.receive({ method: "tool.progress", params: { id: 1, progress: 1, total: 2, message: "half" } });
    assert.equal(seen.length, 0);
    await Promise.resolve();
    assert.deepEqual(seen, [{ progress: 1, total: 2, message: "half" }]);
    client.receive({ id: 1, result: { ok: true, value: null } });
    client.receive({ method: "tool.progress", params: { id: 1, progress: 2 } });
    await call;
    assert.equal(seen.length, 1);
  });

  it("have no function that a promise or JSON would call", () => {
    const { scope } = play();
    assert.deepEqual(Object.keys(scope["automem"]!), ["recall"]);
    assert.deepEqual(
      ["then", "toJSON"].map((name) => Reflect.get(scope["automem"]!, name) as unknown),
      [undefined, undefined],
    );
  });
});
