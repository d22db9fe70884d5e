/** The lines of a log file as its writer parts them: by nothing but `\n`. */

import { createReadStream } from "node:fs";

export interface FileLine {
  readonly text: string;
  /** False for what follows the last end of line. */
  readonly isWhole: boolean;
}

const LINE_FEED = 0x0a;
/** Far more than the longest line: what goes on after that is no line, whatever it is. */
const MAX_LINE_BYTES = 2 ** 20;

/** Of a file that grows, what there is when its end is reached. A line that never ends is given in pieces. */
export async function* readLines(path: string): AsyncGenerator<FileLine> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 }) as AsyncIterable<Buffer>) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let start = 0;
    for (let end = bytes.indexOf(LINE_FEED); end >= 0; end = bytes.indexOf(LINE_FEED, start)) {
      yield { text: bytes.toString("utf8", start, end), isWhole: true };
      start = end + 1;
    }
    rest = bytes.subarray(start);
    if (rest.length <= MAX_LINE_BYTES) continue;
    yield { text: rest.toString("utf8"), isWhole: true };
    rest = Buffer.alloc(0);
  }
  if (rest.length > 0) yield { text: rest.toString("utf8"), isWhole: false };
}
