/**
 * The service: builds every object by hand, in the order in which they need each other, and proves the sandbox before it listens.
 * With compose.ts, which holds what needs no HTTP, the composition root: nothing else wires.
 */

import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";

import type { Logger } from "pino";

import { compose } from "./compose.ts";
import type { Composition } from "./compose.ts";
import { refuseToListen } from "./config/environment.ts";
import type { ServiceConfig } from "./config/environment.ts";
import { KeyRing } from "./config/key-ring.ts";
import { loadRuntimes } from "./config/runtimes-file.ts";
import type { LoadedRuntimes } from "./config/runtimes-file.ts";
import { Configuration } from "./configuration.ts";
import type { ReloadOutcome } from "./configuration.ts";
import { findHoles, openHoles } from "./doctor/known-holes.ts";
import type { ApiKey } from "./domain/caller.ts";
import { StartupError } from "./domain/errors.ts";
import type { RuntimeManager } from "./execution/runtime-manager.ts";
import { Authenticator } from "./http/authentication.ts";
import { createListener } from "./http/listener.ts";
import { createHttpApp } from "./http/server.ts";
import { CleanupStack } from "./lib/cleanup-stack.ts";
import { within } from "./lib/deadline.ts";
import { packageVersion } from "./lib/package-info.ts";
import { Health } from "./observability/health.ts";
import type { HealthDeps } from "./observability/health.ts";
import type { Sandboxes } from "./sandbox/docker/open-sandboxes.ts";
import { readServers, reloadServers } from "./tool-servers.ts";

export interface App {
  /** Where the service listens, as a URL. */
  readonly url: string;
  readonly manager: RuntimeManager;
  /**
   * Takes the configuration as its files are now. What was accepted before keeps its policy; a file that cannot be used changes nothing,
   * and the outcome and the log say why. Never rejects.
   */
  reload(): Promise<ReloadOutcome>;
  /** Stops listening, waits for what runs, removes everything. Idempotent. */
  close(): Promise<void>;
}

/** A client that sends its headers slower than this is cut off. */
const LAST_ANSWERS_MS = 2000;

/** Builds and starts the service. Throws a {@link StartupError} that says what to mend; nothing is left behind then. */
export async function startApp(config: ServiceConfig, logger: Logger): Promise<App> {
  const cleanup = new CleanupStack({
    onError: (step, error) => {
      logger.error({ step, err: error }, "shutdown step failed");
    },
  });
  try {
    return await build(config, logger, cleanup);
  } catch (error) {
    await cleanup.close();
    throw error;
  }
}

async function build(config: ServiceConfig, logger: Logger, cleanup: CleanupStack): Promise<App> {
  const keyRing = await KeyRing.open({ settings: config, logger });
  const refusal = refuseToListen(config.host, keyRing.keys !== undefined);
  if (refusal !== undefined) throw new StartupError([refusal]);
  const runtimes = await readRuntimes(config, logger);
  const definitions = await readServers(config, runtimes, logger);

  const { admission, audit, manager, sandboxes, servers } = await compose(
    { config, runtimes, servers: definitions, connect: "background", logger },
    cleanup,
  );
  const knownHoles = await warnOfHoles(sandboxes.engine, logger);

  const configuration = configurationOf({ config, keyRing, logger }, { audit, manager, sandboxes, servers });
  cleanup.defer("end a reload", () => configuration.close());

  const version = packageVersion();
  const health = new Health({
    version,
    pingEngine: sandboxes.ping,
    engine: sandboxes.engine,
    inForce: () => ({ images: sandboxes.images, layers: sandboxes.layers, configuration: configuration.status }),
    managerStatus: () => manager.status(),
    callers: () => admission.callers(),
    servers: () => servers.states(),
    audit: () => audit.status,
    knownHoles,
  });
  const authenticator = followKeys(keyRing, { admission, audit, manager, logger });
  cleanup.defer("look at the keys file no longer", () => keyRing.close());
  const http = createHttpApp({
    manager,
    servers,
    audit,
    health,
    authenticator,
    allowedHosts: config.allowedHosts,
    maxBodyBytes: config.maxBodyBytes,
    version,
    logger,
  });
  const server = createListener(http, logger);
  const url = await listen(server, config);
  logger.info({ url, runtimes: [...runtimes.keys()] }, `Code Mode ${version} listens on ${url}`);

  const close = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => {
      server.close(() => {
        resolve();
      });
    });
    // Requests under way are answered: the executions get their grace. Answers then have a moment to reach their clients.
    await cleanup.close();
    server.closeIdleConnections();
    await within(closed, LAST_ANSWERS_MS, "the last answers").catch(() => undefined);
    server.closeAllConnections();
  };
  let closing: Promise<void> | undefined;
  return { url, manager, reload: configuration.reload, close: () => (closing ??= close()) };
}

/** What is in force, with how each of its files is taken anew. */
function configurationOf(
  { config, keyRing, logger }: { readonly config: ServiceConfig; readonly keyRing: KeyRing; readonly logger: Logger },
  { audit, manager, sandboxes, servers }: Pick<Composition, "audit" | "manager" | "sandboxes" | "servers">,
): Configuration {
  const reloadRuntimes = async (): Promise<void> => {
    await sandboxes.replaceRuntimes(await readRuntimes(config, logger));
    manager.replaceRuntimes(sandboxes.runtimes);
  };
  const reloadTools = (): Promise<void> => reloadServers(servers, config, manager.runtimes, logger);
  return new Configuration({
    parts: [
      { name: "runtimes.json", reload: reloadRuntimes },
      { name: path.basename(config.mcpServersFile), reload: reloadTools },
      { name: path.basename(config.keysFile), reload: () => keyRing.reload() },
    ],
    audit,
    logger,
  });
}

/** Who may ask, as the keys are now and whenever they change. */
function followKeys(
  keyRing: KeyRing,
  { admission, audit, logger, manager }: Pick<Composition, "admission" | "audit" | "manager"> & { readonly logger: Logger },
): Authenticator {
  const authenticator = new Authenticator(keyRing.keys);
  const share = (keys: readonly ApiKey[]): void => {
    admission.isShared = keys.filter(({ scopes }) => scopes.includes("execute")).length > 1;
    warnOfUnknownRuntimes(keys, manager.runtimes, logger);
  };
  let names = namesOf(keyRing.keys ?? []);
  share(keyRing.keys ?? []);
  keyRing.watch((keys) => {
    authenticator.replace(keys);
    const changed = namesOf(keys);
    audit.record({ type: "keys.changed", added: without(changed, names), removed: without(names, changed) });
    names = changed;
    share(keys);
  });
  return authenticator;
}

async function readRuntimes({ runtimesFile }: ServiceConfig, logger: Logger): Promise<LoadedRuntimes["runtimes"]> {
  const { runtimes, warnings } = await loadRuntimes(runtimesFile);
  for (const warning of warnings) logger.warn(warning);
  return runtimes;
}

const namesOf = (keys: readonly ApiKey[]): string[] => keys.map(({ name }) => name);

const without = (names: readonly string[], others: readonly string[]): string[] => names.filter((name) => !others.includes(name));

/** The open holes of the engine's parts, in one warning: what each means, and what its package mends, is for `code-mode doctor` to say. */
async function warnOfHoles({ components, version }: Sandboxes["engine"], logger: Logger): Promise<HealthDeps["knownHoles"]> {
  const open = openHoles(await findHoles({ ...components, Engine: version }));
  const advisories = open.map(({ advisory: { component, id }, version: found }) => ({ id, component, version: found }));
  if (advisories.length > 0)
    logger.warn(
      { advisories },
      `the engine has known holes, by the versions of its parts: ${advisories.map(({ id }) => id).join(", ")}. See \`code-mode doctor\``,
    );
  return advisories;
}

/** A key can be made before its runtime. Until then it cannot use it, which is worth a line. */
function warnOfUnknownRuntimes(keys: readonly ApiKey[], known: ReadonlyMap<string, unknown>, logger: Logger): void {
  for (const { name, runtimes = [] } of keys) {
    const unknown = runtimes.filter((runtime) => !known.has(runtime));
    if (unknown.length > 0)
      logger.warn({ key: name, runtimes: unknown }, `the key "${name}" names runtimes that are not there: ${unknown.join(", ")}`);
  }
}

function listen(server: Server, { host, port }: ServiceConfig): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const reason = error.code === "EADDRINUSE" ? "another program listens there; set CODE_MODE_PORT to another one" : error.message;
      reject(new StartupError([`cannot listen on ${host}:${port}: ${reason}`], error));
    });
    server.listen(port, host, () => {
      const bound = server.address() as AddressInfo;
      resolve(`http://${bound.family === "IPv6" ? `[${bound.address}]` : bound.address}:${bound.port}`);
    });
  });
}
