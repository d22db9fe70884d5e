/** The report as text for people: grouped, a line for each check, and below each problem what to do. */

import { printable } from "../domain/escaped-json.ts";
import { GROUPS } from "./check.ts";
import type { CheckStatus } from "./check.ts";
import type { Report } from "./report.ts";

const MARK: Readonly<Record<CheckStatus, string>> = { ok: "✓", info: "·", warn: "!", fail: "✗" };
const COLOUR: Readonly<Record<CheckStatus, number>> = { ok: 32, info: 36, warn: 33, fail: 31 };
const DIM = 2;
const BOLD = 1;
const INDENT = " ".repeat(6);

export function renderReport(report: Report, options: { colour: boolean }): string {
  const paint = (code: number, text: string): string => (options.colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const width = Math.max(...report.checks.map(({ title }) => title.length));
  const lines: string[] = [];
  for (const group of GROUPS) {
    const checks = report.checks.filter(({ id }) => id.startsWith(`${group}.`));
    if (checks.length > 0) lines.push(paint(BOLD, group));
    for (const { advisories = [], details = [], found, remedy, status, title } of checks) {
      lines.push(`  ${paint(COLOUR[status], MARK[status])} ${title.padEnd(width)}  ${printable(found)}`);
      for (const detail of details) lines.push(`${INDENT}${printable(detail)}`);
      for (const { component, fixed, here, id, summary, version } of advisories) {
        lines.push(`${INDENT}${id} (${component} ${printable(version)}; fixed in ${fixed.join(", ")}): ${summary}`);
        lines.push(`${INDENT}  ${paint(DIM, here)}`);
      }
      if (remedy !== undefined) lines.push(`${INDENT}→ ${printable(remedy)}`);
    }
    if (checks.length > 0) lines.push("");
  }
  return `${[...lines, totalsOf(report)].join("\n")}\n`;
}

function totalsOf({ summary }: Report): string {
  const { fail = 0, info = 0, ok = 0, warn = 0 } = summary;
  const counted = (count: number, word: string): string => `${count} ${word}${count === 1 ? "" : "s"}`;
  return [`${ok} ok`, counted(info, "note"), counted(warn, "warning"), counted(fail, "failure")].join(", ");
}
