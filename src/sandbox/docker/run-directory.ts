/**
 * The service's directory on the host: one folder for the instance, one below it for each execution.
 *
 *     <state>/run/<instance>/           0700: no other user of the host gets further
 *       alive.sock                      answers as long as the instance lives
 *       etc/{hosts,resolv.conf}         mounted into every sandbox
 *       <execution>/sockets/            0755, tools.sock 0666: reachable from inside, by the mount
 *       <execution>/workspace/          0755: input files and mount points; written by the service only
 *       <execution>/staging-<n>         a link to where its files wait that are to be kept, see persist/staging.ts
 *
 * A sandbox can write nowhere in here, so removing it as a tree is safe.
 */

import { chmod, mkdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { Server } from "node:net";
import path from "node:path";

import { StartupError } from "../../domain/errors.ts";

/** `sun_path` of a unix socket, less its terminator. */
const MAX_SOCKET_PATH_BYTES = 107;
const LONGEST_SOCKET_NAME = `/${"exe_".padEnd(24, "x")}/sockets/tools.sock`;

const ETC_FILES = {
  hosts: "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 sandbox\n",
  // Nobody listens there without a network, so a lookup fails at once.
  "resolv.conf": "nameserver 127.0.0.53\noptions attempts:1 timeout:1\n",
} as const;

/** The folders of one execution. */
export interface ExecutionDirectory {
  readonly root: string;
  readonly sockets: string;
  readonly workspace: string;
}

export class RunDirectory {
  readonly root: string;
  readonly #alive: Server;

  private constructor(root: string, alive: Server) {
    this.root = root;
    this.#alive = alive;
  }

  /** Makes the instance's directory and starts to answer on its liveness socket. Throws a {@link StartupError}. */
  static async open(stateDir: string, instanceId: string): Promise<RunDirectory> {
    const root = path.join(runRoot(stateDir), instanceId);
    const excess = excessBytes(stateDir, instanceId);
    if (excess > 0) {
      throw new StartupError([
        `environment: CODE_MODE_STATE_DIR: ${stateDir} is ${excess} bytes too long for the unix sockets in it; choose a shorter path`,
      ]);
    }
    try {
      await mkdir(path.dirname(root), { recursive: true, mode: 0o700 });
      await mkdir(path.join(root, "etc"), { recursive: true });
      // mkdir's mode is subject to the umask.
      await chmod(path.dirname(root), 0o700);
      await chmod(root, 0o700);
      for (const [name, text] of Object.entries(ETC_FILES)) {
        await writeFile(path.join(root, "etc", name), text);
        await chmod(path.join(root, "etc", name), 0o444);
      }
      await chmod(path.join(root, "etc"), 0o755);
      const alive = createServer((socket) => {
        socket.on("error", () => undefined);
        socket.end();
      });
      await listen(alive, path.join(root, ALIVE_SOCKET));
      return new RunDirectory(root, alive);
    } catch (error) {
      throw new StartupError([`environment: CODE_MODE_STATE_DIR: ${stateDir} cannot be used: ${(error as Error).message}`], error);
    }
  }

  /** Makes the folders of one execution. */
  async createExecution(executionId: string): Promise<ExecutionDirectory> {
    const root = path.join(this.root, executionId);
    const directory = { root, sockets: path.join(root, "sockets"), workspace: path.join(root, "workspace") };
    for (const folder of [root, directory.sockets, directory.workspace]) {
      await mkdir(folder);
      await chmod(folder, 0o755);
    }
    return directory;
  }

  async removeExecution(executionId: string): Promise<void> {
    await rm(path.join(this.root, executionId), { recursive: true, force: true });
  }

  /** The files for /etc, as host paths. */
  get etcFiles(): readonly { readonly source: string; readonly target: string }[] {
    return Object.keys(ETC_FILES).map((name) => ({ source: path.join(this.root, "etc", name), target: `/etc/${name}` }));
  }

  /** Stops answering and removes the instance's directory. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#alive.close(() => {
        resolve();
      });
    });
    await rm(this.root, { recursive: true, force: true });
  }
}

/** By how many bytes a state directory is too long for the sockets of an instance in it; 0 or less when it fits. */
export function excessBytes(stateDir: string, instanceId: string): number {
  return Buffer.byteLength(path.join(runRoot(stateDir), instanceId) + LONGEST_SOCKET_NAME) - MAX_SOCKET_PATH_BYTES;
}

/** The folder of all instances that share a state directory. */
export const runRoot = (stateDir: string): string => path.join(stateDir, "run");

export const ALIVE_SOCKET = "alive.sock";

/** Listens on a unix socket. */
export function listen(server: Server, socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(socketPath, () => {
      server.off("error", reject);
      resolve();
    });
  });
}
