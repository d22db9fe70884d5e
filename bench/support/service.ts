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

interface Extras {
  readonly workspaceFolders?: readonly string[];
  readonly mcpServers?: object;
}

/** Starts a service with these runtimes. It logs nothing. */
export async function startService(runtimes: object, { mcpServers = {}, workspaceFolders = [] }: Extras = {}): Promise<BenchService> {
  const folder = await mkdtemp(path.join(tmpdir(), "cm-"));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  let app: App;
  try {
    await mkdir(path.join(folder, "config"));
    for (const name of ["", ...workspaceFolders]) await mkdir(path.join(folder, "workspace", name), { recursive: true });
    await writeFile(path.join(folder, "config", "runtimes.json"), JSON.stringify({ runtimes }));
    await writeFile(path.join(folder, "config", "mcp-servers.json"), JSON.stringify({ mcpServers }));
    const env = {
      CODE_MODE_PORT: "0",
      CODE_MODE_STATE_DIR: path.join(folder, "state"),
      CODE_MODE_AUDIT_KEY_FILE: path.join(folder, "audit-key", "audit.key"),
    };
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

/** The result of a program, over HTTP. */
export async function execute({ url }: BenchService, code: string): Promise<unknown> {
  const response = await fetch(`${url}/v1/executions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ code }),
  });
  const text = await response.text();
  const { result, status } = JSON.parse(text) as { result: unknown; status?: string };
  assert.equal(status, "completed", text);
  return result;
}

/** The smallest program there is. */
export async function executeSmallest(service: BenchService): Promise<void> {
  assert.equal(await execute(service, "return 1"), 1);
}

/** The service removes its container after the answer; what is measured next must not pay for it. */
export const untilRemoved = (ms = 150): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
