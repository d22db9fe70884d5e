/** A service of its own for a benchmark, in a folder that is gone after it. Needs the engine and the images of its runtimes. */

import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import { pino } from "pino";

import { startApp } from "../../src/app.ts";
import type { App } from "../../src/app.ts";
import { readEnvironment } from "../../src/config/environment.ts";

export interface BenchService {
  readonly url: string;
  close(): Promise<void>;
}

/** Starts a service with these runtimes, and with a workspace that has these folders. It logs nothing. */
export async function startService(runtimes: object, workspaceFolders: readonly string[] = []): Promise<BenchService> {
  const folder = await mkdtemp(path.join(tmpdir(), "cm-"));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  let app: App;
  try {
    await mkdir(path.join(folder, "config"));
    for (const name of ["", ...workspaceFolders]) await mkdir(path.join(folder, "workspace", name), { recursive: true });
    await writeFile(path.join(folder, "config", "runtimes.json"), JSON.stringify({ runtimes }));
    const env = { CODE_MODE_PORT: "0", CODE_MODE_STATE_DIR: path.join(folder, "state") };
    app = await startApp(readEnvironment({ env, cwd: folder }), pino({ level: "silent" }));
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    url: app.url,
    close: async () => {
      await app.close();
      await remove();
    },
  };
}

/** The smallest program there is, over HTTP. */
export async function executeSmallest({ url }: BenchService): Promise<void> {
  const response = await fetch(`${url}/v1/executions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"code":"return 1"}',
  });
  const { result } = (await response.json()) as { result: unknown };
  assert.equal(result, 1);
}

/** The service removes its container after the answer; what is measured next must not pay for it. */
export const untilRemoved = (ms = 150): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
