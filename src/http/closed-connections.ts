/**
 * Tells every response that it is over, also one that waits for its turn.
 *
 * Node does so for the response that is being sent. Those of further requests on the same connection wait for it, and hear of nothing: what
 * rests on their `close` would be held for ever, slots and memory above all.
 */

import type { Socket } from "node:net";

import type { RequestHandler, Response } from "express";

/** Gives up an answer, and with it its connection. */
export function abandon(response: Response): void {
  const isWaiting = response.socket === null;
  response.destroy();
  if (isWaiting) response.emit("close");
}

export function closeWithConnection(): RequestHandler {
  const openOn = new WeakMap<Socket, Set<Response>>();

  /** The responses of a connection that are not over. */
  function responsesOn(socket: Socket): Set<Response> {
    const known = openOn.get(socket);
    if (known !== undefined) return known;
    const open = new Set<Response>();
    openOn.set(socket, open);
    socket.once("close", () => {
      for (const response of open) if (response.socket === null) abandon(response);
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
