/** HTTP by hand, for clients that read as they like. */

import { connect } from "node:net";
import type { Socket } from "node:net";

/** Sends a request whose answer nobody reads until the socket is resumed. */
export async function openPaused(
  url: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  body?: string,
): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname).pause();
  socket.on("error", () => undefined);
  await new Promise((resolve) => socket.once("connect", resolve));
  const all = { Host: "localhost", ...(body === undefined ? {} : { "Content-Length": String(Buffer.byteLength(body)) }), ...headers };
  const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`${body === undefined ? "GET" : "POST"} ${path} HTTP/1.1\r\n${head.join("")}\r\n${body ?? ""}`);
  return socket;
}

/** Opens connections that begin a request whose headers never end; a hundred at a time, each in `sockets` at once. */
export async function openUnfinished(
  url: string,
  count: number,
  { onClose, sockets }: { readonly onClose: () => void; readonly sockets: Socket[] },
): Promise<void> {
  const { hostname, port } = new URL(url);
  const open = (): Promise<void> =>
    new Promise((resolve) => {
      const socket = connect(Number(port), hostname, () => {
        socket.resume().write("GET /livez HTTP/1.1\r\nX: ");
        resolve();
      });
      sockets.push(socket);
      socket.on("error", () => undefined);
      socket.on("close", onClose);
    });
  for (let opened = 0; opened < count; opened += 100) await Promise.all(Array.from({ length: 100 }, open));
}
