/** JSON for readers that stumble over more than JSON forbids: terminals, logs, clients that part lines in their own way. */

/** What JSON leaves as it is: the end of a line for some, a command for a terminal. */
const HARMFUL = /[\u007f-\u009f\u2028\u2029]/g;

/** The same value, with no control character of any kind in its text. It stands inside of texts only, where it can be escaped one by one. */
export const escapeControls = (json: string): string =>
  json.replace(HARMFUL, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
