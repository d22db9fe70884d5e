import assert from "node:assert/strict";

import fc from "fast-check";

import type { RunnerConnection } from "../../../../src/bridge/runner-connection.ts";
import { RunnerInbox } from "../../../../src/sandbox/docker/runner-inbox.ts";

const inboxWith = (): { inbox: RunnerInbox; violations: string[] } => {
  const violations: string[] = [];
  const inbox = new RunnerInbox();
  inbox.bind({ fail: (reason: string) => violations.push(reason) } as unknown as RunnerConnection);
  return { inbox, violations };
};

const tell = (inbox: RunnerInbox, method: string, params: unknown, id?: number): void => {
  void inbox.message({ method, params, id, sizeBytes: 1 });
};

describe("runner-inbox: the order of what a runner says", () => {
  it("is ready, finished, archive chunks, archived; each is passed on", async () => {
    const { inbox, violations } = inboxWith();
    const chunks: string[] = [];
    tell(inbox, "ready", 1);
    tell(inbox, "finished", 2);
    const archives = [1, 2].map((archive) =>
      inbox.expectArchive((chunk) => {
        chunks.push(`${archive}: ${chunk.toString()}`);
        return Promise.resolve();
      }),
    );
    for (const [archive, names] of [
      [3, "ab"],
      [4, "c"],
    ] as const) {
      for (const name of names) await inbox.archiveChunk(Buffer.from(name));
      tell(inbox, "archived", archive);
    }
    inbox.ended(undefined);
    assert.deepEqual(await Promise.all([inbox.ready, inbox.finished, ...archives, inbox.closed]), [
      { params: 1 },
      { params: 2 },
      { params: 3 },
      { params: 4 },
      { violation: undefined },
    ]);
    assert.deepEqual([chunks, violations], [["1: a", "1: b", "2: c"], []]);
  });

  for (const [title, messages] of [
    ["finished before ready", ["finished"]],
    ["ready twice", ["ready", "ready"]],
    ["finished twice", ["ready", "finished", "finished"]],
    ["archived where nothing was asked for", ["ready", "finished", "archived"]],
    ["archived without a result", ["ready", "archived"]],
    ["a name that no message has", ["ready", "tool.call"]],
    ["a name of every object", ["constructor"]],
  ] as const) {
    it(`${title} is a violation`, () => {
      const { inbox, violations } = inboxWith();
      for (const method of messages) tell(inbox, method, null);
      assert.deepEqual(violations, [`the sandbox sent ${JSON.stringify(messages.at(-1))} where it must not`]);
    });
  }

  describe("calls of tools", () => {
    const withTools = (): ReturnType<typeof inboxWith> & { told: string[] } => {
      const told: string[] = [];
      const made = inboxWith();
      made.inbox.expectToolCalls({
        message: ({ method }) => {
          told.push(method);
          return undefined;
        },
        drained: () => {
          told.push("drained");
        },
        abort: () => {
          told.push("abort");
        },
      });
      return { ...made, told };
    };

    it("may come between ready and the result, any number of them, and end with the connection", () => {
      const { inbox, told, violations } = withTools();
      tell(inbox, "ready", null);
      for (const id of [1, 2]) tell(inbox, "tool.call", null, id);
      tell(inbox, "tool.cancel", null);
      inbox.drained();
      tell(inbox, "finished", null);
      inbox.ended(undefined);
      assert.deepEqual([told, violations], [["tool.call", "tool.call", "tool.cancel", "drained", "abort"], []]);
    });

    for (const [title, before, tools] of [
      ["before ready", [], true],
      ["after the result", ["ready", "finished"], true],
      ["before the program is delivered", ["ready"], false],
    ] as const) {
      it(`${title} are a violation`, () => {
        const { inbox, told, violations } = tools ? withTools() : { ...inboxWith(), told: [] };
        for (const method of before) tell(inbox, method, null);
        tell(inbox, "tool.call", null, 1);
        assert.deepEqual([told, violations], [[], ['the sandbox sent "tool.call" where it must not']]);
      });
    }

    it("no other message is a request", () => {
      const { inbox, violations } = withTools();
      tell(inbox, "ready", null);
      tell(inbox, "finished", null, 1);
      assert.deepEqual(violations, ['the sandbox sent "finished" where it must not']);
    });
  });

  it("files that were not asked for, or come after the archive's end, are a violation", () => {
    const { inbox, violations } = inboxWith();
    tell(inbox, "ready", null);
    void inbox.archiveChunk(Buffer.alloc(1));
    assert.deepEqual(violations, ["the sandbox sent files that were not asked for"]);
    tell(inbox, "finished", null);
    void inbox.expectArchive(() => Promise.resolve());
    tell(inbox, "archived", null);
    void inbox.archiveChunk(Buffer.alloc(1));
    assert.equal(violations.length, 2);
  });

  it("lets no order through but the right one", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("ready", "finished", "archived", "other"), { maxLength: 6 }), (messages) => {
        const { inbox, violations } = inboxWith();
        void inbox.expectArchive(() => Promise.resolve());
        for (const method of messages) if (violations.length === 0) tell(inbox, method, null);
        const isRight = messages.every((method, index) => method === ["ready", "finished", "archived"][index]);
        assert.equal(violations.length === 0, isRight);
      }),
    );
  });
});
