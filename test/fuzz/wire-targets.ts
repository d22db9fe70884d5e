/** Fuzz targets: everything that reads what a sandbox sends. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { Duplex } from "node:stream";

import fc from "fast-check";

import { ArchiveReader } from "../../src/bridge/archive-reader.ts";
import { encodeFrame, FrameDecoder, FrameError } from "../../src/bridge/frames.ts";
import type { Frame } from "../../src/bridge/frames.ts";
import { parseUntrustedJson } from "../../src/bridge/json.ts";
import {
  archivedSchema,
  finishedSchema,
  inspectResultSchema,
  readySchema,
  toolArgumentsSchema,
  toolCallParamsSchema,
  toolCancelParamsSchema,
} from "../../src/bridge/protocol.ts";
import { PersistReader } from "../../src/bridge/persist-reader.ts";
import { RunnerConnection } from "../../src/bridge/runner-connection.ts";
import { EventLog } from "../../src/execution/event-log.ts";
import { OutputCollector } from "../../src/execution/output-collector.ts";
import { eventPieces } from "../../src/http/event-stream.ts";
import { jsonPieces } from "../../src/http/send-json.ts";
import { exceededCap } from "../../src/lib/json-shape.ts";
import { AttachStream } from "../../src/sandbox/docker/attach-stream.ts";
import { ARCHIVE_END, fileHeader, folderHeader, paddingBytes } from "../../sandbox-image/runner/archive-writer.ts";
import { cut } from "./target.ts";
import type { FuzzTarget } from "./target.ts";
import { toolCalls } from "./tool-calls-target.ts";

const MAX_PAYLOAD_BYTES = 3000;
const bytes = (maxLength: number): fc.Arbitrary<Buffer> => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));

/** What the decoder must do, in the plainest way: on all bytes at once. */
function framesIn(input: Buffer): { frames: Frame[]; fails: boolean } {
  const frames: Frame[] = [];
  for (let at = 0; at + 5 <= input.byteLength;) {
    const length = input.readUInt32BE(at);
    const kind = input.readUInt8(at + 4);
    if ((kind !== 1 && kind !== 2) || length > MAX_PAYLOAD_BYTES) return { frames, fails: true };
    if (at + 5 + length > input.byteLength) break;
    frames.push({ kind, payload: input.subarray(at + 5, at + 5 + length) });
    at += 5 + length;
  }
  return { frames, fails: false };
}

const method = fc.constantFrom("ready", "finished", "archived", "tool.call", "tool.cancel", "constructor", "__proto__", "x");
const rpc = fc.oneof(
  fc.record({ jsonrpc: fc.constant("2.0"), method, params: fc.jsonValue() }),
  fc.record({ jsonrpc: fc.constant("2.0"), id: fc.oneof(fc.nat(3), fc.jsonValue()), method, params: fc.jsonValue() }),
  fc.record({ jsonrpc: fc.constant("2.0"), id: fc.oneof(fc.nat(3), fc.jsonValue()), result: fc.jsonValue() }),
  fc.jsonValue(),
);
const wireFrame = fc.oneof(
  { weight: 3, arbitrary: rpc.map((value) => encodeFrame(1, Buffer.from(JSON.stringify(value)))) },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.constantFrom(1 as const, 2 as const), bytes(200)).map(([kind, payload]) => encodeFrame(kind, payload)),
  },
);
const frameStream = fc.array(wireFrame, { maxLength: 6 }).map((frames) => Buffer.concat(frames));

const frames: FuzzTarget = {
  name: "frames",
  grown: frameStream,
  longRuns: 250_000,
  check: (input) => {
    const decoder = new FrameDecoder({ maxPayloadBytes: MAX_PAYLOAD_BYTES });
    const expected = framesIn(input);
    const got: Frame[] = [];
    let fails = false;
    try {
      for (const piece of cut(input)) {
        decoder.push(piece);
        for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) got.push(frame);
      }
    } catch (error) {
      assert.ok(error instanceof FrameError);
      fails = true;
    }
    assert.deepEqual({ frames: got, fails }, expected);
    assert.ok(decoder.bufferedBytes <= input.byteLength);
  },
};

/** One listener for all cases of a run: a connection is cheap, a socket's file is not. */
let listener: Promise<{ server: Server; address: string }> | undefined;
async function socketPair(): Promise<{ peer: Socket; accepted: Socket }> {
  listener ??= (async () => {
    const address = path.join(tmpdir(), `cm-fuzz-${process.pid}.sock`);
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: false }).listen(address).unref();
    await once(server, "listening");
    return { server, address };
  })();
  const { address, server } = await listener;
  const connected = once(server, "connection") as Promise<[Socket]>;
  const peer = connect(address);
  peer.on("error", () => undefined);
  const [accepted] = await connected;
  return { peer, accepted };
}

/** Closes the listener, which takes its file away. To be called after the last case. */
export async function closeConnectionTarget(): Promise<void> {
  (await listener)?.server.close();
  listener = undefined;
}

const connection: FuzzTarget = {
  name: "connection",
  grown: frameStream,
  shortRuns: 400,
  longRuns: 80_000,
  check: async (input) => {
    const { accepted, peer } = await socketPair();
    const PLENTY = { burst: 1e9, perSecond: 1e9, total: 1e9 };
    const framesAllowed = input.byteLength % 4 === 0 ? { burst: 2, perSecond: 10_000, total: 4 } : PLENTY;
    let handled = 0;
    const violation = await new Promise<string | undefined>((resolve, reject) => {
      let ends = 0;
      new RunnerConnection(
        accepted,
        { maxFrameBytes: MAX_PAYLOAD_BYTES, frames: framesAllowed, bytes: PLENTY, maxUnsentBytes: 1000 },
        {
          message: ({ id, method: name }) => {
            handled += 1;
            assert.ok(name.length > 0 && name.length <= 64);
            assert.ok(id === undefined || (Number.isSafeInteger(id) && id >= 0));
            return handled % 3 === 0 ? Promise.resolve() : undefined;
          },
          drained: () => undefined,
          archiveChunk: () => {
            handled += 1;
            return handled % 2 === 0 ? Promise.resolve() : undefined;
          },
          ended: (reason) => {
            ends += 1;
            if (ends > 1) reject(new Error("ended twice"));
            else resolve(reason);
          },
        },
      );
      for (const piece of cut(input)) peer.write(piece);
      peer.end();
    });
    peer.destroy();
    const expected = framesIn(input);
    assert.ok(handled <= Math.min(expected.frames.length, framesAllowed.total));
    if (expected.fails) assert.notEqual(violation, undefined);
    if (violation === undefined) assert.equal(handled, expected.frames.length);
    else assert.ok(violation.length < 300, violation);
  },
};

const messages: FuzzTarget = {
  name: "messages",
  grown: fc
    .oneof(
      fc.record({
        result: fc.jsonValue(),
        error: fc.option(fc.record({ name: fc.string(), message: fc.string(), stack: fc.string() })),
        exitCode: fc.integer({ min: -1, max: 300 }),
      }),
      fc.record({
        skipped: fc.array(fc.record({ path: fc.string(), sizeBytes: fc.double(), reason: fc.constantFrom("not_a_file", "x") })),
      }),
      fc.record({
        server: fc.string(),
        tool: fc.string(),
        arguments: fc.json(),
        timeoutMs: fc.option(fc.integer()),
        progress: fc.boolean(),
      }),
      fc.record(
        { positional: fc.array(fc.array(fc.jsonValue(), { maxLength: 2 })), named: fc.option(fc.jsonValue()) },
        { requiredKeys: [] },
      ),
      fc.record({
        identities: fc.array(fc.oneof(fc.record({ device: fc.string(), inode: fc.string() }), fc.record({ error: fc.string() }))),
      }),
      fc.jsonValue(),
    )
    .map((value) => Buffer.from(JSON.stringify(value))),
  longRuns: 300_000,
  check: (input) => {
    let value: unknown;
    try {
      value = parseUntrustedJson(input, 128);
    } catch (error) {
      assert.ok(error instanceof SyntaxError);
      return;
    }
    const text = JSON.stringify(value);
    assert.equal(exceededCap(Buffer.from(text), { depth: 128, parts: Number.POSITIVE_INFINITY }), undefined);
    assert.equal([...jsonPieces(value)].join(""), text);
    const ofTools = [toolCallParamsSchema, toolArgumentsSchema, toolCancelParamsSchema];
    for (const schema of [readySchema, inspectResultSchema, finishedSchema, archivedSchema, ...ofTools]) schema.safeParse(value);
    assert.deepEqual(Object.keys(Object.prototype), []);
  },
};

const OUTPUT_CAPS = { keptBytes: 100, ceilingBytes: 1000 };

const output: FuzzTarget = {
  name: "output",
  grown: fc.oneof(
    bytes(1500),
    fc.string({ unit: "grapheme", maxLength: 300 }).map((text) => Buffer.from(text)),
  ),
  longRuns: 300_000,
  check: (input) => {
    const ceilings: string[] = [];
    const events = new EventLog();
    const collector = new OutputCollector({ caps: OUTPUT_CAPS, events, onCeiling: (stream) => ceilings.push(stream) });
    for (const piece of cut(input)) collector.stderr(piece);
    const { stderr, stdout, truncated } = collector.collect();
    for (let id = 1; id <= events.lastId; id += 1) assert.ok([...eventPieces(id, events.get(id)!)].join("").match(/[\r\n]/g)!.length === 4);
    const whole = new TextDecoder("utf-8", { ignoreBOM: true }).decode(input.subarray(0, OUTPUT_CAPS.keptBytes));
    assert.ok(whole.startsWith(stderr) && whole.length - stderr.length <= 3);
    assert.deepEqual([stdout, truncated], ["", { stdout: false, stderr: input.byteLength > OUTPUT_CAPS.keptBytes }]);
    assert.deepEqual(ceilings, input.byteLength > OUTPUT_CAPS.ceilingBytes ? ["stderr"] : []);
    assert.equal(collector.stderrTail(), input.subarray(-16_384).toString());
  },
};

const MARKER = "0123456789abcdef0123456789abcdef0123456789abcdef";
const attachFrame = fc
  .tuple(
    fc.constantFrom(0, 1, 1, 2, 2, 3),
    fc.oneof(
      bytes(60),
      fc.constantFrom(MARKER, MARKER.slice(0, 20), MARKER.slice(20)).map((text) => Buffer.from(text)),
    ),
  )
  .map(([stream, payload]) => {
    const header = Buffer.alloc(8);
    header.writeUInt8(stream, 0);
    header.writeUInt32BE(payload.byteLength, 4);
    return Buffer.concat([header, payload]);
  });

/** Both streams of the engine, each up to the marker, as far as frames are whole or not. */
function streamsIn(input: Buffer): [string, string] {
  const streams: [Buffer[], Buffer[]] = [[], []];
  for (let at = 0; at + 8 <= input.byteLength;) {
    const length = input.readUInt32BE(at + 4);
    const stream = input.readUInt8(at);
    if (stream === 1 || stream === 2) streams[stream - 1]?.push(input.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  const cutAt = (text: string): string => text.split(MARKER)[0] ?? "";
  return [cutAt(Buffer.concat(streams[0]).toString("latin1")), cutAt(Buffer.concat(streams[1]).toString("latin1"))];
}

const attach: FuzzTarget = {
  name: "attach",
  grown: fc.array(attachFrame, { maxLength: 8 }).map((list) => Buffer.concat(list)),
  longRuns: 400_000,
  check: async (input) => {
    const engine = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
    const stream = new AttachStream(engine);
    let [stdout, stderr] = ["", ""];
    stream.deliverTo({ stdout: (chunk) => (stdout += chunk.toString("latin1")), stderr: (chunk) => (stderr += chunk.toString("latin1")) });
    const drained = stream.drained(MARKER);
    for (const chunk of cut(input)) engine.push(chunk);
    engine.push(null);
    await drained;
    await stream.ended;
    stream.finish();
    stream.destroy();
    assert.deepEqual([stdout, stderr], streamsIn(input));
  },
};

const ROOTS = ["temp", "out/deep"];
const ARCHIVE_CAPS = { maxFiles: 5, maxBytes: 2000, roots: ROOTS, patterns: ["temp/**", "out/**/*.txt"] };
const tarFile = fc
  .tuple(
    fc.oneof(
      fc.constantFrom(
        "temp/a",
        "temp/./a",
        "out/deep/b.txt",
        "out/deep/b.sh",
        "data/x",
        "../x",
        "/etc/x",
        "temp/é",
        `temp/${"l".repeat(200)}`,
      ),
      fc.string({ unit: "binary", maxLength: 30 }),
    ),
    bytes(1100),
  )
  .map(([name, content]) => Buffer.concat([fileHeader(name, content.byteLength), content, Buffer.alloc(paddingBytes(content.byteLength))]));

/** Makes the checksums of all blocks that look like headers right again, so that mutations get past them. */
function mended(tar: Buffer): Buffer {
  const copy = Buffer.from(tar);
  for (let at = 0; at + 512 <= copy.byteLength; at += 512) {
    const block = copy.subarray(at, at + 512);
    if (block.toString("latin1", 257, 262) !== "ustar") continue;
    block.fill(" ", 148, 156);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  }
  return copy;
}

const archive: FuzzTarget = {
  name: "archive",
  grown: fc.array(tarFile, { maxLength: 7 }).map((list) => Buffer.concat([...list, ARCHIVE_END])),
  longRuns: 300_000,
  check: (input) => {
    for (const tar of [input, mended(input)]) {
      const whole = new ArchiveReader(ARCHIVE_CAPS);
      whole.push(tar);
      const files = whole.finish();
      const cutUp = new ArchiveReader(ARCHIVE_CAPS);
      for (const piece of cut(tar)) cutUp.push(piece);
      assert.deepEqual(cutUp.finish(), files, "whatever the chunking");
      assert.ok(files.length <= ARCHIVE_CAPS.maxFiles + 1);
      let sum = 0;
      for (const file of files) {
        // eslint-disable-next-line no-control-regex -- that is what must not be there
        assert.doesNotMatch(file.path, /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
        if (!("content" in file)) continue;
        sum += file.size;
        assert.equal(Buffer.from(file.content, file.encoding).byteLength, file.size);
        assert.match(file.path, /^(temp\/.|out\/deep\/(.*\/)?[^/]*\.txt$)/s);
        assert.ok(!file.path.split("/").includes(".."));
      }
      assert.ok(sum <= ARCHIVE_CAPS.maxBytes);
    }
  },
};

const KEPT_CAPS = { maxFiles: 5, maxBytes: 2000, roots: ROOTS };
const keptFile = fc
  .tuple(
    fc.oneof(
      fc.constantFrom(
        "temp/a",
        "temp/A",
        "temp/a/b",
        "temp/./a",
        "out/deep/é",
        "out/deep/e\u0301",
        "out/deep",
        "temp/.code-mode-x",
        "data/x",
        "../x",
      ),
      fc.string({ unit: "binary", maxLength: 30 }),
    ),
    fc.option(bytes(1100)),
  )
  .map(([name, content]) =>
    content === null
      ? Buffer.from(folderHeader(name))
      : Buffer.concat([fileHeader(name, content.byteLength), content, Buffer.alloc(paddingBytes(content.byteLength))]),
  );

/** Puts together what would be on the disk. */
function keptFiles(pieces: readonly Buffer[]): {
  files: Map<string, Buffer>;
  folders: string[];
  failure: string | undefined;
  refused: unknown;
} {
  const reader = new PersistReader(KEPT_CAPS);
  const files = new Map<string, Buffer>();
  const folders: string[] = [];
  let unfinished: { path: string; left: number } | undefined;
  for (const piece of pieces) {
    reader.push(piece);
    for (const part of reader.takeParts()) {
      if (part.kind === "folder") {
        folders.push(part.path);
        continue;
      }
      assert.equal(part.begins, !files.has(part.path), "no file begins twice");
      if (!part.begins) assert.equal(part.path, unfinished?.path);
      const content = Buffer.concat(part.pieces);
      files.set(part.path, Buffer.concat([files.get(part.path) ?? Buffer.alloc(0), content]));
      const left = (part.begins ? part.size : (unfinished?.left ?? 0)) - content.byteLength;
      assert.equal(part.ends, left === 0);
      unfinished = { path: part.path, left };
    }
  }
  reader.finish();
  return { files, folders, failure: reader.failure, refused: reader.refused };
}

const persist: FuzzTarget = {
  name: "persist",
  grown: fc.array(keptFile, { maxLength: 6 }).map((list) => Buffer.concat([...list, ARCHIVE_END])),
  longRuns: 300_000,
  check: (input) => {
    for (const tar of [input, mended(input)]) {
      const whole = keptFiles([tar]);
      const cutUp = keptFiles(cut(tar));
      assert.equal(cutUp.failure, whole.failure, "whatever the chunking");
      if (whole.failure !== undefined) continue;
      assert.deepEqual(cutUp, whole);
      const paths = [...whole.files.keys(), ...whole.folders];
      assert.ok(paths.length <= KEPT_CAPS.maxFiles);
      assert.ok([...whole.files.values()].reduce((sum, content) => sum + content.byteLength, 0) <= KEPT_CAPS.maxBytes);
      assert.equal(
        new Set(paths.map((name) => name.normalize("NFKC").toLowerCase())).size,
        paths.length,
        "two are one where case is ignored",
      );
      for (const name of paths) {
        // eslint-disable-next-line no-control-regex -- that is what must not be there
        assert.doesNotMatch(name, /[\u0000-\u001f\u007f-\u009f\u2028\u2029\\]|(^|\/)(\.{0,2}|\.code-mode-[^/]*)(\/|$)/);
        assert.match(name, /^(temp|out\/deep)\/./s);
        for (const file of whole.files.keys()) assert.ok(!name.startsWith(`${file}/`), "lies in a file");
      }
    }
  },
};

export const WIRE_TARGETS: readonly FuzzTarget[] = [frames, connection, messages, toolCalls, output, attach, archive, persist];
