/**
 * Which name a program's word stands for: a server's or a tool's own name, an alias, or either of them as an identifier.
 *
 * All look-ups are in maps: a name such as `__proto__` is a name like any other. A word stands for one name only, and the first of these
 * that claims it has it: names, names as identifiers, aliases, aliases as identifiers; within each the order in which they come. So an
 * alias never hides a name, and what a program writes means the same in `server.word(…)` and in `callTool("server", "word", …)`.
 */

import { identifierOf } from "./identifiers.ts";

/** A name or alias that does not stand for what one would expect, since another was there first. */
export interface NameCollision {
  readonly of: string;
  readonly word: string;
  readonly takenBy: string;
}

interface NameEntry {
  /** The identifier of the name itself, unless another has it. */
  identifier: string | undefined;
  /** Every word that stands for the name. */
  readonly words: string[];
}

export interface NamesOptions {
  readonly names: Iterable<string>;
  /** From another name to one of `names`. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** Words that no identifier may be. */
  readonly taken: ReadonlySet<string>;
}

export class Names {
  readonly collisions: readonly NameCollision[];
  /** Aliases of names that are not there. */
  readonly lostAliases: readonly (readonly [alias: string, name: string])[];
  readonly #byWord = new Map<string, string>();
  readonly #entries = new Map<string, NameEntry>();
  readonly #taken: ReadonlySet<string>;

  constructor({ aliases = {}, names, taken }: NamesOptions) {
    this.#taken = taken;
    for (const name of names) this.#entries.set(name, { identifier: undefined, words: [] });
    this.lostAliases = Object.entries(aliases).filter(([, name]) => !this.#entries.has(name));
    this.collisions = [...this.#addNames(), ...this.#addAliases(aliases)];
  }

  get all(): readonly string[] {
    return [...this.#entries.keys()];
  }

  /** The name that the word stands for. */
  resolve(word: string): string | undefined {
    return this.#byWord.get(word);
  }

  /** The identifier of the name itself; `undefined` where another name has it. */
  identifier(name: string): string | undefined {
    return this.#entries.get(name)?.identifier;
  }

  /** Every word that stands for the name, its own first. */
  wordsFor(name: string): readonly string[] {
    return this.#entries.get(name)?.words ?? [];
  }

  /** Those of {@link wordsFor} that a program can write as an identifier. */
  identifiersFor(name: string): readonly string[] {
    return this.wordsFor(name).filter((word) => identifierOf(word, this.#taken) === word);
  }

  #addNames(): NameCollision[] {
    for (const name of this.#entries.keys()) this.#claim(name, name);
    const collisions: NameCollision[] = [];
    for (const [name, entry] of this.#entries) {
      const identifier = identifierOf(name, this.#taken);
      const collision = this.#claim(identifier, name);
      if (collision === undefined) entry.identifier = identifier;
      else collisions.push(collision);
    }
    return collisions;
  }

  #addAliases(aliases: Readonly<Record<string, string>>): NameCollision[] {
    const known = Object.entries(aliases).filter(([, name]) => this.#entries.has(name));
    const claims = known.map(([alias, name]) => this.#claim(alias, name));
    const good = known.filter((_, index) => claims[index] === undefined);
    claims.push(...good.map(([alias, name]) => this.#claim(identifierOf(alias, this.#taken), name)));
    return claims.filter((claim) => claim !== undefined);
  }

  /** Has the word stand for the name. */
  #claim(word: string, name: string): NameCollision | undefined {
    const holder = this.#byWord.get(word);
    if (holder !== undefined) return holder === name ? undefined : { of: name, word, takenBy: holder };
    this.#byWord.set(word, name);
    this.#entries.get(name)?.words.push(word);
    return undefined;
  }
}
