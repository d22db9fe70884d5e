/**
 * The keys of a running service: takes changes of the keys file by itself, and never opens up.
 *
 * The file is looked at every second. One that cannot be used changes nothing and is logged once; one that is gone takes its keys
 * along. Once there have been keys, no keys means that nobody gets in.
 */

import { stat } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";

import type { Logger } from "pino";

import type { ApiKey } from "../domain/caller.ts";
import { StartupError } from "../domain/errors.ts";
import { loadKeys } from "./keys.ts";
import type { KeySettings, LoadedKeys } from "./keys.ts";

const POLL_MS = 1000;
/** A file that was changed this short a time ago may change again without a new time of change: its clock is coarse. */
const SETTLED_MS = 2000;
const MISSING = "missing";

interface KeyRingOptions {
  readonly settings: KeySettings;
  readonly logger: Logger;
  readonly pollMs?: number;
}

export class KeyRing {
  readonly #settings: KeySettings;
  readonly #logger: Logger;
  readonly #pollMs: number;
  #keys: readonly ApiKey[] | undefined;
  /** What the file was like when it was last read; `undefined` when it must be read again. */
  #seen: string | undefined;
  /** The file was not there at the last look, though it was before. */
  #isMissed = false;
  /** What was last said about the file, so that it is said once. */
  #said: string;
  #looking: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #onChange: (keys: readonly ApiKey[]) => void = () => undefined;

  private constructor({ logger, pollMs = POLL_MS, settings }: KeyRingOptions, { hasFile, keys, warnings }: LoadedKeys) {
    this.#settings = settings;
    this.#logger = logger;
    this.#pollMs = pollMs;
    this.#keys = keys;
    this.#said = warnings.join("; ");
    this.#seen = hasFile ? undefined : MISSING;
    for (const warning of warnings) logger.warn(warning);
    if (keys?.length === 0) logger.warn(`there is no key in ${settings.keysFile}: nobody gets in. Make one with \`code-mode keys add\``);
  }

  /** Reads the keys. Throws a {@link StartupError} that lists what to mend. */
  static async open(options: KeyRingOptions): Promise<KeyRing> {
    return new KeyRing(options, await loadKeys(options.settings));
  }

  /** `undefined` where keys were never set up; from the first key on it is a list for good. */
  get keys(): readonly ApiKey[] | undefined {
    return this.#keys;
  }

  /** Begins to look for changes. `onChange` gets all keys after each. */
  watch(onChange: (keys: readonly ApiKey[]) => void): void {
    this.#onChange = onChange;
    this.#schedule();
  }

  /** Reads the file now. Throws what is wrong with it, and changes nothing then. */
  reload(): Promise<void> {
    return this.#look({ force: true });
  }

  /** Stops looking. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#looking;
  }

  #schedule(): void {
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => {
      void this.#look({ force: false }).then(() => {
        this.#schedule();
      });
    }, this.#pollMs);
    this.#timer.unref();
  }

  /** One look after the other. */
  #look(options: { force: boolean }): Promise<void> {
    const look = this.#looking.then(() => this.#lookNow(options));
    this.#looking = look.catch(() => undefined);
    return look;
  }

  async #lookNow({ force }: { force: boolean }): Promise<void> {
    if (this.#isClosed) return;
    const { identity, isSettled } = await identify(this.#settings.keysFile);
    const isUnchanged = identity === this.#seen;
    // An editor may take the file away for a moment. Gone is what is gone twice, unless somebody says to look.
    const isMissed = identity === MISSING && !isUnchanged && !this.#isMissed && !force;
    this.#isMissed = isMissed;
    if (isMissed) return;
    this.#seen = isSettled ? identity : undefined;
    if (isUnchanged && !force) return;
    try {
      // A file that is gone is no error here, though the environment may name it.
      const loaded = await loadKeys({ ...this.#settings, keysFileIsNamed: false });
      // It came or went meanwhile: the next look says which.
      if (loaded.hasFile === (identity === MISSING)) this.#seen = undefined;
      else this.#take(loaded);
    } catch (error) {
      const problems = error instanceof StartupError ? error.problems : [String(error)];
      this.#say(problems.join("; "), (text) => {
        if (!force) this.#logger.error({ problems }, `the keys stay as they were, since the keys file cannot be used: ${text}`);
      });
      if (force) throw error;
    }
  }

  #take({ hasFile, keys, warnings }: LoadedKeys): void {
    this.#say(warnings.join("; "), () => {
      for (const warning of warnings) this.#logger.warn(warning);
    });
    const before = this.#keys;
    if (keys === undefined && before === undefined) return;
    const after = keys ?? [];
    const change = compare(before ?? [], after);
    if (before !== undefined && Object.values(change).every((names) => names.length === 0)) return;
    this.#keys = after;
    if (before === undefined) this.#logger.warn("the service has keys from now on: whoever comes without one is refused");
    if (!hasFile) this.#logger.warn(`${this.#settings.keysFile} is gone, and its keys with it`);
    this.#logger.info(change, `the keys have changed; there are ${after.length}`);
    if (after.length === 0) this.#logger.warn("there is no key: nobody gets in");
    this.#onChange(after);
  }

  /** Says something about the file, unless it was the last that was said. */
  #say(text: string, say: (text: string) => void): void {
    if (text !== this.#said && text !== "") say(text);
    this.#said = text;
  }
}

/** The names of the keys that came, went, and are another now. */
function compare(before: readonly ApiKey[], after: readonly ApiKey[]): { added: string[]; revoked: string[]; changed: string[] } {
  const earlier = new Map(before.map((key) => [key.name, key]));
  const later = new Set(after.map(({ name }) => name));
  return {
    added: after.filter(({ name }) => !earlier.has(name)).map(({ name }) => name),
    revoked: before.filter(({ name }) => !later.has(name)).map(({ name }) => name),
    changed: after.filter((key) => earlier.has(key.name) && !isDeepStrictEqual(key, earlier.get(key.name))).map(({ name }) => name),
  };
}

/** What tells whether a file has changed. */
async function identify(file: string): Promise<{ identity: string; isSettled: boolean }> {
  try {
    const { ctimeMs, ctimeNs, dev, ino, mode, mtimeNs, size, uid } = await stat(file, { bigint: true });
    return { identity: [dev, ino, size, mtimeNs, ctimeNs, mode, uid].join(), isSettled: Date.now() - Number(ctimeMs) > SETTLED_MS };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return { identity: code === "ENOENT" ? MISSING : String(code), isSettled: true };
  }
}
