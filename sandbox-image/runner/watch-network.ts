/**
 * Notes what sockets are refused: connections, servers, names, UDP.
 *
 * Every TCP connection of Node goes through `Socket.connect`: http, https, tls and `fetch` too. Listening to `errorMonitor` does not
 * count as handling an error.
 */

import { subscribe } from "node:diagnostics_channel";
import type dns from "node:dns";
import type net from "node:net";

import type { DenialLog } from "./denials.ts";
import { apply, isArray } from "./intrinsics.ts";
import type { FileWatch } from "./watch-files.ts";
import { replaceMethod, watchCallback, watchErrors, watchPromise } from "./watch.ts";
import type { Callable } from "./watch.ts";

interface NetworkError {
  readonly code?: unknown;
  readonly address?: unknown;
  readonly port?: unknown;
}

interface Target {
  readonly host?: unknown;
  readonly port?: unknown;
  readonly path?: unknown;
}

const UNREACHABLE: readonly unknown[] = ["EPERM", "EACCES", "ENETUNREACH", "EHOSTUNREACH", "EAI_AGAIN", "EAI_FAIL", "ENOTFOUND"];
/** What a question to a name server fails with where there is none. */
const UNRESOLVED: readonly unknown[] = [...UNREACHABLE, "ECONNREFUSED", "ETIMEOUT", "ESERVFAIL"];
/** Ports that only a privileged process may listen on. */
const PRIVILEGED_PORTS = 1024;
const QUESTION = /^(?:lookup|lookupService|resolve\w*|reverse)$/;

export interface NetworkWatchDeps {
  readonly log: DenialLog;
  readonly files: FileWatch;
}

export class NetworkWatch {
  readonly #deps: NetworkWatchDeps;
  /** What each socket was last asked to connect to, as the arguments of `connect`. */
  readonly #targets = new WeakMap<object, readonly unknown[]>();
  /** True while a connection looks up its host: that failure is the connection's. */
  #isConnecting = false;

  constructor(deps: NetworkWatchDeps) {
    this.#deps = deps;
  }

  /** Watches `node:net` and, without loading it, `node:dgram`. */
  install(module: typeof net): void {
    replaceMethod(module.Socket.prototype, "connect", (original) => this.#watchConnect(original));
    const noteServer = (error: unknown): void => this.#noteServer(error as NetworkError);
    replaceMethod(
      module.Server.prototype,
      "listen",
      (original) =>
        function (this: unknown, ...args: unknown[]): unknown {
          watchErrors(this, noteServer);
          return apply(original, this, args);
        },
    );
    subscribe("udp.socket", (message) => {
      watchErrors((message as { readonly socket: unknown }).socket, (error) => this.#noteUdp(error as NetworkError));
    });
  }

  /** Watches `node:dns`; `node:dns/promises` is a part of it. */
  installNames(module: typeof dns): void {
    const note = (error: unknown, [name]: readonly unknown[]): void => {
      const isRefused = UNRESOLVED.includes((error as NetworkError).code);
      if (isRefused && typeof name === "string") this.#deps.log.note("no_network", name, error);
    };
    const { promises, Resolver } = module;
    for (const holder of [module, Resolver.prototype])
      for (const name of questionsOf(holder)) watchCallback(holder, name, note, () => this.#isConnecting);
    for (const holder of [promises, promises.Resolver.prototype]) for (const name of questionsOf(holder)) watchPromise(holder, name, note);
  }

  #watchConnect(original: Callable): Callable {
    const connecting = (socket: object, args: unknown[]): unknown => {
      const before = this.#isConnecting;
      this.#isConnecting = true;
      try {
        this.#follow(socket, args);
        return apply(original, socket, args);
      } finally {
        this.#isConnecting = before;
      }
    };
    return function (this: unknown, ...args: unknown[]): unknown {
      return connecting(this as object, args);
    };
  }

  /** A socket can be used for several connections, one after the other. */
  #follow(socket: object, args: readonly unknown[]): void {
    const isNew = !this.#targets.has(socket);
    this.#targets.set(socket, args);
    if (isNew) watchErrors(socket, (error) => this.#noteClient(error as NetworkError, socket));
  }

  #noteClient(error: NetworkError, socket: object): void {
    const { host, path, port } = targetOf(this.#targets.get(socket) ?? []);
    if (typeof path === "string") this.#deps.files.noteSocket(error, path, false);
    else if (UNREACHABLE.includes(error.code)) this.#deps.log.note("no_network", hostAndPort(host ?? "localhost", port), error);
  }

  #noteServer(error: NetworkError): void {
    const { address, code, port } = error;
    if (port === -1 && typeof address === "string") this.#deps.files.noteSocket(error, address, true);
    else if (code === "EACCES" && typeof port === "number" && port < PRIVILEGED_PORTS)
      this.#deps.log.note("privileged_port", hostAndPort(address, port), error);
    else if (code === "EPERM" || code === "EACCES") this.#deps.log.note("no_listening", hostAndPort(address, port), error);
  }

  #noteUdp(error: NetworkError): void {
    const { address, code, port } = error;
    if (code === "EPERM" || code === "EACCES") this.#deps.log.note("no_udp", `udp ${hostAndPort(address, port)}`, error);
  }
}

function questionsOf(holder: object): string[] {
  return Object.getOwnPropertyNames(holder).filter((name) => QUESTION.test(name));
}

/** From the arguments of `connect`: options, a path, or a port and a host; Node itself passes a list of them on. */
function targetOf([first, second]: readonly unknown[]): Target {
  if (isArray(first)) return targetOf(first as unknown[]);
  if (typeof first === "object" && first !== null) return first;
  if (typeof first === "string" && !/^\d+$/.test(first)) return { path: first };
  return { host: typeof second === "string" ? second : undefined, port: first };
}

function hostAndPort(host: unknown, port: unknown): string {
  const name = typeof host === "string" ? host : "";
  const shown = name.includes(":") ? `[${name}]` : name;
  return typeof port === "number" || typeof port === "string" ? `${shown}:${port}` : shown;
}
