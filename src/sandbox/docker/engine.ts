/**
 * The connection to the Docker engine.
 *
 * Calls are never aborted: an aborted create leaves a container behind. They are awaited, for a bounded time, and what they made is
 * removed by its name, which the service chooses.
 */

import { Agent } from "node:http";

import Docker from "dockerode";
import { z } from "zod";

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
const isNotFound = (error: unknown): boolean => engineStatus(error) === 404;

/** True when a call failed before the engine had a chance to act on it. */
export function neverReached(error: unknown): boolean {
  const { code } = (error ?? {}) as NodeJS.ErrnoException;
  return code === "ECONNREFUSED" || code === "ENOENT" || code === "EACCES";
}

/** The connection to the engine failed, or broke. */
const CONNECTION_CODES: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ENOENT",
  "EACCES",
  "ECONNRESET",
  "EPIPE",
  "ENOTFOUND",
  "ETIMEDOUT",
]);

/** A failure to start a sandbox as an error of the API. The engine's own words go to the log with `cause`, not to the caller. */
export function sandboxUnavailable(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const status = engineStatus(error);
  const { code } = (error ?? {}) as NodeJS.ErrnoException;
  let message = "The sandbox could not be started; the service's log says why.";
  if (status === 404) message = 'The sandbox image is not there. Build it with "make sandbox-image" (or "code-mode image build").';
  else if (code !== undefined && CONNECTION_CODES.has(code)) {
    message = "The container engine does not answer. Start it, or check DOCKER_HOST and that this user may use it.";
  }
  return new AppError({ code: "SANDBOX_UNAVAILABLE", message, retryAfterSeconds: RETRY_AFTER_SECONDS, cause: error });
}

/** The engine took a container's configuration, but will not enforce all of it. */
class EngineWarningError extends Error {
  override readonly name = "EngineWarningError";
}

const createdSchema = z.object({ Id: z.string(), Warnings: z.array(z.string()).nullish() });

/**
 * Creates a container. What the engine only warns about (a limit that its kernel cannot enforce, say) is an
 * {@link EngineWarningError}; the container is there then, too. The client library has no way to these warnings.
 */
export async function createContainer(docker: Docker, name: string, options: Docker.ContainerCreateOptions): Promise<Docker.Container> {
  const answer = await new Promise<unknown>((resolve, reject) => {
    const call = {
      path: "/containers/create?",
      method: "POST",
      options: { _query: { name }, _body: options },
      statusCodes: { 201: true, 400: "bad parameter", 404: "no such image", 409: "name in use", 500: "server error" },
    };
    (docker.modem as Modem).dial(call, (error, data) => {
      if (error === null) resolve(data);
      else reject(error);
    });
  });
  const { Id: id, Warnings: warnings } = createdSchema.parse(answer);
  if (warnings !== null && warnings !== undefined && warnings.length > 0)
    throw new EngineWarningError(`the engine warns: ${warnings.join("; ")}`);
  return docker.getContainer(id);
}

/** The part of the client library's transport that is used directly. */
interface Modem {
  dial(call: object, callback: (error: Error | null, data: unknown) => void): void;
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
