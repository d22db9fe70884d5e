/** A unix socket in front of the engine's, so that a test can take the engine away and bring it back without touching it. */

import { connect, createServer } from "node:net";
import type { Server, Socket } from "node:net";
import path from "node:path";

const ENGINE_SOCKET = "/var/run/docker.sock";

export class EngineProxy {
  readonly dockerHost: string;
  readonly #socketPath: string;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;

  constructor(folder: string) {
    this.#socketPath = path.join(folder, "engine.sock");
    this.dockerHost = `unix://${this.#socketPath}`;
  }

  async open(): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (client) => {
      const engine = connect({ path: process.env["DOCKER_HOST"]?.replace(/^unix:\/\//, "") ?? ENGINE_SOCKET, allowHalfOpen: true });
      for (const [socket, other] of [
        [client, engine],
        [engine, client],
      ] as const) {
        this.#sockets.add(socket);
        socket.on("error", () => other.destroy());
        socket.on("close", () => {
          this.#sockets.delete(socket);
          other.destroy();
        });
      }
      client.pipe(engine).pipe(client);
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.#socketPath, resolve));
  }

  /** Cuts every connection and refuses new ones. */
  async close(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = new Promise<void>((resolve) => {
      server.close(() => {
        resolve();
      });
    });
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}
