/** Hands on what a program prints, byte for byte, as it comes. A reader that goes away ends the program, as it would end any other. */

import type { Writable } from "node:stream";

import type { OutputSink } from "../../sandbox/ports.ts";

const NEWLINE = 0x0a;

interface LiveOutputOptions {
  readonly stdout: Writable;
  readonly stderr: Writable;
  /** Called once when stdout cannot be written any more. */
  readonly onBroken: (error: NodeJS.ErrnoException) => void;
}

/**
 * What a slow reader has not taken is kept: the sandbox's stream is never paused. A runtime's `outputCeilingBytes` bounds it.
 */
export class LiveOutput implements OutputSink {
  readonly #stdout: Writable;
  readonly #stderr: Writable;
  readonly #bytes = { stdout: 0, stderr: 0 };
  readonly #lastByte = { stdout: NEWLINE, stderr: NEWLINE };
  #broken = false;

  constructor({ onBroken, stderr, stdout }: LiveOutputOptions) {
    this.#stdout = stdout;
    this.#stderr = stderr;
    stdout.on("error", (error: NodeJS.ErrnoException) => {
      if (this.#broken) return;
      this.#broken = true;
      onBroken(error);
    });
    stderr.on("error", () => undefined);
  }

  stdout(chunk: Buffer): void {
    if (chunk.byteLength === 0) return;
    this.#bytes.stdout += chunk.byteLength;
    this.#lastByte.stdout = chunk.at(-1) ?? NEWLINE;
    if (!this.#broken) this.#stdout.write(chunk);
  }

  stderr(chunk: Buffer): void {
    if (chunk.byteLength === 0) return;
    this.#bytes.stderr += chunk.byteLength;
    this.#lastByte.stderr = chunk.at(-1) ?? NEWLINE;
    this.#stderr.write(chunk);
  }

  /** How much came of a stream. */
  bytes(stream: "stdout" | "stderr"): number {
    return this.#bytes[stream];
  }

  /** A line of its own on stdout, after what the program printed. */
  resultLine(text: string): void {
    if (!this.#broken) this.#stdout.write(this.#ownLine("stdout", text));
  }

  /** A line of its own on stderr. */
  note(text: string): void {
    this.#stderr.write(this.#ownLine("stderr", text));
  }

  #ownLine(stream: "stdout" | "stderr", text: string): string {
    const before = this.#lastByte[stream] === NEWLINE ? "" : "\n";
    this.#lastByte[stream] = NEWLINE;
    return `${before}${text}\n`;
  }

  /** Resolves when the reader has taken everything, or is gone. */
  async flushed(): Promise<void> {
    if (this.#broken) return;
    await new Promise<void>((resolve) => {
      this.#stdout.once("error", () => {
        resolve();
      });
      this.#stdout.write("", () => {
        resolve();
      });
    });
  }
}
