/**
 * `npm run check`: runs every `check:…` script of package.json, side by side. One line for each, then what failed in full.
 *
 * Types and lint read across files, so a cache of lint results by file can be wrong: the linter is skipped only when nothing at
 * all has changed since it passed.
 */

import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import path from "node:path";

import { hashFiles, writeWhole } from "./lib/file-stamp.ts";

const root = path.join(import.meta.dirname, "..");
const lintStamp = path.join(root, ".cache/lint.stamp");
const lintInputs = ["src", "sandbox-image/runner", "test", "scripts", "bench", "examples"].concat([
  ".dependency-cruiser.cjs",
  ".mocharc.cjs",
  "eslint.config.js",
  "package-lock.json",
  "package.json",
  "tsconfig.json",
]);

async function runScript(name: string): Promise<{ passed: boolean; text: string }> {
  const child = spawn("npm", ["run", "--silent", name], { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk));
  const code = await new Promise<number | null>((resolve, reject) => child.once("error", reject).once("close", resolve));
  return { passed: code === 0, text: Buffer.concat(chunks).toString().trim() };
}

const { scripts } = JSON.parse(await readFile(path.join(root, "package.json"), "utf8")) as { scripts: Record<string, string> };
const names = Object.keys(scripts).filter((name) => name.startsWith("check:"));
const stamp = await hashFiles(root, lintInputs);
const lintIsCurrent = (await readFile(lintStamp, "utf8").catch(() => "")) === stamp;

const results = await Promise.all(
  names.map(async (name) => {
    const startedAt = performance.now();
    const outcome = name === "check:lint" && lintIsCurrent ? { passed: true, text: "" } : await runScript(name);
    return { name, ...outcome, seconds: ((performance.now() - startedAt) / 1000).toFixed(1) };
  }),
);

for (const { name, passed, seconds } of results) console.log(`${passed ? "ok    " : "FAILED"}  ${name} (${seconds} s)`);
for (const { name, passed, text } of results) if (!passed) console.error(`\n${name}\n${text}`);

if (results.some(({ name, passed }) => name === "check:lint" && passed)) await writeWhole(lintStamp, Buffer.from(stamp));
if (results.some(({ passed }) => !passed)) process.exitCode = 1;
