/**
 * What is found about one server while its entry is compiled. A mistake in the file is a problem, for which the service does not start.
 * What the environment lacks is not: that server is down, and the rest works.
 */

import type { VariableReader } from "../environment.ts";
import { SecretCollection } from "./secrets.ts";
import { fillIn } from "./variables.ts";
import type { Filled } from "./variables.ts";

interface EntryReportOptions {
  readonly server: string;
  /** As messages name it. */
  readonly file: string;
  /** As messages name it that callers of the service may read: without the folder. */
  readonly fileName: string;
  readonly variable: VariableReader;
  readonly problems: string[];
  readonly warnings: string[];
}

/** A value of the file with its variables filled in; `isWhole` where none was missing. */
export type FilledSetting = Pick<Filled, "text" | "hasVariable"> & { readonly isWhole: boolean };

export class EntryReport {
  readonly secrets = new SecretCollection();
  readonly #options: EntryReportOptions;
  readonly #lacks: string[] = [];

  constructor(options: EntryReportOptions) {
    this.#options = options;
  }

  /** Why there can be no connection with the environment as it is; `undefined` when nothing is missing. */
  get lack(): string | undefined {
    return this.#lacks.length === 0 ? undefined : this.#lacks.join("; ");
  }

  problem(setting: readonly string[], message: string): void {
    this.#options.problems.push(`${this.#options.file}: ${this.#place(setting)}: ${message}`);
  }

  warn(setting: readonly string[], message: string): void {
    this.#options.warnings.push(`${this.#options.file}: ${this.#place(setting)}: ${message}`);
  }

  fill(setting: readonly string[], text: string): FilledSetting {
    const filled = fillIn(text, this.#options.variable);
    if (filled === undefined) {
      this.problem(setting, 'has a "${" that begins no variable; write ${NAME} or ${NAME:-default}, or $${ for the text itself');
      return { text, hasVariable: false, isWhole: false };
    }
    for (const value of filled.values) this.secrets.add(value);
    for (const name of filled.missing) this.#lack(setting, `the variable ${name} is not set; set it in the environment of the service`);
    return { text: filled.text, hasVariable: filled.hasVariable, isWhole: filled.missing.length === 0 };
  }

  /** A value that cannot be used: where it came from a variable, the file is in order. */
  refuse(setting: readonly string[], { hasVariable }: FilledSetting, message: string): void {
    if (hasVariable) this.#lack(setting, `with its variables filled in, ${message}`);
    else this.problem(setting, message);
  }

  #lack(setting: readonly string[], message: string): void {
    this.#lacks.push(`${this.#options.fileName}: ${this.#place(setting)}: ${message}`);
  }

  readonly #place = (setting: readonly string[]): string => ["mcpServers", this.#options.server, ...setting].join(".");
}
