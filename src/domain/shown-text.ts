/** Foreign text, such as a name of a server's or a program's making, as one line of a message can show it. */

import { printable } from "./escaped-json.ts";

/** In printable characters, and cut after `maxChars`. */
export const clipped = (text: string, maxChars = 128): string =>
  printable((text.length > maxChars ? `${text.slice(0, maxChars)}…` : text).toWellFormed());

/** The same within quotation marks. */
export const quoted = (text: string, maxChars?: number): string => `"${clipped(text, maxChars).replaceAll('"', '\\"')}"`;
