/** Server-sent events as the HTML standard says, from bytes, each within a cap. */

import { LineSplitter } from "./line-splitter.ts";

export interface ServerSentEvent {
  readonly type: string;
  readonly data: Buffer;
}

const NEWLINE = Buffer.from("\n");
const CARRIAGE_RETURN = 0x0d;
const LINE_FEED = 0x0a;

/** An event is longer than it may be. */
export class EventTooLongError extends Error {
  override readonly name = "EventTooLongError";
}

/** Hands out the events of a response's body as they come. Resolves when it ends, rejects when it breaks or with {@link EventTooLongError}. */
export async function readEvents(
  body: AsyncIterable<Uint8Array>,
  { maxEventBytes, onEvent }: { maxEventBytes: number; onEvent: (event: ServerSentEvent) => void },
): Promise<void> {
  let type = "";
  let data: Buffer[] = [];
  let bytes = 0;
  const tooLong = (): never => {
    throw new EventTooLongError(`the server sent an event of more than ${maxEventBytes} bytes`);
  };
  const splitter = new LineSplitter({
    maxLineBytes: maxEventBytes,
    onLongLine: tooLong,
    endless: { bytes: 0, onEndlessLine: tooLong },
    onLine: (line) => {
      if (line.byteLength === 0) {
        // Empty ones keep a connection open, or only number it.
        if (bytes > 1) onEvent({ type: type === "" ? "message" : type, data: Buffer.concat(data.slice(1)) });
        type = "";
        data = [];
        bytes = 0;
        return;
      }
      const colon = line.indexOf(":");
      const field = (colon < 0 ? line : line.subarray(0, colon)).toString("latin1");
      const value = colon < 0 ? Buffer.alloc(0) : line.subarray(line[colon + 1] === 0x20 ? colon + 2 : colon + 1);
      if (field === "event") type = value.toString("utf8");
      if (field !== "data") return;
      bytes += value.byteLength + 1;
      if (bytes > maxEventBytes) tooLong();
      // The line's bytes are the splitter's.
      data.push(NEWLINE, Buffer.from(value));
    },
  });
  const normalize = newlineNormalizer();
  for await (const chunk of body) splitter.push(normalize(chunk));
}

/** Lines may end in CR, LF or both; afterwards they end in LF. What is parted between two chunks is one end still. */
function newlineNormalizer(): (chunk: Uint8Array) => Buffer {
  let afterReturn = false;
  return (chunk) => {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    if (!afterReturn && !bytes.includes(CARRIAGE_RETURN)) return bytes;
    const normalized = Buffer.allocUnsafe(bytes.byteLength);
    let length = 0;
    for (const byte of bytes) {
      if (byte !== LINE_FEED || !afterReturn) normalized[length++] = byte === CARRIAGE_RETURN ? LINE_FEED : byte;
      afterReturn = byte === CARRIAGE_RETURN;
    }
    return normalized.subarray(0, length);
  };
}
