/**
 * Which modules a program may name in an import.
 *
 * A guard rail against mistakes, not a boundary: what a module could do is limited by the container. A program that is allowed
 * `module`, `vm`, `worker_threads` or `child_process`, or imports from a `data:` URL, can get around it.
 */

import { isBuiltin } from "node:module";

/** A module is not in the list. */
export class ModuleNotAllowedError extends Error {
  override readonly name = "Error";
  readonly code = "ERR_MODULE_NOT_ALLOWED";

  constructor(what: string, allowed: readonly string[]) {
    super(
      `${what} is not allowed here. Allowed: ${allowed.length === 0 ? "none" : allowed.join(", ")}. ` +
        "The setting is allowedModules of this runtime in config/runtimes.json.",
    );
  }
}

export class ModulePolicy {
  readonly #allowed: readonly string[];
  readonly #names: readonly string[];
  readonly #onRefusal: (what: string) => void;

  /** `onRefusal` is told what is refused, before the error is thrown. */
  constructor(allowed: readonly string[], onRefusal: (what: string) => void = () => undefined) {
    this.#allowed = allowed;
    this.#onRefusal = onRefusal;
    this.#names = allowed.map(withoutScheme);
  }

  get allowsAll(): boolean {
    return this.#names.includes("*");
  }

  /** Throws for a module that is not in the list. Files, `#imports` and URLs pass: they are no module names. */
  check(specifier: string): void {
    if (!isModuleName(specifier)) return;
    const name = withoutScheme(specifier);
    const isAllowed = this.allowsAll || this.#names.some((entry) => name === entry || name.startsWith(`${entry}/`));
    if (!isAllowed) throw this.refusal(name, `Module "${name}"`);
  }

  /** The error for `what`, as a program would name it; `sentence` begins the message. */
  refusal(what: string, sentence = what): ModuleNotAllowedError {
    this.#onRefusal(what);
    return new ModuleNotAllowedError(sentence, this.#allowed);
  }
}

/** True for `fs`, `node:fs/promises`, `lodash`, `@scope/name/part`; false for `./file.js`, `/file.js`, `#name` and other URLs. */
export function isModuleName(specifier: string): boolean {
  return isBuiltin(specifier) || specifier.startsWith("node:") || /^[^./#][^:]*$/.test(specifier);
}

function withoutScheme(name: string): string {
  return name.replace(/^node:/, "");
}
