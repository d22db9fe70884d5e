/**
 * Tells a response that its connection is closed.
 *
 * Node does so for the response that is being sent. Those of further requests on the same connection wait for it, and hear of nothing: what
 * rests on their `close` would be held for ever, slots and memory above all.
 */

import type { Socket } from "node:net";

import type { RequestHandler, Response } from "express";

export function closeWithConnection(): RequestHandler {
  const openOn = new WeakMap<Socket, Set<Response>>();

  /** The responses of a connection that are not over. */
  function responsesOn(socket: Socket): Set<Response> {
    const known = openOn.get(socket);
    if (known !== undefined) return known;
    const open = new Set<Response>();
    openOn.set(socket, open);
    socket.once("close", () => {
      for (const response of open) {
        if (response.socket !== null) continue;
        response.destroy();
        response.emit("close");
      }
    });
    return open;
  }

  return (request, response, next) => {
    const open = responsesOn(request.socket);
    open.add(response);
    response.once("close", () => open.delete(response));
    next();
  };
}
