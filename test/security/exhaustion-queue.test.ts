/** One key's flood of programs, and what it costs a caller with a key of its own who sends single requests. */

import assert from "node:assert/strict";

import { eventually, TestService } from "../helpers/service.ts";
import type { ErrorBody } from "../helpers/service.ts";
import { attack } from "./support/attack.ts";

const KEYS = { alice: "alice-0123456789", bob: "bob-0123456789ab" };
type Name = keyof typeof KEYS;

const SLOTS = 4;
const QUEUE = 256;
const FLOOD = 200;
/** Enough to keep a caller of the same key waiting for many times what its program takes. */
const SHORT_FLOOD = 20;
const ONE_SECOND = "await new Promise((resolve) => setTimeout(resolve, 1000)); return 1;";

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
const authorize = (name: Name): Record<string, string> => ({ authorization: `Bearer ${KEYS[name]}` });

describe("Security: exhaustion by a flood of programs", function () {
  this.timeout(120_000);
  let service: TestService;
  /** What one program takes when nobody else is there. */
  let calmMs: number;
  let refusals: string[];
  let mostRunning: number;

  before(async () => {
    service = await TestService.start({
      env: {
        CODE_MODE_API_KEYS: `alice:${KEYS.alice},bob:${KEYS.bob}`,
        CODE_MODE_MAX_RUNNING: String(SLOTS),
        CODE_MODE_MAX_QUEUED: String(QUEUE),
      },
    });
    const calm: number[] = [];
    for (let count = 0; count < 5; count += 1) calm.push(await delayOf("bob"));
    calmMs = median(calm);
  });
  after(() => service.close());

  async function delayOf(name: Name): Promise<number> {
    const began = performance.now();
    const { body, status } = await service.post({ code: "return 1" }, { headers: authorize(name) });
    assert.deepEqual([status, body.status], [200, "completed"], JSON.stringify(body));
    return performance.now() - began;
  }

  const executionsOf = async (name: Name, status: string): Promise<number> =>
    (await service.get<{ executions: unknown[] }>(`/v1/executions?status=${status}&limit=1000`, { headers: authorize(name) })).body
      .executions.length;

  /** The delays of single requests with this key, one after the other, in the middle of a flood of alice's. */
  async function amidFlood(name: Name, size: number, requests: number): Promise<number[]> {
    const gone = new AbortController();
    const flood = Array.from({ length: size }, async () => {
      const { body, status } = await service.post<ErrorBody>({ code: ONE_SECOND }, { headers: authorize("alice"), signal: gone.signal });
      if (status !== 200) refusals.push(`${body.error.code} ${body.error.message}`);
    });
    const all = Promise.allSettled(flood);
    try {
      await eventually("the flood runs", async () => (await executionsOf("alice", "running")) >= SLOTS - 2);
      const delays: number[] = [];
      for (let count = 0; count < requests; count += 1) {
        delays.push(await delayOf(name));
        mostRunning = Math.max(mostRunning, await executionsOf("alice", "running"));
      }
      return delays;
    } finally {
      gone.abort();
      await all;
      await eventually("the flood is over", async () => (await service.sandboxes()).length === 0, 60_000);
    }
  }

  /** Several times the calm delay, since the flood takes its share of the processor; many seconds less than the queue. */
  const judge = (delays: readonly number[]): string =>
    median(delays) <= 3 * calmMs + 1000 ? "little more than on a calm day" : "that of the whole queue";

  beforeEach(() => {
    refusals = [];
    mostRunning = 0;
  });

  attack({
    name: "a flood of programs: another caller's delay",
    layer: "slots and the queue are shared out among the keys",
    without: { run: async () => judge(await amidFlood("alice", SHORT_FLOOD, 1)), shows: "that of the whole queue" },
    within: { run: async () => judge(await amidFlood("bob", FLOOD, 7)), gives: "little more than on a calm day" },
  });

  it("the same flood gets no more than its share of slots and queue, and is told so", async () => {
    await amidFlood("bob", FLOOD, 1);
    assert.ok(mostRunning <= SLOTS - 1, `${mostRunning} ran, and one slot is kept for the others`);
    // Half of the queue, and as many as were done in the meantime.
    const taken = FLOOD - refusals.length;
    assert.ok(taken >= QUEUE / 2 && taken <= QUEUE / 2 + SLOTS * 6, `${taken} were taken`);
    for (const refusal of refusals)
      assert.match(refusal, /^QUEUE_FULL \d+ executions of the key "alice" wait, which is its share of the queue/);
  });
});
