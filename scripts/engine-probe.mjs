/**
 * Asks the Docker engine for a sign of life, where the service would look for it: DOCKER_HOST, or the socket that is usual.
 *
 * Needs neither Docker's command line nor any package. Exits 0 when an engine answers; else prints why not, in one word:
 *
 *     absent       nothing is there, or nothing listens
 *     denied       it is there, and this user may not use it
 *     silent       it took the connection and gave no good answer in time
 *     unsupported  DOCKER_HOST is of a kind that the service cannot use
 */

import { get } from "node:http";

const ANSWER_WITHIN_MS = 10_000;
const REASONS = { ENOENT: "absent", ECONNREFUSED: "absent", ENOTFOUND: "absent", EACCES: "denied", EPERM: "denied" };

/** How to reach the engine, as options of a request. */
function target(address) {
  if (address.startsWith("unix://")) return { socketPath: address.slice("unix://".length) };
  if (!address.startsWith("tcp://") || !URL.canParse(address)) return undefined;
  const { hostname, port } = new URL(address);
  return { host: hostname.replace(/^\[|\]$/g, ""), port: port === "" ? 2375 : Number(port) };
}

function report(reason) {
  console.log(reason);
  process.exitCode = 1;
}

const options = target(process.env.DOCKER_HOST || "unix:///var/run/docker.sock");
if (options === undefined) {
  report("unsupported");
} else {
  const request = get({ ...options, path: "/_ping", agent: false, signal: AbortSignal.timeout(ANSWER_WITHIN_MS) }, (response) => {
    response.resume();
    if (response.statusCode !== 200) report("silent");
  });
  request.once("error", (error) => report(REASONS[error.code] ?? "silent"));
}
