import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { CommandError, runCommand } from "../../../src/sandbox/docker/image/command.ts";

const node = (program: string, signal?: AbortSignal): Promise<Buffer> => runCommand(process.execPath, ["-e", program], { signal });

describe("Sandbox image: commands of the host", () => {
  it("gives what the command wrote, byte by byte", async () => {
    assert.deepEqual(await node("process.stdout.write(Buffer.from([0, 255, 10]))"), Buffer.from([0, 255, 10]));
  });

  it("gives the command nothing to read", async () => {
    assert.equal((await node("process.stdin.on('data', () => {}).on('end', () => console.log('end'))")).toString(), "end\n");
  });

  it("reports the exit code and the end of the complaints", async () => {
    await assert.rejects(node("console.error('x'.repeat(100000)); console.error('E: no'); process.exitCode = 100"), (error: unknown) => {
      assert.ok(error instanceof CommandError);
      assert.match(error.message, /failed with 100: x+\nE: no$/);
      assert.ok(error.message.length < 2_200);
      assert.equal(error.missing, false);
      return true;
    });
  });

  it("tells a missing command from a failing one", async () => {
    await assert.rejects(runCommand("code-mode-no-such-command", []), {
      missing: true,
      message: "`code-mode-no-such-command` is not installed",
    });
  });

  it("leaves no timer that keeps the process alive, also when the command is missing", async () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    // Mocha sets its own timer once the test waits.
    await setImmediate();
    const before = timers();
    await node("");
    await assert.rejects(runCommand("code-mode-no-such-command", []));
    assert.equal(timers(), before);
  });

  it("is ended by the signal, at once and for good", async () => {
    const abort = new AbortController();
    const started = performance.now();
    const running = node("process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)", abort.signal);
    setTimeout(() => abort.abort(), 100);
    await assert.rejects(running, { name: "CommandError" });
    assert.ok(performance.now() - started < 5_000);
  });
});
