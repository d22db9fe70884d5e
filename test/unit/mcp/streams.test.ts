/** Lines, events and ids of a stream that is read piece by piece. */

import assert from "node:assert/strict";

import fc from "fast-check";

import { answerIdOf } from "../../../src/mcp/answer-id.ts";
import { readEvents } from "../../../src/mcp/event-stream-reader.ts";
import type { ServerSentEvent } from "../../../src/mcp/event-stream-reader.ts";
import { LineSplitter } from "../../../src/mcp/line-splitter.ts";
import { parseEvents } from "../../helpers/events.ts";

function linesOf(chunks: readonly string[], maxLineBytes: number): string[] {
  const lines: string[] = [];
  const splitter = new LineSplitter({
    maxLineBytes,
    onLine: (line) => lines.push(line.toString()),
    onLongLine: ({ end, start }) => lines.push(`${start.toString()}…${end.toString().slice(-3)}`),
  });
  for (const chunk of chunks) splitter.push(Buffer.from(chunk));
  splitter.end();
  return lines;
}

const bytes = (text: string): string[] => [...Buffer.from(text)].map((byte) => Buffer.from([byte]).toString("latin1"));

describe("line-splitter: lines of any chunks", () => {
  it("gives each line once, without its end, and the last one without one", () => {
    assert.deepEqual(linesOf(["a\n\nb\r", "\nc", "d", "\ne"], 10), ["a", "", "b", "cd", "e"]);
  });

  it("gives the first and last bytes of a long one, and the next lines whole", () => {
    assert.deepEqual(linesOf(["0123", "456789abc", "def\nnext\n"], 8), ["01234567…def", "next"]);
    assert.deepEqual(linesOf(["0123456789\nnext\n"], 8), ["01234567…789", "next"]);
    assert.deepEqual(linesOf(["01234567\nnext\n"], 8), ["01234567", "next"]);
  });

  it("tells of a line without an end once so much of it was dropped", () => {
    let told = 0;
    const splitter = new LineSplitter({
      maxLineBytes: 4,
      onLine: () => undefined,
      onLongLine: () => undefined,
      endless: { bytes: 3, onEndlessLine: () => (told += 1) },
    });
    splitter.push(Buffer.from("0123456"));
    assert.equal(told, 0);
    splitter.push(Buffer.from("7"));
    assert.equal(told, 1);
  });

  it("does not depend on where the chunks end", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "b", "\n", "\r\n"), maxLength: 60 });
    fc.assert(
      fc.property(text, fc.integer({ min: 2, max: 8 }), (all, max) => assert.deepEqual(linesOf(bytes(all), max), linesOf([all], max))),
    );
  });
});

describe("event-stream-reader: server-sent events", () => {
  async function eventsOf(chunks: readonly string[], maxEventBytes = 1000): Promise<{ type: string; data: string }[]> {
    const events: ServerSentEvent[] = [];
    async function* body(): AsyncGenerator<Uint8Array> {
      for (const chunk of chunks) yield Buffer.from(chunk);
      await Promise.resolve();
    }
    await readEvents(body(), { maxEventBytes, onEvent: (event) => events.push(event) });
    return events.map(({ data, type }) => ({ type, data: data.toString() }));
  }

  it("are read as the standard says, whatever the chunks and ends of lines", async () => {
    const line = fc.constantFrom("data: a", "data:b", "data", "data:  c", "event: x", "event", ": note", "id: 7", "retry: 5", "", "");
    const end = fc.constantFrom("\n", "\r", "\r\n");
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(line, end), { maxLength: 30 }), async (lines) => {
        // Nothing is left unfinished at the end.
        const text = `${lines.flat().join("")}\n\n\n`;
        const expected = parseEvents(text).map(({ data, type }) => ({ type, data }));
        const full = expected.filter(({ data }) => data !== "");
        assert.deepEqual(await eventsOf([text]), full);
        assert.deepEqual(await eventsOf(bytes(text)), full);
      }),
    );
  });

  it("are refused when they are too long, in one line, in many, and without an end", async () => {
    const refused = { name: "EventTooLongError" };
    await assert.rejects(eventsOf(["data: ", "x".repeat(200), "\n\n"], 100), refused);
    await assert.rejects(eventsOf(["data: x\n".repeat(80)], 100), refused);
    await assert.rejects(eventsOf(["x".repeat(200)], 100), refused);
  });
});

describe("answer-id: whose answer a message is that is not read", () => {
  const idOf = (text: string): number | undefined => answerIdOf(Buffer.from(text), Buffer.from(text));

  it("is found at the beginning and at the end", () => {
    assert.equal(idOf(`{"jsonrpc":"2.0","id":7,"result":{"a":"${"x".repeat(1000)}`), 7);
    assert.equal(idOf('{ "id" : 7 , "jsonrpc":"2.0","result":'), 7);
    assert.equal(idOf(`{"result":{"a":"${"x".repeat(1000)}"},"jsonrpc":"2.0","id":7}`), 7);
  });

  it("is not taken from what the message holds", () => {
    for (const text of [
      '{"result":{"a":1,"id":7}}',
      '{"result":{"text":",\\"id\\":7}"}}',
      `{"result":{"id":7},${'"a":1,'.repeat(100)}"jsonrpc":"2.0"}`,
      '[{"jsonrpc":"2.0","id":7,"result":{}}]',
      '{"jsonrpc":"2.0","id":"7","result":{}}',
    ])
      assert.equal(idOf(text), undefined, text);
  });
});
