/**
 * A unix socket in front of the engine's, so that a test can take the engine away and bring it back without touching it, or change
 * what a container is created with.
 */

import { connect, createServer } from "node:net";
import type { Server, Socket } from "node:net";
import path from "node:path";
import { Transform } from "node:stream";

import type Docker from "dockerode";

const ENGINE_SOCKET = "/var/run/docker.sock";

export type ContainerChange = (options: Docker.ContainerCreateOptions & { HostConfig: Docker.HostConfig }) => void;

export class EngineProxy {
  readonly dockerHost: string;
  readonly #socketPath: string;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  /** Changes what every container of now on is created with, in place. */
  change: ContainerChange | undefined;

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
      if (this.change === undefined) client.pipe(engine).pipe(client);
      else client.pipe(changingCreate(this.change)).pipe(engine).pipe(client);
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

/**
 * Passes a connection's bytes on, and changes the body of its request if that creates a container. The service makes one request a
 * connection.
 */
function changingCreate(change: ContainerChange): Transform {
  let pending: Buffer | undefined = Buffer.alloc(0);
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (pending === undefined) {
        done(null, chunk);
        return;
      }
      pending = Buffer.concat([pending, chunk]);
      const request = rewrite(pending, change);
      if (request !== undefined) pending = undefined;
      done(null, request);
    },
  });
}

/** The request with its body changed; as it is when it creates no container; `undefined` while it is not complete. */
function rewrite(request: Buffer, change: ContainerChange): Buffer | undefined {
  const end = request.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const head = request.toString("latin1", 0, end);
  if (!/^POST \S*\/containers\/create/.test(head)) return request;
  const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1]);
  const body = request.subarray(end + 4);
  if (!(body.length >= length)) return undefined;
  const options = JSON.parse(body.toString("utf8")) as Parameters<ContainerChange>[0];
  change(options);
  const changed = Buffer.from(JSON.stringify(options));
  const newHead = head.replace(/^(content-length:) \d+$/im, `$1 ${changed.length}`);
  return Buffer.concat([Buffer.from(`${newHead}\r\n\r\n`, "latin1"), changed]);
}
