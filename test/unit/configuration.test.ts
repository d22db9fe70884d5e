import assert from "node:assert/strict";

import { Configuration } from "../../src/configuration.ts";
import type { ReloadablePart } from "../../src/configuration.ts";
import { NO_AUDIT } from "../../src/domain/audit-event.ts";
import { StartupError } from "../../src/domain/errors.ts";

interface Logged {
  readonly level: "info" | "error";
  readonly text: string;
}

function configurationOf(parts: readonly ReloadablePart[]): { configuration: Configuration; log: Logged[] } {
  const log: Logged[] = [];
  const logger = {
    info: (_fields: unknown, text: string) => void log.push({ level: "info", text }),
    error: (_fields: unknown, text: string) => void log.push({ level: "error", text }),
  };
  let second = 0;
  const now = (): Date => new Date(Date.UTC(2026, 0, 1, 0, 0, second++));
  return { configuration: new Configuration({ parts, audit: NO_AUDIT, logger: logger as never, now }), log };
}

const works = (name: string): ReloadablePart => ({ name, reload: () => Promise.resolve() });
const fails = (name: string, problems: readonly string[]): ReloadablePart => ({
  name,
  reload: () => Promise.reject(new StartupError(problems)),
});

describe("configuration: reloading", () => {
  it("says when what is in force was loaded", async () => {
    const { configuration, log } = configurationOf([works("a.json"), works("b.json")]);
    assert.deepEqual(configuration.status, { loadedAt: "2026-01-01T00:00:00.000Z" });
    assert.deepEqual(await configuration.reload(), { ok: true });
    assert.deepEqual(configuration.status, { loadedAt: "2026-01-01T00:00:01.000Z" });
    assert.deepEqual(log, [{ level: "info", text: "the configuration was reloaded" }]);
  });

  it("logs every problem on a line of its own, and keeps paths and values out of the status", async () => {
    const { configuration, log } = configurationOf([fails("a.json", ["/etc/a.json: x: is 1", "/etc/a.json: y: is 2"])]);
    assert.deepEqual(await configuration.reload(), { ok: false, problems: ["/etc/a.json: x: is 1", "/etc/a.json: y: is 2"] });
    assert.deepEqual(
      log.map(({ text }) => text),
      [
        "a.json was not reloaded, what it said before stays in force: /etc/a.json: x: is 1",
        "a.json was not reloaded, what it said before stays in force: /etc/a.json: y: is 2",
      ],
    );
    assert.equal(configuration.status.loadedAt, "2026-01-01T00:00:00.000Z");
    assert.equal(configuration.status.lastError?.at, "2026-01-01T00:00:01.000Z");
    assert.ok(!JSON.stringify(configuration.status).includes("/etc"));
  });

  it("reloads the other files although one is broken, and forgets the failure when all is well again", async () => {
    let reloads = 0;
    let isBroken = true;
    const { configuration } = configurationOf([
      { name: "a.json", reload: () => (isBroken ? Promise.reject(new Error("odd")) : Promise.resolve()) },
      { name: "b.json", reload: () => Promise.resolve(void (reloads += 1)) },
    ]);
    assert.deepEqual(await configuration.reload(), { ok: false, problems: ["odd"] });
    assert.equal(reloads, 1);
    assert.match(configuration.status.lastError?.message ?? "", /^a\.json could not be reloaded/);
    isBroken = false;
    assert.deepEqual(await configuration.reload(), { ok: true });
    assert.equal(configuration.status.lastError, undefined);
  });

  it("ends the reload that is under way before it is closed, and begins no other", async () => {
    const steps: string[] = [];
    let finish: () => void = () => undefined;
    const waiting = new Promise<void>((resolve) => (finish = resolve));
    const { configuration } = configurationOf([
      {
        name: "a.json",
        reload: async () => {
          steps.push("begin");
          await waiting;
          steps.push("end");
        },
      },
    ]);
    const first = configuration.reload();
    const second = configuration.reload();
    const closed = configuration.close().then(() => steps.push("closed"));
    finish();
    await closed;
    assert.deepEqual(steps, ["begin", "end", "closed"]);
    assert.equal((await first).ok, true);
    assert.deepEqual(await second, { ok: false, problems: ["the service is being stopped"] });
  });
});
