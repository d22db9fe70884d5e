/** Whether the service can listen where it is told to; and if not, who does. */

import { get } from "node:http";
import { createServer } from "node:net";

import { refuseToListen } from "../config/environment.ts";
import type { ServiceConfig } from "../config/environment.ts";
import { packageVersion } from "../lib/package-info.ts";
import { failWith } from "./check.ts";
import type { Outcome } from "./check.ts";

const ANSWER_TIMEOUT_MS = 4000;
const MAX_ANSWER_BYTES = 4096;
/** Addresses that mean "all", and one of them to ask. */
const REACHABLE: Readonly<Record<string, string>> = { "0.0.0.0": "127.0.0.1", "::": "::1" };

/** `keys` is how many there are; `undefined` where keys were never set up. */
export async function judgeListening({ host, port }: Pick<ServiceConfig, "host" | "port">, keys: number | undefined): Promise<Outcome> {
  const refusal = refuseToListen(host, keys !== undefined);
  if (refusal !== undefined) return failWith([refusal]);
  const guarded = keys === undefined ? "no keys" : keys === 0 ? "keys, but none is made" : `${keys} ${keys === 1 ? "key" : "keys"}`;
  if (port === 0) return { status: "ok", found: `${host}, a free port, ${guarded}` };
  const code = await tryToListen(host, port);
  switch (code) {
    case undefined:
      return { status: "ok", found: `${host}:${port} is free, ${guarded}` };
    case "EADDRINUSE": {
      const version = await askCodeMode(REACHABLE[host] ?? host, port);
      return version === undefined
        ? {
            status: "fail",
            found: `another program listens on ${host}:${port}`,
            remedy: "Set CODE_MODE_PORT to another port; `ss -ltnp` names the program.",
          }
        : {
            status: "info",
            found: `a Code Mode ${version} listens on ${host}:${port} already${version === packageVersion() ? "" : ", another version"}`,
          };
    }
    case "EACCES":
      return { status: "fail", found: `this user may not listen on port ${port}`, remedy: "Set CODE_MODE_PORT to 1024 or above." };
    default:
      return {
        status: "fail",
        found: `${host}:${port} cannot be listened on (${code})`,
        remedy: "Set CODE_MODE_HOST to an address of this machine.",
      };
  }
}

/** Listens for a moment; gives the code of the failure. */
function tryToListen(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", (error: NodeJS.ErrnoException) => {
      resolve(error.code ?? error.message);
    });
    server.listen(port, host, () => {
      server.close(() => {
        resolve(undefined);
      });
    });
  });
}

/** The version of the Code Mode that answers there; `undefined` when it is none. */
function askCodeMode(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const request = get({ host, port, path: "/health", timeout: ANSWER_TIMEOUT_MS, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
        if (text.length > MAX_ANSWER_BYTES) response.destroy();
      });
      response.on("close", () => {
        resolve(versionIn(text));
      });
      response.on("error", () => undefined);
    });
    const deadline = setTimeout(() => request.destroy(), ANSWER_TIMEOUT_MS);
    request.on("close", () => {
      clearTimeout(deadline);
      resolve(undefined);
    });
    request.on("error", () => undefined);
    request.on("timeout", () => request.destroy());
  });
}

function versionIn(answer: string): string | undefined {
  try {
    const { status, version } = JSON.parse(answer) as { status?: unknown; version?: unknown };
    return (status === "ok" || status === "down") && typeof version === "string" ? version : undefined;
  } catch {
    return undefined;
  }
}
