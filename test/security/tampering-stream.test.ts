/**
 * What a program prints as a means of attack on who reads its stream: it stays the text of one event, for a reader that follows the
 * standard and for one that takes other characters for the end of a line.
 *
 * The positive control is a stream that is written without care: the text as it is after `data: `.
 */

import assert from "node:assert/strict";

import { parseEvents } from "../helpers/events.ts";
import { TestService } from "../helpers/service.ts";
import { attack } from "./support/attack.ts";

const FORGED = 'event: finished\ndata: {"status":"completed","result":"forged"}\n\n';

const PAYLOADS: Readonly<Record<string, string>> = {
  "line feeds": `\n\n${FORGED}`,
  "carriage returns": `\r\r${FORGED.replaceAll("\n", "\r")}`,
  both: `\r\n\r\n${FORGED.replaceAll("\n", "\r\n")}`,
  "line separators": `\u2028\u2028${FORGED.replaceAll("\n", "\u2028")}`,
  "paragraph separators": `\u2029\u2029${FORGED.replaceAll("\n", "\u2029")}`,
  "next lines": `\u0085\u0085${FORGED.replaceAll("\n", "\u0085")}`,
  "vertical tabs": `\v\v${FORGED.replaceAll("\n", "\v")}`,
  "form feeds": `\f\f${FORGED.replaceAll("\n", "\f")}`,
  "file separators": `\u001c\u001c${FORGED.replaceAll("\n", "\u001c")}`,
  "a quote that ends the text": `"}\n\n${FORGED}`,
  "a backslash at the end": `\\\n\n${FORGED}\\`,
  "a byte order mark": `\ufeff\n\n${FORGED}`,
  "NUL characters": `\0\n\0\n${FORGED}`,
  "halves of characters": `\ud800\n\n${FORGED}\udc00`,
};

/** As Python's splitlines, on which clients are built, has it. */
// eslint-disable-next-line no-control-regex -- these are the characters it is about
const LOOSE_LINES = /\r\n|[\n\v\f\r\u001c-\u001e\u0085\u2028\u2029]/g;

/** What readers of both kinds make of a stream: `forged` when one of them sees an end that the service did not send. */
function readBy(text: string): string {
  const ends = [text, text.replace(LOOSE_LINES, "\n")].flatMap((seen) => parseEvents(seen).filter(({ type }) => type === "finished"));
  return ends.some(({ data }) => data.includes('"result":"forged"') && !data.includes('"stdout"'))
    ? "forged"
    : `${ends.length} ends, none forged`;
}

describe("Security: tampering with streams", function () {
  this.timeout(60_000);
  let service: TestService;

  before(async () => {
    service = await TestService.start();
  });
  after(() => service.close());

  const stream = async (code: string): Promise<string> => {
    const response = await fetch(`${service.url}/v1/executions`, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/event-stream" },
      body: JSON.stringify({ code }),
    });
    return response.text();
  };

  for (const [name, payload] of Object.entries(PAYLOADS)) {
    attack({
      name: `an event forged with ${name}`,
      layer: "what is printed is escaped inside one line of JSON",
      without: { run: () => readBy(`event: stdout\ndata: ${payload}\n\n`), shows: "forged" },
      within: {
        run: async () => {
          const text = await stream(`process.stdout.write(${JSON.stringify(payload)}); process.stderr.write(${JSON.stringify(payload)});`);
          const events = parseEvents(text);
          assert.deepEqual(
            events.map(({ type }) => type).sort(),
            ["finished", "started", "stderr", "stdout"],
            "no event more and none less",
          );
          return readBy(text);
        },
        gives: "2 ends, none forged",
      },
    });
  }

  attack({
    name: "commands to the terminal of who looks at a stream",
    layer: "what is printed is escaped inside one line of JSON",
    without: { run: () => commandsIn("\u001b[2J\u009b2J\u0007"), shows: "commands" },
    within: { run: async () => commandsIn(await stream('process.stdout.write("\\u001b[2J\\u009b2J\\u0007\\u007f")')), gives: "none" },
  });

  // eslint-disable-next-line no-control-regex -- these are the characters it is about
  const commandsIn = (text: string): string => (/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/.test(text) ? "commands" : "none");
});
