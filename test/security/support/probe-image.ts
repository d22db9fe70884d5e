/**
 * The sandbox image with the probe in it: attacks in native code, compiled here, which no sandbox image brings. Built once for all
 * files of a run, and removed at its end.
 */

import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

import { readEngineMessages } from "../../../src/sandbox/docker/image/engine-messages.ts";
import { FIRST_GROUP } from "../../../src/sandbox/docker/image/executable-groups.ts";
import { packContext } from "../../../src/sandbox/docker/image/image-entries.ts";
import { docker, makeTempFolder } from "../../helpers/service.ts";
import { sandboxImageId } from "./container.ts";

const SOURCES = path.join(import.meta.dirname, "probe");

/** Where the probe is in its image. Everybody can read the first, nobody but root the second, like the runtime. */
export const PROBE = "/usr/local/bin/probe";
export const UNREADABLE_PROBE = "/usr/local/bin/probe-unreadable";
/** Like a command of an image: nobody but root and its group can execute it, and nobody but root read it. */
const MASKED_PROBE = "/usr/local/bin/probe-masked";
export const MASKED_GROUP = FIRST_GROUP;

const tag = `code-mode-probe:${randomBytes(6).toString("hex")}`;
let built: Promise<string> | undefined;
let compiled: Promise<Buffer> | undefined;

// One for the whole run: this module is loaded outside of any suite.
after(async () => {
  const id = await built?.catch(() => undefined);
  if (id !== undefined) await docker.getImage(tag).remove({ force: true });
});

/** The id of the probe's image. */
export const probeImageId = (): Promise<string> => (built ??= build());

/** The probe as a program. */
export const probeProgram = (): Promise<Buffer> => (compiled ??= compile());

/** The numbers of this machine's system calls, by name, as far as its headers know them. */
export async function systemCallNumbers(): Promise<Map<string, number>> {
  const macros = await cc(["-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"]);
  return new Map([...macros.matchAll(/^#define __NR_(\w+) (\d+)$/gm)].map(([, name, number]) => [name!, Number(number)]));
}

async function build(): Promise<string> {
  const content = await probeProgram();
  const context = await packContext(Buffer.from(`FROM ${await sandboxImageId()}\nADD rootfs.tar /\n`), [
    { type: "file", path: PROBE.slice(1), mode: 0o755, content },
    { type: "file", path: UNREADABLE_PROBE.slice(1), mode: 0o711, content },
    { type: "file", path: MASKED_PROBE.slice(1), mode: 0o710, gid: MASKED_GROUP, content },
  ]);
  await readEngineMessages(await docker.buildImage(context, { t: tag, rm: true, forcerm: true, version: "1" }));
  return (await docker.getImage(tag).inspect()).Id;
}

async function compile(): Promise<Buffer> {
  const folder = await makeTempFolder();
  try {
    const output = path.join(folder, "probe");
    const sources = (await readdir(SOURCES)).filter((name) => name.endsWith(".c")).map((name) => path.join(SOURCES, name));
    await cc(["-static", "-O1", "-Wall", "-pthread", "-o", output, ...sources]);
    return await readFile(output);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function cc(args: readonly string[]): Promise<string> {
  try {
    return (await promisify(execFile)("cc", args, { maxBuffer: 2 ** 24 })).stdout;
  } catch (error) {
    const problem = (error as NodeJS.ErrnoException).code === "ENOENT" ? "there is none" : (error as Error).message;
    throw new Error(
      `The security tests need a C compiler, "cc", with a static C library and the kernel's headers (on Debian: apt install gcc libc6-dev): ${problem}`,
      { cause: error },
    );
  }
}
