/**
 * Runs one of the host's commands to its end, without a shell and without a terminal.
 */

import { spawn } from "node:child_process";
import { messageOf } from "./image-error.ts";

/** A slow line needs minutes for Node's package. apt waits for ever in some cases, a full disk among them. */
const TIMEOUT_MS = 15 * 60_000;

/** Enough of a command's complaints for an error message. */
const MAX_COMPLAINT_CHARS = 2_000;

export class CommandError extends Error {
  override readonly name = "CommandError";
  /** The command is not installed. */
  readonly missing: boolean;
  /** What it wrote to its standard output. */
  readonly output: string;

  constructor(message: string, options: { missing: boolean; output?: string; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.missing = options.missing;
    this.output = options.output ?? "";
  }
}

export interface CommandOptions {
  readonly directory?: string;
  readonly signal?: AbortSignal | undefined;
}

/** What the command wrote to its standard output. Rejects with a {@link CommandError} when it is missing, fails or is aborted. */
export function runCommand(command: string, args: readonly string[], options: CommandOptions = {}): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ["ignore", "pipe", "pipe"],
      cwd: options.directory,
      signal: options.signal,
      killSignal: "SIGKILL",
    });
    // Not the option of `spawn`, whose timer goes on when there is no such command.
    const timer = setTimeout(() => child.kill("SIGKILL"), TIMEOUT_MS);
    const output: Buffer[] = [];
    let complaints = "";
    let failure: Error | undefined;

    child.stdout.on("data", (chunk: Buffer) => output.push(chunk));
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      complaints = (complaints + text).slice(-MAX_COMPLAINT_CHARS);
    });
    child.on("error", (error) => (failure ??= error));
    // Not "exit": only now has everything that holds its output ended, so that nothing writes into a directory that is about to go.
    child.on("close", (code, killedBy) => {
      clearTimeout(timer);
      if (failure !== undefined) {
        const missing = "code" in failure && failure.code === "ENOENT";
        const message = missing ? `\`${command}\` is not installed` : `\`${command}\`: ${messageOf(failure)}`;
        reject(new CommandError(message, { missing, cause: failure }));
      } else if (code !== 0) {
        const ending = code === null ? `was ended by ${String(killedBy)} (it has ${TIMEOUT_MS / 60_000} minutes)` : `failed with ${code}`;
        const message = `\`${command} ${args[0] ?? ""}\` ${ending}: ${complaints.trim()}`;
        reject(new CommandError(message, { missing: false, output: Buffer.concat(output).toString("utf8") }));
      } else {
        resolve(Buffer.concat(output));
      }
    });
  });
}
