/**
 * Which Host and Origin headers are served.
 *
 * A web page can make a browser send requests to a service on the same machine, under a name that its owner points at 127.0.0.1. So
 * the name in `Host` must be one of this service's own, and a request that comes from a page (it bears `Origin`) must come from one
 * of those names too. Checked on every address and before anything else.
 */

import type { RequestHandler } from "express";

import { AppError } from "../domain/errors.ts";

const LOOPBACK_NAMES = ["localhost", "127.0.0.1", "[::1]"];

/** `allowedHosts` are further names, as those of a reverse proxy. */
export function checkOrigin(allowedHosts: readonly string[]): RequestHandler {
  const names = new Set([...LOOPBACK_NAMES, ...allowedHosts.map((name) => name.toLowerCase())]);
  return (request, _response, next) => {
    const local = request.socket.localAddress?.replace(/^::ffff:/, "");
    const isOwn = (name: string | undefined): boolean =>
      name !== undefined && (names.has(name) || name === local || name === `[${local ?? ""}]`);
    const { host, origin } = request.headers;
    if (!isOwn(hostName(`http://${host ?? ""}`))) {
      throw new AppError({
        code: "FORBIDDEN",
        message: "The Host header names another host. Add the name to CODE_MODE_ALLOWED_HOSTS if it is this service's.",
      });
    }
    if (origin !== undefined && !isOwn(hostName(origin))) {
      throw new AppError({
        code: "FORBIDDEN",
        message: "The Origin header names another site. Add its name to CODE_MODE_ALLOWED_HOSTS to let its pages use this service.",
      });
    }
    next();
  };
}

/** The name in a URL that has nothing but scheme, name and port; `undefined` for anything else. */
function hostName(url: string): string | undefined {
  if (!URL.canParse(url)) return undefined;
  const { hostname, hash, password, pathname, search, username } = new URL(url);
  return username === "" && password === "" && pathname === "/" && search === "" && hash === "" ? hostname.toLowerCase() : undefined;
}
