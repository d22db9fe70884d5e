/** Text for readers that stumble over some characters: terminals, logs, clients that part lines in their own way. */

/** What JSON leaves as it is: the end of a line for some, a command for a terminal. */
const HARMFUL = /[\u007f-\u009f\u2028\u2029]/g;

/** The same value, with no control character of any kind in its text. It stands inside of texts only, where it can be escaped one by one. */
export const escapeControls = (json: string): string =>
  json.replace(HARMFUL, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** A text of strangers, with what would write to a terminal, or hide in it, as escapes: control and format characters, ends of lines. */
export const printable = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
