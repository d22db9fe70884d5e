/** `code-mode audit`: looks through the audit log for what was removed, changed or added. */

import type { Command } from "commander";

import { readAuditKey } from "../audit/audit-key.ts";
import { verifyAuditLog } from "../audit/verify.ts";
import type { Tampering } from "../audit/verify.ts";
import { readEnvironment } from "../config/environment.ts";
import { printable } from "../domain/escaped-json.ts";
import { StartupError } from "../domain/errors.ts";
import type { Endings } from "./endings.ts";
import { COMMON_EXIT_CODES, teach } from "./help.ts";

interface VerifyOptions {
  readonly json?: boolean;
  readonly dir?: string;
  readonly keyFile?: string;
}

const CHANGED_EXIT_CODE = 1;

export function addAudit(program: Command, { onExit }: Endings): void {
  const audit = program.command("audit").description("the audit log");
  teach(audit, {
    examples: [{ command: "code-mode audit verify", what: "see whether the log is whole and as it was written" }],
    more: "docs/audit.md says what is in it. A running service answers GET /v1/audit.",
  });
  const verify = audit
    .command("verify")
    .description("look for lines that were removed, changed, moved or added; changes nothing")
    .option("--json", "print one JSON object")
    .option("--dir <folder>", "folder of the log; default: that of the configuration")
    .option("--key-file <file>", "the key that seals it, with the anchors beside it; default: that of the configuration")
    .action(async (options: VerifyOptions) => {
      onExit(await verifyLog(options));
    });
  teach(verify, {
    examples: [
      { command: "code-mode audit verify", what: "while a service writes to it, too" },
      { command: "code-mode audit verify --json | jq .problems", what: "for a script" },
      { command: "code-mode audit verify --dir /mnt/copy/audit --key-file /mnt/copy/audit.key", what: "a log of another machine" },
    ],
    exitCodes: [[0, "it is whole"], [CHANGED_EXIT_CODE, "it is not; each place is named"], ...COMMON_EXIT_CODES],
    environment: ["CODE_MODE_AUDIT_DIR", "CODE_MODE_AUDIT_KEY_FILE", "CODE_MODE_STATE_DIR"],
  });
}

async function verifyLog({ dir, json = false, keyFile }: VerifyOptions): Promise<number> {
  const { audit } = readEnvironment();
  const folder = dir ?? audit.folder;
  const file = keyFile ?? audit.keyFile;
  const key = await readAuditKey(file);
  const found = await verifyAuditLog({ folder, keyFile: file, key }).catch((error: unknown) => {
    throw new StartupError([`${folder}: cannot be read: ${(error as Error).message}`], error);
  });
  const { chains, lines, problems } = found;
  if (json) process.stdout.write(`${JSON.stringify(found, undefined, 2)}\n`);
  else {
    for (const problem of problems) process.stdout.write(`${describe(problem)}\n`);
    const whole = `${lines} lines in ${chains} ${chains === 1 ? "chain" : "chains"}`;
    process.stdout.write(problems.length === 0 ? `${whole}: whole, and as they were written\n` : `${whole}: NOT as they were written\n`);
  }
  return problems.length === 0 ? 0 : CHANGED_EXIT_CODE;
}

/** `audit-1-000000000001.jsonl:12: line 12 of chain 1: it was changed` */
function describe({ chain, file, line, problem, seq }: Tampering): string {
  const where = file === undefined ? "" : `${printable(file)}${line === undefined ? "" : `:${line}`}: `;
  return `${where}${seq === undefined ? "" : `line ${seq} of `}chain ${chain}: ${problem}`;
}
