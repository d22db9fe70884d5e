/** The built service as a child process on a free loopback port: started, waited for, stopped. Its state is in a folder of its own. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const READY_WITHIN_MS = 120_000;
const STOP_WITHIN_MS = 30_000;
const KEPT_LOG_CHARS = 20_000;

export interface ServiceProcess {
  readonly url: string;
  readonly port: number;
  /** Asks the service to stop and waits until it has. Idempotent. */
  stop(): Promise<void>;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a TCP server has no port");
  server.close();
  await once(server, "close");
  return address.port;
}

interface StartOptions {
  readonly root: string;
  readonly signal: AbortSignal;
  readonly env?: Readonly<Record<string, string>>;
}

/** Resolves when the service can run code. Throws with the end of its log when it ends before that. */
export async function startService({ env = {}, root, signal }: StartOptions): Promise<ServiceProcess> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const stateDir = await mkdtemp(path.join(tmpdir(), "code-mode-"));
  // Settings of the caller's own service (a key, another configuration) are not meant for this one.
  const inherited = Object.entries(process.env).filter(([name]) => !/^(CODE_MODE|MCP)_/.test(name));
  const child = spawn(process.execPath, [path.join(root, "dist/main.js"), "serve"], {
    cwd: root,
    env: {
      ...Object.fromEntries(inherited),
      CODE_MODE_HOST: "127.0.0.1",
      CODE_MODE_PORT: String(port),
      CODE_MODE_STATE_DIR: stateDir,
      CODE_MODE_AUDIT_KEY_FILE: path.join(stateDir, "audit-key", "audit.key"),
      LOG_LEVEL: "warn",
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe"],
    // Out of this process group: a signal to the group would reach it besides the one from here, and the second makes it hurry.
    detached: true,
  });
  let log = "";
  const keep = (chunk: Buffer): void => {
    log = (log + chunk.toString()).slice(-KEPT_LOG_CHARS);
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  const ended = once(child, "close");
  const isRunning = (): boolean => child.exitCode === null && child.signalCode === null;

  const stop = async (): Promise<void> => {
    if (isRunning()) child.kill("SIGTERM");
    const inTime = await Promise.race([ended.then(() => true), sleep(STOP_WITHIN_MS, false, { ref: false })]);
    if (!inTime) child.kill("SIGKILL");
    await ended;
    await rm(stateDir, { recursive: true, force: true });
    if (!inTime) throw new Error(`The service did not stop within ${STOP_WITHIN_MS / 1000} s and was killed. Its log:\n${log}`);
  };

  const giveUpAt = performance.now() + READY_WITHIN_MS;
  while (!(await isReady(url))) {
    if (signal.aborted || !isRunning() || performance.now() > giveUpAt) {
      const why = signal.aborted ? "was interrupted" : isRunning() ? "did not become ready" : "ended before it was ready";
      await stop();
      throw new Error(`The service ${why}. Its log:\n${log}`);
    }
    await sleep(50);
  }
  return { url, port, stop };
}

async function isReady(url: string): Promise<boolean> {
  const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(5_000) }).catch(() => undefined);
  await response?.body?.cancel();
  return response?.status === 200;
}
