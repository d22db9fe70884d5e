/** Output files in number and size: that all of them come, what they cost the service meanwhile, and what is kept of them. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import path from "node:path";

import type { Execution } from "../../src/domain/execution.ts";
import { eventually, TestService } from "../helpers/service.ts";

const MIB = 2 ** 20;
const FILES = 10_000;
const LARGE_BYTES = 100 * MIB;
/** Work of one turn of the event loop, the test's own client included. A whole file of 100 MB takes more than this to become text. */
const MAX_TURN_MS = 250;

describe("Output files in number and size", () => {
  let service: TestService;

  before(async () => {
    const limits = { tempBytes: "128MB", tempInodes: 20_000, outputFiles: 12_000, outputFileBytes: "128MB", maxTimeoutMs: 60_000 };
    service = await TestService.start({
      runtimes: {
        node: { timeout: 60_000, permissions: { fileSystem: { write: ["./temp", { path: "./out", persist: true }] } }, limits },
        few: { permissions: { fileSystem: { write: ["./temp"] } }, limits: { outputFiles: 10 } },
      },
      prepare: async (workspace) => {
        await mkdir(path.join(workspace, "out"));
        // What an instance left that died while it was keeping files.
        const dead = path.join(workspace, "..", "state", "run", "ins_deaddeaddeaddeaddead", "exe_deaddeaddeaddeaddead");
        const staged = path.join(workspace, "out", ".code-mode-exe_deaddeaddeaddeaddead-0");
        await mkdir(dead, { recursive: true });
        await mkdir(staged);
        await writeFile(path.join(staged, "0"), "half a fi");
        await symlink(staged, path.join(dead, "staging-0"));
      },
    });
  });
  after(() => service.close());

  /**
   * The service runs in this process: what blocks it delays this timer. CPU time is looked at, which other processes of a busy machine
   * do not make longer.
   */
  async function withoutDelay<T>(action: () => Promise<T>): Promise<T> {
    const cpuMs = (): number => (process.cpuUsage().user + process.cpuUsage().system) / 1000;
    let longestMs = 0;
    let last = cpuMs();
    const watch = setInterval(() => {
      longestMs = Math.max(longestMs, cpuMs() - last);
      last = cpuMs();
    }, 5);
    try {
      const value = await action();
      assert.ok(longestMs < MAX_TURN_MS, `the event loop was held up for ${longestMs.toFixed(0)} ms`);
      return value;
    } finally {
      clearInterval(watch);
    }
  }

  /** Takes the answer as it comes; gives its size, its hash, and the id. The text is never one string in this process. */
  async function take(body: object): Promise<{ id: string; bytes: number; head: string; pieces: Buffer[] }> {
    const response = await fetch(`${service.url}/v1/executions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    assert.equal(response.status, 200);
    const pieces: Buffer[] = [];
    for await (const piece of (response.body ?? []) as AsyncIterable<Uint8Array>) pieces.push(Buffer.from(piece));
    return {
      id: response.headers.get("x-execution-id") ?? "",
      bytes: pieces.reduce((sum, piece) => sum + piece.byteLength, 0),
      head: Buffer.concat(pieces.slice(0, 3)).toString("latin1", 0, 2000),
      pieces,
    };
  }

  it("removes what a dead instance had staged to keep it, when it starts", () => {
    assert.equal(existsSync(path.join(service.workspace, "out", ".code-mode-exe_deaddeaddeaddeaddead-0")), false);
  });

  it("returns 10,000 small files in nested folders, empty ones among them, each with its content", async () => {
    const code = `const fs = require("node:fs");
      for (let i = 0; i < ${FILES}; i++) {
        const folder = "temp/" + (i % 10) + "/" + (i % 100);
        fs.mkdirSync(folder, { recursive: true });
        fs.writeFileSync(folder + "/" + i, i % 7 === 0 ? "" : "file " + i);
      }`;
    const { pieces } = await withoutDelay(() => take({ code, outputFiles: ["temp/**"] }));
    const { files, status } = JSON.parse(Buffer.concat(pieces).toString()) as Execution;
    assert.deepEqual([status, files.length], ["completed", FILES]);
    const contents = new Map(files.map((file) => [file.path, "content" in file ? file.content : undefined]));
    for (let index = 0; index < FILES; index += 1) {
      assert.equal(contents.get(`temp/${index % 10}/${index % 100}/${index}`), index % 7 === 0 ? "" : `file ${index}`);
    }
  });

  it("returns a file of 100 MB whole while neighbours are served, and later says that it is not kept", async () => {
    const code = `const fs = require("node:fs"), crypto = require("node:crypto"), hash = crypto.createHash("sha256");
      for (let at = 0; at < 100; at++) { const piece = crypto.randomBytes(${MIB}); hash.update(piece); fs.writeFileSync("temp/large", piece, { flag: "a" }); }
      return hash.digest("hex");`;
    const before = await service.run("return 1");
    let served = 0;
    const { bytes, head, id, pieces } = await withoutDelay(async () => {
      const neighbour = setInterval(() => void service.get("/livez").then(() => (served += 1)), 20);
      return take({ code, outputFiles: ["temp/large"] }).finally(() => clearInterval(neighbour));
    });
    assert.ok(served > 10, `a neighbour was served ${served} times`);
    assert.ok(bytes > (LARGE_BYTES * 4) / 3);
    const text = Buffer.concat(pieces);
    const begin = text.indexOf('"content":"') + '"content":"'.length;
    const end = text.indexOf('"', begin);
    const hash = createHash("sha256");
    // In parts: a text of this length is close to the longest that there can be.
    for (let from = begin; from < end; from += 4 * MIB)
      hash.update(Buffer.from(text.toString("latin1", from, Math.min(end, from + 4 * MIB)), "base64"));
    assert.equal(hash.digest("hex"), /"result":"(\w{64})"/.exec(head)?.[1]);

    const { body } = await service.get<Execution>(`/v1/executions/${id}`);
    assert.deepEqual([body.status, body.files.length, body.files[0]?.size], ["completed", 1, LARGE_BYTES]);
    assert.match(JSON.stringify(body.files[0]), /too large to be kept/);
    const { status } = await service.get(`/v1/executions/${before.id}`);
    assert.equal(status, 200, "the results of others are still there");
  });

  it("says exactly how many are left out, though it names the first thousand only", async () => {
    const code = `const fs = require("node:fs"); for (let i = 0; i < 1500; i++) fs.writeFileSync("temp/" + i, ""); fs.symlinkSync("x", "temp/zz");`;
    const { files } = await service.run(code, { runtime: "few", outputFiles: ["temp/**"] });
    assert.equal(files.filter((file) => "content" in file).length, 10);
    const named = files.filter((file) => "error" in file && file.path !== "*");
    assert.equal(named.length, 1000);
    const others = files.filter((file) => file.path === "*").map((file) => ("error" in file ? file.error : ""));
    assert.deepEqual(
      others.map((error) => error.replace(/:.*/, "")),
      ["1 more", "490 more"],
    );
  });

  it("keeps 1000 files on the host as quickly, and none of them half", async () => {
    const code = `const fs = require("node:fs"); for (let i = 0; i < 999; i++) fs.writeFileSync("out/" + i, "x".repeat(i));`;
    const execution = await withoutDelay(() => service.run(code));
    assert.deepEqual(execution.persisted, { files: 999, bytes: (998 * 999) / 2, errors: [] });
    await eventually("the sandbox is gone", async () => (await service.sandboxes()).length === 0);
  });
});
