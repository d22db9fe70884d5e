/**
 * Builds dist/: the service as JavaScript with declarations, and the two files that the sandbox image takes.
 *
 *     src/**                               → dist/**                              tsc, incremental
 *     sandbox-image/runner/main.ts         → dist/sandbox-image/runner.cjs        esbuild, one file
 *     sandbox-image/runner/typescript.ts   → dist/sandbox-image/typescript.cjs    esbuild, one file, minified
 *
 * Each part is skipped when neither its sources nor its output have changed since it was made. The bundles are the same bytes
 * for the same sources and packages, wherever they are built: the image is labelled with their hash.
 */

import { spawn } from "node:child_process";
import { mkdir, readdir, readFile, readlink, rm, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import type { BuildOptions } from "esbuild";

import { filesBelow, hashFiles, writeWhole } from "./lib/file-stamp.ts";

const root = path.join(import.meta.dirname, "..");
const cache = path.join(root, ".cache/build");

const LOCK_WAIT_MS = 120_000;

interface Part {
  readonly name: "runner" | "typescript" | "service";
  /** Whether a path relative to dist/ is this part's; what it does not make any more is removed. */
  readonly output: (file: string) => boolean;
  /** Files and folders that decide what comes out. */
  readonly inputs: readonly string[];
  /** The files of dist/, by path relative to it. */
  make(): Promise<Map<string, Uint8Array>>;
}

class BuildError extends Error {
  override readonly name = "BuildError";
}

const isBundle = (file: string): boolean => file.startsWith("sandbox-image/");

const parts: readonly Part[] = [
  {
    name: "runner",
    output: (file) => file === "sandbox-image/runner.cjs",
    inputs: ["sandbox-image/runner", "src/bridge", "scripts/build.ts", "package-lock.json", "tsconfig.json"],
    make: () =>
      bundle("sandbox-image/runner/main.ts", "sandbox-image/runner.cjs", {
        minifyWhitespace: true,
        minifySyntax: true,
        // What a program's stack traces show of the runner looks like Node's own, which it is about as interesting as.
        footer: { js: "//# sourceURL=node:internal/code-mode/runner" },
        // Loaded when the first program needs it, from beside the runner in the image.
        external: ["/opt/code-mode/typescript.cjs"],
      }),
  },
  {
    name: "typescript",
    output: (file) => file === "sandbox-image/typescript.cjs",
    inputs: ["sandbox-image/runner/typescript.ts", "scripts/build.ts", "package-lock.json", "tsconfig.json"],
    make: () =>
      bundle("sandbox-image/runner/typescript.ts", "sandbox-image/typescript.cjs", { minifyWhitespace: true, minifySyntax: true }),
  },
  {
    name: "service",
    output: (file) => !isBundle(file),
    inputs: ["src", "scripts/build.ts", "package-lock.json", "tsconfig.json", "tsconfig.build.json"],
    make: compileService,
  },
];

async function bundle(entry: string, output: string, options: BuildOptions): Promise<Map<string, Uint8Array>> {
  const { build } = await import("esbuild");
  const result = await build({
    ...options,
    absWorkingDir: root,
    entryPoints: [entry],
    outfile: path.join("dist", output),
    bundle: true,
    write: false,
    platform: "node",
    target: "node22",
    format: "cjs",
    charset: "utf8",
    legalComments: "inline",
    logLevel: "silent",
    metafile: true,
  }).catch((cause: unknown) => {
    throw new BuildError(`${entry}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  });
  const notices = await licenceNotices(Object.keys(result.metafile.inputs));
  return new Map(result.outputFiles.map((file) => [output, Buffer.concat([file.contents, Buffer.from(notices)])]));
}

/** The licences of the packages that the files come from, as one comment: they ask to go where the code goes. */
async function licenceNotices(files: readonly string[]): Promise<string> {
  const folders = new Set(files.flatMap((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file) ?? []));
  const notices = await Promise.all(
    [...folders].sort().map(async (folder) => {
      const { name, version, license } = JSON.parse(await readFile(path.join(root, folder, "package.json"), "utf8")) as Record<
        string,
        string
      >;
      const file = (await readdir(path.join(root, folder))).sort().find((entry) => /^licen[cs]e/i.test(entry));
      const text = file === undefined ? "" : await readFile(path.join(root, folder, file), "utf8");
      return `${name ?? folder} ${version ?? ""} (${license ?? "see its licence"})\n\n${text.trim()}`;
    }),
  );
  if (notices.length === 0) return "";
  return `/*! This file contains the following packages.\n\n${notices.join("\n\n").replaceAll("*/", "* /")}\n*/\n`;
}

async function compileService(): Promise<Map<string, Uint8Array>> {
  const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  const emitted = path.join(cache, "service");
  // The compiler's memory of what it emitted is worth nothing without all that it emitted.
  const expected = (await filesBelow(path.join(root, "src")))
    .filter((file) => file.endsWith(".ts"))
    .map((file) => path.relative(path.join(root, "src"), file).replace(/\.ts$/, ""));
  const wanted = expected.flatMap((stem) => [`${stem}.js`, `${stem}.d.ts`]);
  const present = new Set((await filesBelow(emitted)).map((file) => path.relative(emitted, file)));
  if (!wanted.every((file) => present.has(file))) await rm(`${emitted}.tsbuildinfo`, { force: true });

  const { code, text } = await run(process.execPath, [tsc, "-p", "tsconfig.build.json", ...(process.stdout.isTTY ? ["--pretty"] : [])]);
  if (code !== 0) throw new BuildError(text.trim());
  return new Map(await Promise.all(wanted.map(async (file) => [file, await readFile(path.join(emitted, file))] as const)));
}

async function run(command: string, args: readonly string[]): Promise<{ code: number | null; text: string }> {
  const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk));
  const code = await new Promise<number | null>((resolve, reject) => child.once("error", reject).once("close", resolve));
  return { code, text: Buffer.concat(chunks).toString() };
}

/** The files of dist/ that belong to a part. */
async function outputOf(part: Part): Promise<string[]> {
  const dist = path.join(root, "dist");
  return (await filesBelow(dist)).map((file) => path.relative(dist, file)).filter((file) => part.output(file));
}

/** A hash over a part's sources and the output that is there: the same again means that there is nothing to do. */
async function stampOf(part: Part): Promise<string> {
  const output = (await outputOf(part)).map((file) => path.join("dist", file));
  return `${await hashFiles(root, part.inputs)} ${await hashFiles(root, output)} node ${process.versions.node}\n`;
}

async function buildPart(part: Part): Promise<void> {
  const stampFile = path.join(cache, `${part.name}.stamp`);
  const stamp = await readFile(stampFile, "utf8").catch(() => undefined);
  if (stamp === (await stampOf(part))) return;

  const startedAt = performance.now();
  const files = await part.make();
  const left = (await outputOf(part)).filter((file) => !files.has(file));
  await Promise.all(left.map((file) => rm(path.join(root, "dist", file))));
  await Promise.all([...files].map(([file, content]) => writeWhole(path.join(root, "dist", file), content)));
  await writeWhole(stampFile, Buffer.from(await stampOf(part)));
  console.log(`built ${part.name} in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
}

/** Two builds at once would remove each other's files. The lock is a link that names its holder; one whose holder is gone counts for nothing. */
async function withLock(body: () => Promise<void>): Promise<void> {
  const lock = path.join(cache, "lock");
  await mkdir(cache, { recursive: true });
  const giveUpAt = performance.now() + LOCK_WAIT_MS;
  while (!(await take(lock))) {
    const holder = Number(await readlink(lock).catch(() => ""));
    if (holder > 0 && !isAlive(holder)) await rm(lock, { force: true });
    else if (performance.now() > giveUpAt)
      throw new BuildError(`process ${holder} holds ${lock} for too long; remove it if that is no build`);
    else await sleep(50);
  }
  try {
    await body();
  } finally {
    await rm(lock, { force: true });
  }
}

async function take(lock: string): Promise<boolean> {
  try {
    await symlink(String(process.pid), lock);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

await withLock(async () => {
  const results = await Promise.allSettled(parts.map(buildPart));
  const failures = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
  for (const failure of failures) console.error(failure instanceof BuildError ? failure.message : failure);
  if (failures.length > 0) process.exitCode = 1;
});
