/**
 * A unix socket in front of the engine's, so that a test can take the engine away and bring it back without touching it, or have the
 * engine understand something else than what was said.
 */

import { connect, createServer } from "node:net";
import type { Server, Socket } from "node:net";
import path from "node:path";
import { Transform } from "node:stream";

const ENGINE_SOCKET = "/var/run/docker.sock";

export class EngineProxy {
  readonly dockerHost: string;
  readonly #socketPath: string;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  /** What to replace in requests, by a text of the same length. */
  replace: readonly [from: string, to: string] | undefined;

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
      client.pipe(this.#rewriting()).pipe(engine).pipe(client);
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.#socketPath, resolve));
  }

  #rewriting(): Transform {
    return new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        const text = chunk.toString("latin1");
        done(null, Buffer.from(this.replace === undefined ? text : text.replaceAll(...this.replace), "latin1"));
      },
    });
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
