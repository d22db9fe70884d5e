/**
 * A server that is a process of its own: messages are lines on its input and output.
 *
 * Instead of the SDK's, which signals the direct child alone, resolves before it is dead, and holds whatever the child does not read.
 */

import { spawn } from "node:child_process";
import type { ChildProcessByStdio } from "node:child_process";
import type { Readable, Writable } from "node:stream";

import type { JSONRPCMessage } from "@modelcontextprotocol/sdk/types.js";

import { LineSplitter } from "./line-splitter.ts";
import { LostAnswer } from "./lost-answer.ts";
import { MAX_MESSAGE_BYTES } from "./peer-messages.ts";
import { PeerTransport } from "./peer-transport.ts";
import { endProcessGroup } from "./process-group.ts";
import type { EndingTimes } from "./process-group.ts";
import type { ServerStderr } from "./server-stderr.ts";

/** What may wait to be read by the server. */
const MAX_UNREAD_BYTES = 16 * 1024 * 1024;
/** What is dropped of a line that is too long, to find its end. */
const MAX_DROPPED_BYTES = 64 * 1024 * 1024;
/** A server that ends its output is about to exit, and how says more. */
const EXIT_WAIT_MS = 200;
/** What a process has to end well, before it is killed. */
export const ENDING_TIMES: EndingTimes = { inputMs: 300, termMs: 2000 };
const OPENING_BRACE = 0x7b;

export interface StdioTransportOptions {
  readonly command: string;
  readonly args: readonly string[];
  /** All of it. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string | undefined;
  readonly stderr: ServerStderr;
  readonly endingTimes: EndingTimes;
  /** Some processes will not die, or noise came. */
  readonly warn: (message: string) => void;
}

export class StdioTransport extends PeerTransport {
  readonly #options: StdioTransportOptions;
  readonly #output: LineSplitter;
  #child: ChildProcessByStdio<Writable, Readable, Readable> | undefined;
  #exitTimer: NodeJS.Timeout | undefined;
  #noiseSeen = false;
  #closing: Promise<void> | undefined;

  constructor(options: StdioTransportOptions) {
    super();
    this.#options = options;
    this.#output = new LineSplitter({
      maxLineBytes: MAX_MESSAGE_BYTES,
      onLine: (line) => {
        this.#line(line);
      },
      onLongLine: ({ end, start }) => {
        this.#unreadable(start, end, `more than ${MAX_MESSAGE_BYTES} bytes long`);
      },
      endless: {
        bytes: MAX_DROPPED_BYTES,
        onEndlessLine: () => {
          this.fail(`the server writes a line that does not end within ${MAX_DROPPED_BYTES} bytes`);
        },
      },
    });
  }

  /** Resolves when the process runs. Rejects when it cannot be started, with what to do. */
  start(): Promise<void> {
    const { args, command, cwd, env } = this.#options;
    return new Promise((resolve, reject) => {
      if (this.isOver()) {
        reject(new Error("closed before it was started"));
        return;
      }
      const child = spawn(command, args, { cwd, env, detached: true, shell: false, stdio: ["pipe", "pipe", "pipe"] });
      this.#child = child;
      child.once("spawn", resolve);
      child.on("error", (error: NodeJS.ErrnoException) => {
        const reason = spawnProblem(error, command, cwd);
        this.fail(reason);
        reject(new Error(reason, { cause: error }));
      });
      this.#listen(child);
    });
  }

  #listen(child: ChildProcessByStdio<Writable, Readable, Readable>): void {
    child.stdout.on("data", (chunk: Buffer) => {
      if (!this.isOver()) this.#output.push(chunk);
    });
    child.stderr.on("data", (chunk: Buffer) => {
      this.#options.stderr.push(chunk);
    });
    // A process that ends breaks its pipes; that it ended is what counts.
    for (const stream of [child.stdin, child.stdout, child.stderr]) stream.on("error", () => undefined);
    child.stdout.once("end", () => {
      this.#failAfterExit();
    });
    child.once("exit", () => {
      this.#failAfterExit();
    });
    child.once("close", () => {
      this.#options.stderr.end();
      this.fail(this.#endOf(child));
    });
  }

  /** Fails soon; at once when the process has exited and all its output is read, which what it started can put off for ever. */
  #failAfterExit(): void {
    this.#exitTimer ??= setTimeout(() => {
      if (this.#child !== undefined) this.fail(this.#endOf(this.#child));
    }, EXIT_WAIT_MS);
  }

  #endOf({ exitCode, signalCode }: ChildProcessByStdio<Writable, Readable, Readable>): string {
    const how =
      signalCode !== null ? `was ended by ${signalCode}` : exitCode !== null ? `exited with code ${exitCode}` : "closed its output";
    const { lastWords } = this.#options.stderr;
    return `the server's process ${how}${lastWords === "" ? "" : `; its last words: ${lastWords}`}`;
  }

  #line(line: Buffer): void {
    if (this.isOver() || line.byteLength === 0) return;
    if (line[0] !== OPENING_BRACE) {
      this.#noise();
      return;
    }
    const problem = this.messages.receive(line);
    if (problem !== undefined) this.#unreadable(line, line, problem);
  }

  #unreadable(start: Buffer, end: Buffer, problem: string): void {
    if (this.isOver() || this.loseUnread(start, end, problem)) return;
    this.fail(`the server wrote a message that is ${problem}`);
  }

  #noise(): void {
    this.messages.noise();
    if (this.#noiseSeen) return;
    this.#noiseSeen = true;
    this.#options.warn("the server writes lines to its output that are no messages: they are passed over");
  }

  /** Resolves at once: what the server does not read waits, up to a cap. */
  send(message: JSONRPCMessage): Promise<void> {
    const line = Buffer.from(`${JSON.stringify(message)}\n`);
    const { request } = this.messages.sending(message);
    const stdin = this.#child?.stdin;
    if (this.isOver() || stdin === undefined) {
      if (request !== undefined) this.messages.lose(request, new LostAnswer("TOOL_UNAVAILABLE", "the connection is closed"));
      return Promise.resolve();
    }
    if (stdin.writableLength + line.byteLength > MAX_UNREAD_BYTES)
      this.fail(`the server does not read its input: more than ${MAX_UNREAD_BYTES} bytes would wait for it`);
    else stdin.write(line);
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.finish(new LostAnswer("CONNECTION_LOST", "the connection was closed"));
    return this.#closing ?? Promise.resolve();
  }

  protected override release(): void {
    clearTimeout(this.#exitTimer);
    this.#closing ??= this.#endGroup();
  }

  async #endGroup(): Promise<void> {
    const child = this.#child;
    if (child?.pid === undefined) return;
    child.stdin.end();
    if (!(await endProcessGroup(child.pid, this.#options.endingTimes)))
      this.#options.warn("some processes of the server do not die, not even of SIGKILL");
    // What left the group may hold the pipes open; nobody reads them any more.
    for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
  }
}

function spawnProblem(error: NodeJS.ErrnoException, command: string, cwd: string | undefined): string {
  if (error.code === "ENOENT")
    return cwd === undefined
      ? `command not found: ${command}; install it, or write its full path as "command"`
      : `command not found: ${command}, or there is no folder ${cwd}; install the one, or make the other`;
  if (error.code === "EACCES") return `command cannot be run: ${command}; it must be executable for the service's user`;
  return `command cannot be started: ${command}: ${error.message}`;
}
