// Tries three things that a program in the sandbox must not be able to do. The first argument is the port of Code Mode itself.

import { spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";

async function attempt(what: string, action: () => unknown): Promise<{ what: string; refused: string | null }> {
  try {
    await action();
    return { what, refused: null };
  } catch (error) {
    return { what, refused: error instanceof Error ? error.message : String(error) };
  }
}

function reach(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve();
    });
    socket.once("error", reject);
  });
}

function start(command: string): void {
  const { error } = spawnSync(command, ["--version"]);
  if (error !== undefined) throw error;
}

export default [
  await attempt("read the host's password hashes", () => readFile("/etc/shadow", "utf8")),
  await attempt("connect to a service of the host", () => reach(Number(process.argv[2]))),
  await attempt("start another process", () => start(process.execPath)),
];
