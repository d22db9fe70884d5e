/**
 * The connection to the Docker engine.
 *
 * Calls are never aborted: an aborted create leaves a container behind. They are awaited, for a bounded time, and what they made is
 * removed by its name, which the service chooses.
 */

import { Agent } from "node:http";

import Docker from "dockerode";

import { AppError, StartupError } from "../../domain/errors.ts";

export const DEFAULT_ENGINE_SOCKET = "/var/run/docker.sock";

/** Seconds after which an engine that is away is worth another try. */
const RETRY_AFTER_SECONDS = 5;

/** A client for the engine at `dockerHost` (`unix:///path`, `tcp://host:port`); the default is the local engine's socket. */
export function connectEngine(dockerHost = `unix://${DEFAULT_ENGINE_SOCKET}`): Docker {
  // A connection for each call: one that is kept would fail the first call after a restart of the engine, whatever that call did.
  const connection = { agent: new Agent({ keepAlive: false }) };
  const url = URL.canParse(dockerHost) ? new URL(dockerHost) : undefined;
  if (url?.protocol === "unix:") return new Docker({ ...connection, socketPath: url.pathname });
  if (url?.protocol === "tcp:" || url?.protocol === "http:") {
    return new Docker({ ...connection, protocol: "http", host: url.hostname, port: Number(url.port === "" ? 2375 : url.port) });
  }
  throw new StartupError([`environment: DOCKER_HOST: expected unix:///path or tcp://host:port, got ${JSON.stringify(dockerHost)}`]);
}

/** The HTTP status of an engine's answer, or `undefined` when it was not the engine that answered. */
export function engineStatus(error: unknown): number | undefined {
  const status = (error as { statusCode?: unknown } | undefined)?.statusCode;
  return typeof status === "number" ? status : undefined;
}

/** True when what was asked for is not there. */
export const isNotFound = (error: unknown): boolean => engineStatus(error) === 404;

/** True when a call failed before the engine had a chance to act on it. */
export function neverReached(error: unknown): boolean {
  const { code } = (error ?? {}) as NodeJS.ErrnoException;
  return code === "ECONNREFUSED" || code === "ENOENT" || code === "EACCES";
}

/** The engine's failure as an error of the API. The engine's own words go to the log with `cause`, not to the caller. */
export function sandboxUnavailable(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const status = engineStatus(error);
  let message = "The container engine does not answer. Start it, or check DOCKER_HOST and that this user may use it.";
  if (status === 404) message = 'The sandbox image is not there. Build it with "make sandbox-image" (or "code-mode image build").';
  else if (status !== undefined) message = "The container engine could not start the sandbox; the service's log says why.";
  return new AppError({ code: "SANDBOX_UNAVAILABLE", message, retryAfterSeconds: RETRY_AFTER_SECONDS, cause: error });
}

/** Removes a container, running or not, with its anonymous volumes. One that is gone, or going, is fine. */
export async function removeContainer(docker: Docker, name: string): Promise<void> {
  try {
    await docker.getContainer(name).remove({ force: true, v: true });
  } catch (error) {
    // 409: somebody else is removing it at this moment.
    if (!isNotFound(error) && engineStatus(error) !== 409) throw error;
  }
}
