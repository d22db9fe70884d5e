/** JavaScript that tries things one after the other and tells what came of each, for a sandbox and for a bare Node alike. */

import { Readable } from "node:stream";

import { readTar } from "../../../src/sandbox/docker/image/read-tar.ts";
import { docker } from "../../helpers/service.ts";
import type { TestService } from "../../helpers/service.ts";
import { runContainer, sandboxImageId, unrestrictedOptions } from "./container.ts";

/** Name → body of an async function. What it returns is the outcome; what it throws is one too, by its code or message. */
export type Attempts = Readonly<Record<string, string>>;
export type Outcomes = Readonly<Record<string, string>>;

const NODE = "/usr/local/bin/node";

/** All of them together must fit into a pipe: the control writes them at once. */
const MAX_OUTCOME_CHARS = 16_000;

/** Names at hand in every attempt. */
const PRELUDE = `const fs = require("node:fs"), os = require("node:os"), path = require("node:path"), v8 = require("node:v8");
  const net = require("node:net"), cp = require("node:child_process"), { Worker } = require("node:worker_threads");
  const oneLine = (value) => String(value ?? "ok").trim().replace(/\\s+/g, " ").slice(0, ${MAX_OUTCOME_CHARS});
  const inWorker = (code, options = {}) => new Promise((resolve, reject) => {
    new Worker(code, { eval: true, ...options }).on("message", resolve).on("error", reject).on("exit", (code) => reject(new Error("exit " + code)));
  });`;

/** An expression: the promise of what came of each attempt. */
export function attemptsProgram(attempts: Attempts): string {
  const entries = Object.entries(attempts).map(([name, body]) => `${JSON.stringify(name)}: async () => {${body}\n}`);
  return `(async () => { ${PRELUDE} const outcomes = {};
    for (const [name, attempt] of Object.entries({${entries.join(",\n")}})) {
      try { outcomes[name] = oneLine(await attempt()); }
      catch (error) { outcomes[name] = oneLine(error?.code === undefined || error.code === "ERR_DLOPEN_FAILED" ? error?.message ?? error : error.code); }
    }
    return outcomes; })()`;
}

/** What comes of them in a sandbox of the service. */
export async function tryWithin(service: TestService, attempts: Attempts, request: object = {}): Promise<Outcomes> {
  return (await service.result(`return await ${attemptsProgram(attempts)};`, { timeoutMs: 30_000, ...request })) as Outcomes;
}

/**
 * What comes of them in a bare Node with nothing of ours in force: root, all capabilities, no filter, writable, nothing masked. In the
 * sandbox image of Node alone, or in another one.
 */
export async function tryWithout(
  attempts: Attempts,
  host: Parameters<typeof unrestrictedOptions>[2] = {},
  imageId?: string,
): Promise<Outcomes> {
  const program = `${attemptsProgram(attempts)}.then((outcomes) => { fs.writeSync(1, "\\n" + JSON.stringify(outcomes)); process.exit(); })`;
  const options = unrestrictedOptions([NODE, "-e", program], imageId ?? (await sandboxImageId()), host);
  const { exitCode, stderr, stdout } = await runContainer(options);
  if (exitCode !== 0) throw new Error(`the control ended with ${exitCode}: ${stderr}`);
  return JSON.parse(stdout.slice(stdout.lastIndexOf("\n{") + 1)) as Outcomes;
}

/** A file of the sandbox image, for example a library to bring along. */
export async function imageFile(file: string, imageId?: string): Promise<Buffer> {
  const container = await docker.createContainer({ Image: imageId ?? (await sandboxImageId()), Cmd: [NODE] });
  try {
    let found: Buffer | undefined;
    await readTar(Readable.from(await container.getArchive({ path: file })), async (_header, content) => {
      found = await content();
    });
    if (found !== undefined) return found;
    throw new Error(`the image has no ${file}`);
  } finally {
    await container.remove({ force: true, v: true });
  }
}
