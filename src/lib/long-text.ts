/**
 * A property with a long text that is made anew whenever it is read.
 *
 * The text of a file of a hundred megabytes is larger than the file, and making it takes a while. So what holds such a file keeps the
 * bytes; whoever sends the text takes it piece by piece with {@link longTextPieces}, and never has the whole of it.
 */

type Pieces = () => Iterable<string>;

const LONG_TEXT = Symbol("long text");

/** Adds the property to an object, which can have one of the kind. Read in the ordinary way it is the whole text. */
export function addLongText<T extends object, K extends string>(target: T, key: K, pieces: Pieces): T & Readonly<Record<K, string>> {
  Object.defineProperty(target, key, { get: () => [...pieces()].join(""), enumerable: true });
  Object.defineProperty(target, LONG_TEXT, { value: { key, pieces } });
  return target as T & Readonly<Record<K, string>>;
}

/** The pieces of the text, when `key` is such a property. No piece ends within a character. */
export function longTextPieces(target: object, key: string): Iterable<string> | undefined {
  const { [LONG_TEXT]: text } = target as { readonly [LONG_TEXT]?: { readonly key: string; readonly pieces: Pieces } };
  return text?.key === key ? text.pieces() : undefined;
}
