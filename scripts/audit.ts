/**
 * `make audit`: attacks the sandbox, audits the dependencies, asks the doctor, and writes what came of it to docs/security-report.md.
 *
 * Fails when an attack did, a package has a known hole, or the doctor says `fail`. What could not be checked is written down as that.
 */

import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { arch, homedir, release, tmpdir } from "node:os";
import path from "node:path";

import { z } from "zod";

const root = path.join(import.meta.dirname, "..");
const reportFile = path.join(root, "docs/security-report.md");

/** A line of the record that test/security/support/attack.ts keeps. */
const attackSchema = z.strictObject({
  area: z.string(),
  attack: z.string(),
  layer: z.string(),
  without: z.string(),
  expected: z.string(),
  within: z.string(),
  passed: z.boolean(),
});
type Attack = z.infer<typeof attackSchema>;

const doctorSchema = z.looseObject({
  checks: z.array(
    z.looseObject({
      title: z.string(),
      status: z.enum(["ok", "warn", "fail", "info"]),
      found: z.string(),
      advisories: z.array(z.looseObject({ id: z.string() })).default([]),
    }),
  ),
});
const npmAuditSchema = z.looseObject({
  metadata: z.looseObject({ vulnerabilities: z.record(z.string(), z.number()), dependencies: z.looseObject({ prod: z.number() }) }),
});
const npmErrorSchema = z.looseObject({ statusCode: z.number().optional(), error: z.looseObject({ summary: z.string() }).optional() });

interface Section {
  readonly title: string;
  readonly verdict: "passed" | "failed" | "not checked";
  readonly lines: readonly string[];
}

/** Runs a command; its output is shown as it comes, or kept. */
async function run(command: string, args: readonly string[], env: Record<string, string> = {}, show = false): Promise<string> {
  const child = spawn(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", show ? "inherit" : "ignore"],
  });
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    if (show) process.stdout.write(chunk);
  });
  await new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
  return Buffer.concat(chunks).toString();
}

const verdict = (passed: boolean): Section["verdict"] => (passed ? "passed" : "failed");
/** Without what a distribution or a host adds to it. */
const kernel = release().replace(/-.*/, "");

/** Text in a cell of a table: one line, no mark-up, no control characters, no folder of this machine. */
const cell = (text: string): string =>
  text
    .replaceAll(root, ".")
    .replaceAll(homedir(), "~")
    .replaceAll(/\/[\w./-]*\bcm-\w{0,6}/g, "<test>")
    .replaceAll(release(), kernel)
    .replaceAll(/\s+/g, " ")
    .replaceAll(/\p{Cc}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`)
    .replaceAll("|", "\\|")
    .replaceAll(/([*_`<>[\]])/g, "\\$1")
    .trim();
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] =>
  [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`);

async function attackSection(): Promise<Section> {
  const folder = await mkdtemp(path.join(tmpdir(), "code-mode-audit-"));
  const record = path.join(folder, "attacks.jsonl");
  try {
    await writeFile(record, "");
    const output = await run("npx", ["mocha", "test/security/**/*.test.ts"], { SECURITY_RECORD: record }, true);
    const [, passes = "0", failures = "?"] = /(\d+) passed, (\d+) failed[^\n]*\s*$/.exec(output) ?? [];
    const attacks = (await readFile(record, "utf8"))
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => attackSchema.parse(JSON.parse(line)));
    const areas = [...new Set(attacks.map(({ area }) => area))];
    return {
      title: "Attacks",
      verdict: verdict(failures === "0" && attacks.length > 0 && attacks.every(({ passed }) => passed)),
      lines: [
        `${passes} tests passed, ${failures} failed. Each attack below ran twice: where the defence is off, to show that it is real, and in a`,
        "sandbox. What cannot be shown on this machine says why.",
        ...areas.flatMap((area) => [
          "",
          `### ${area.replace(/^Security: /, "")}`,
          "",
          ...attackTable(attacks.filter((each) => each.area === area)),
        ]),
      ],
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const attackTable = (attacks: readonly Attack[]): string[] =>
  table(
    ["attack", "stopped by", "without", "in a sandbox", ""],
    attacks.map(({ attack, layer, passed, within, without }) => [
      ...[attack, layer, without, within].map(cell),
      passed ? "held" : "**failed**",
    ]),
  );

async function dependencySection(): Promise<Section> {
  const title = "Dependencies";
  const text = await run("npm", ["audit", "--json", "--omit=dev"]);
  const json: unknown = text === "" ? {} : JSON.parse(text);
  const audited = npmAuditSchema.safeParse(json);
  if (!audited.success) {
    const { statusCode } = npmErrorSchema.safeParse(json).data ?? {};
    const reason = statusCode === undefined ? "the registry did not answer" : `the registry answers audits with status ${statusCode}`;
    return { title, verdict: "not checked", lines: [`**Not checked:** ${reason}. Run \`npm audit --omit=dev\` where it does.`] };
  }
  const { dependencies, vulnerabilities } = audited.data.metadata;
  const found = Object.entries(vulnerabilities).filter(([severity, count]) => severity !== "total" && count > 0);
  const result = found.length === 0 ? "no known hole" : found.map(([severity, count]) => `${count} ${severity}`).join(", ");
  return {
    title,
    verdict: verdict(found.length === 0),
    lines: [`\`npm audit\` over ${dependencies.prod} packages that the service runs: ${result}.`],
  };
}

async function doctorSection(): Promise<Section> {
  const text = await run(process.execPath, [path.join(root, "dist/main.js"), "doctor", "--json"]);
  const { checks } = doctorSchema.parse(JSON.parse(text));
  return {
    title: "The machine",
    verdict: verdict(checks.every(({ status }) => status !== "fail")),
    lines: table(
      ["check", "", "found"],
      checks.map(({ advisories, found, status, title }) => [
        cell(title),
        status === "ok" || status === "info" ? status : `**${status}**`,
        cell([found, ...advisories.map(({ id }) => id)].join(", ")),
      ]),
    ),
  };
}

const { version } = z.looseObject({ version: z.string() }).parse(JSON.parse(await readFile(path.join(root, "package.json"), "utf8")));
const commit = (await run("git", ["rev-parse", "--short", "HEAD"]).catch(() => "")).trim();
const sections = [await attackSection(), await dependencySection(), await doctorSection()];
const report = [
  "# Security report",
  "",
  `Made by \`make audit\` on ${new Date().toISOString().slice(0, 10)}: Code Mode ${version}${commit === "" ? "" : ` (${commit})`}, Linux ${kernel} ${arch()}, Node ${process.version}.`,
  "",
  ...sections.map(({ title, verdict }) => `- ${title}: ${verdict === "passed" ? verdict : `**${verdict}**`}`),
  ...sections.flatMap(({ lines, title }) => ["", `## ${title}`, "", ...lines]),
  "",
].join("\n");
await writeFile(reportFile, report);
for (const { title, verdict } of sections) console.log(`${title}: ${verdict}`);
console.log("The report is docs/security-report.md.");
if (sections.some(({ verdict }) => verdict === "failed")) process.exitCode = 1;
