/** Requests that are dear to read: a caller's body of the largest size costs the others next to nothing. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { Worker } from "node:worker_threads";

import { TestService } from "../helpers/service.ts";
import { attack } from "./support/attack.ts";

const MIB = 2 ** 20;
/** Just below the default of CODE_MODE_MAX_BODY_BYTES. */
const BODY_BYTES = 31 * MIB;
/** How long nobody else may be kept waiting by one body, and by one that parses as it is. */
const BOUND_MS = 400;
const UNBOUNDED_MS = 800;

const filled = (unit: string): string => `{"code":"1","x":[${unit.repeat(Math.floor(BODY_BYTES / unit.length))}0]}`;

const BODIES: Readonly<Record<string, () => string>> = {
  "ten million objects": () => filled("{},"),
  "two million different fields": () => {
    let text = '{"code":"1"';
    for (let count = 0; text.length < BODY_BYTES - 16; count += 1) text += `,"${count.toString(36)}x":1`;
    return `${text}}`;
  },
  "brackets nested fifteen million deep": () => `{"code":"1","x":${"[".repeat(BODY_BYTES / 2)}${"]".repeat(BODY_BYTES / 2)}}`,
};

describe("Security: exhaustion by requests", function () {
  this.timeout(120_000);
  let service: TestService;

  before(async () => {
    service = await TestService.start();
  });
  after(() => service.close());

  for (const [name, make] of Object.entries(BODIES)) {
    attack({
      name: `a body of ${name}`,
      layer: "bodies are measured before they are parsed",
      variation: name !== "brackets nested fifteen million deep",
      without: { run: () => parsedAsItIs(make()), shows: `more than ${UNBOUNDED_MS} ms` },
      within: { run: () => whileSent(make(), 400), gives: `at most ${BOUND_MS} ms` },
    });
  }

  it("takes files of the full size", async () => {
    const content = "A".repeat(Math.floor((BODY_BYTES - 4096) / 8 / 4) * 4);
    const files = Array.from({ length: 8 }, (_, index) => ({ path: `file-${index}`, encoding: "base64", content }));
    await whileSent(JSON.stringify({ code: "return 1", files }), 200);
  });

  it("takes as many files as the runtime does", async () => {
    const files = Array.from({ length: 1000 }, (_, index) => ({ path: `in/${index}`, encoding: "utf8", content: '{"a":[1,2,3]}' }));
    const code = 'return require("node:fs").readdirSync("in").length';
    assert.equal(await service.result(code, { files, args: Array.from({ length: 1024 }, () => "[") }), 1000);
  });

  /** Sends a body from another thread, so that nothing but the service is measured here. */
  async function whileSent(body: string, expectedStatus: number): Promise<string> {
    const bytes = new TextEncoder().encode(body);
    const sender = new Worker(
      `const { parentPort, workerData: { url, bytes } } = require("node:worker_threads");
       parentPort.once("message", () => fetch(url + "/v1/executions", { method: "POST", headers: { "content-type": "application/json" }, body: bytes })
         .then(async (answer) => { await answer.text(); parentPort.postMessage(answer.status); }));`,
      { eval: true, workerData: { url: service.url, bytes }, transferList: [bytes.buffer] },
    );
    await once(sender, "online");
    try {
      return await blockedBy(async () => {
        const answered = once(sender, "message") as Promise<[number]>;
        sender.postMessage("go");
        assert.equal((await answered)[0], expectedStatus);
      });
    } finally {
      await sender.terminate();
    }
  }
});

const parsedAsItIs = (text: string): Promise<string> => blockedBy(() => void JSON.parse(text));

/** The longest time in which this thread's event loop, which is the service's, did nothing else. */
async function blockedBy(action: () => unknown): Promise<string> {
  let longestMs = 0;
  let lastAt = performance.now();
  const tick = (): void => {
    longestMs = Math.max(longestMs, performance.now() - lastAt);
    lastAt = performance.now();
  };
  const ticks = setInterval(tick, 5);
  await action();
  tick();
  clearInterval(ticks);
  return longestMs > UNBOUNDED_MS
    ? `more than ${UNBOUNDED_MS} ms`
    : longestMs <= BOUND_MS
      ? `at most ${BOUND_MS} ms`
      : `${longestMs.toFixed(0)} ms`;
}
