/** `code-mode tools call`: one call of one tool, from this process. What programs may not call is refused here too. */

import { escapeControls } from "../../domain/escaped-json.ts";
import { ToolFailure } from "../../domain/tool-error.ts";
import { argumentsOf, parseTarget } from "./arguments.ts";
import { readServers, say, withServers } from "./connect.ts";

export interface CallOptions {
  readonly arg?: Readonly<Record<string, unknown>>;
  /** Milliseconds for the call. */
  readonly timeout?: number;
  /** Milliseconds for the connection. */
  readonly wait?: number;
}

const CALL_FAILED = 1;
/** Whom the call belongs to. */
const WHO = "command line";

/** Prints the result as JSON and gives the exit code. */
export async function callTool(
  target: string,
  json: string | undefined,
  { arg, timeout, wait }: CallOptions,
  exit: (code: number) => void,
): Promise<number> {
  const args = argumentsOf(json, arg);
  const { config, servers } = await readServers();
  const { server, tool } = parseTarget(target, [...servers.keys()]);
  const wanted = new Map([...servers].filter(([name]) => name === server));
  return withServers({ config, servers: wanted }, { wait, exit }, async ({ manager, signal }) => {
    try {
      const value = await manager.callTool(server, tool, args, {
        signal,
        who: WHO,
        ...(timeout === undefined ? {} : { timeoutMs: timeout }),
      });
      process.stdout.write(`${escapeControls(JSON.stringify(value ?? null, undefined, process.stdout.isTTY ? 2 : undefined))}\n`);
      return 0;
    } catch (error) {
      if (!(error instanceof ToolFailure)) throw error;
      say(`${error.code}: ${error.message}`);
      // Programs are not told: it may name paths and settings of this host.
      const reason = error.code === "TOOL_UNAVAILABLE" ? manager.states()[0]?.reason : undefined;
      if (reason !== undefined) say(`${server}: ${reason}`);
      if (error.data !== undefined) say(`data: ${escapeControls(JSON.stringify(error.data))}`);
      return CALL_FAILED;
    }
  });
}
