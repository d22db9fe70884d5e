/**
 * The runner: the program that is PID 1 in a sandbox, and runs one program of a caller.
 *
 *     runner.cjs [--socket <path>] [--workspace <path>]
 *
 * It connects to the service, says that it is ready, and gets warm while it waits. Nothing here protects anything: the boundary is the
 * container, and the service treats all that comes from here as hostile.
 */

import process from "node:process";

import type { ExecuteParams, InspectParams, InspectResult, PROTOCOL_VERSION, SANDBOX_PATHS } from "../../src/bridge/protocol.ts";
import { Connection } from "./connection.ts";
import type { IncomingMessage } from "./connection.ts";
import { lstatSync, now } from "./intrinsics.ts";
import type { Program } from "./program.ts";

const PROTOCOL: typeof PROTOCOL_VERSION = 2;
const WORKSPACE: (typeof SANDBOX_PATHS)["workspace"] = "/workspace";
const TOOLS_SOCKET: (typeof SANDBOX_PATHS)["toolsSocket"] = "/run/code-mode/tools.sock";

const SEND_TIMEOUT_MS = 10_000;

function main(): void {
  const workspace = option("--workspace") ?? WORKSPACE;
  let program: Promise<Program> | undefined;
  let running: Program | undefined;

  const handle = (message: IncomingMessage, connection: Connection): void => {
    const { id, method, params } = message;
    if (running !== undefined) running.receive(message);
    else if (method === "inspect") connection.send({ id, result: inspect(params as InspectParams) }, now() + SEND_TIMEOUT_MS);
    else if (method === "execute") {
      void program?.then((loaded) => {
        running = loaded;
        loaded.run(params as ExecuteParams);
      });
    }
  };

  new Connection(option("--socket") ?? TOOLS_SOCKET, {
    connected: (connection) => {
      process.chdir(workspace);
      connection.send({ method: "ready", params: { protocol: PROTOCOL, node: process.version } }, now() + SEND_TIMEOUT_MS);
      // The rest is loaded after that: containers wait for their program, not the other way round.
      program = load(connection, workspace);
    },
    message: handle,
    closed: () => process.exit(),
  });
}

async function load(connection: Connection, workspace: string): Promise<Program> {
  const { Program } = await import("./program.ts");
  const program = new Program({ connection, workspace, runnerDirectory: __dirname });
  void program.warmUp();
  return program;
}

/** What the mounted paths are, for the service to compare with what it meant to mount. */
function inspect({ paths }: InspectParams): InspectResult {
  const identities = paths.map((path) => {
    try {
      const { dev, ino } = lstatSync(path, { bigint: true });
      return { device: String(dev), inode: String(ino) };
    } catch (error) {
      return { error: error instanceof Error ? error.message.slice(0, 256) : "unknown" };
    }
  });
  return { identities };
}

function option(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}

main();
